package floor

import (
	"context"
	"time"

	"spoollock/lock"
)

const (
	// heartbeat is the longest that a subscriber hears nothing.
	heartbeat = 3 * time.Second

	// maxUpdateSpools is the most spools of one [Update].
	maxUpdateSpools = 500
)

// Update is one message to a subscriber. One that follows them keeps a set of
// spools by tag: on a snapshot it starts from empty, then it puts in Changed and
// takes out Gone.
type Update struct {
	Snapshot bool // the first message, and the first after a gap
	More     bool // the snapshot goes on in the next message

	// Changed is the net state of what changed and matches the filter, or matched
	// until now.
	Changed []lock.Spool

	// Gone are those that no longer match.
	Gone []lock.Tag

	// Stale says that the view is not live: AsOf stands still.
	Stale bool
	AsOf  time.Time
}

// Subscription follows a view. Its methods are for one goroutine at a time.
type Subscription struct {
	view   *View
	filter Filter

	begun         bool
	epoch         int64    // of the view when the last snapshot began
	position      int64    // in the log: the changes before it have been sent
	inSnapshot    bool     // a snapshot is under way
	snapshotAfter lock.Tag // the last tag that the snapshot has sent
	saidStale     bool     // in the last update
	lastUpdate    time.Time
}

// Subscribe begins to follow the view, through the filter. The subscription is to
// be closed.
func (v *View) Subscribe(f Filter) *Subscription {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.subscribers++
	return &Subscription{view: v, filter: f}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	s.view.subscribers--
}

// Next answers the next message: a part of a snapshot at once, changes merged over
// at most a tenth of a second, and after three seconds without any an empty one.
// It returns ctx's error when that is done.
func (s *Subscription) Next(ctx context.Context) (Update, error) {
	timer := time.NewTimer(time.Until(s.lastUpdate.Add(heartbeat)))
	defer timer.Stop()
	for due := false; ; {
		update, worth, wake := s.collect()
		if worth || due {
			s.lastUpdate = time.Now()
			return update, ctx.Err()
		}
		select {
		case <-ctx.Done():
			return Update{}, ctx.Err()
		case <-wake:
		case <-timer.C:
			due = true
		}
	}
}

// collect makes the message that is due at this moment, and says whether it is
// worth sending; wake is closed when there is news.
func (s *Subscription) collect() (update Update, worth bool, wake <-chan struct{}) {
	v := s.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	now := time.Now()
	update = Update{Stale: !v.isLive(now), AsOf: v.asOf}
	tooSlow := v.head-s.position > logLength
	if !s.begun || s.epoch != v.epoch || tooSlow {
		if s.begun && tooSlow {
			v.counters.snapshots.Add(1)
		}
		s.begun, s.epoch, s.position, s.inSnapshot, s.snapshotAfter = true, v.epoch, v.head, true, ""
		update.Snapshot = true
	}
	worth = update.Snapshot || s.inSnapshot || update.Stale != s.saidStale
	if s.inSnapshot {
		s.addSnapshotPart(&update, v.moment(now))
	}
	for !s.inSnapshot && s.position < v.head && len(update.Changed)+len(update.Gone) == 0 {
		s.addChanges(&update, v.moment(now))
	}
	worth = worth || len(update.Changed)+len(update.Gone) > 0
	s.saidStale = update.Stale
	if worth {
		v.counters.messages.Add(1)
	}
	return update, worth, v.wake
}

// addSnapshotPart adds the next part of the snapshot.
func (s *Subscription) addSnapshotPart(update *Update, now moment) {
	s.view.each(s.filter, s.snapshotAfter, func(e *entry) bool {
		if update.More = len(update.Changed) == maxUpdateSpools; update.More {
			return false
		}
		update.Changed = append(update.Changed, e.spool(now))
		return true
	})
	s.inSnapshot = update.More
	if update.More {
		s.snapshotAfter = update.Changed[maxUpdateSpools-1].Tag
	}
}

// addChanges adds the present state of what the log says has changed.
func (s *Subscription) addChanges(update *Update, now moment) {
	v := s.view
	end := min(v.head, s.position+maxUpdateSpools)
	matched := map[lock.Tag]bool{} // until now
	var tags []lock.Tag
	for ; s.position < end; s.position++ {
		c := v.log[s.position%logLength]
		before, seen := matched[c.tag]
		if !seen {
			tags = append(tags, c.tag)
		} else {
			v.counters.merged.Add(1)
		}
		matched[c.tag] = before || s.filter.matches(c.tag, c.before)
	}
	for _, tag := range tags {
		e, held := v.held[tag]
		matches := held && s.filter.matches(tag, e.owner.Value().ID)
		switch {
		case !matches && !matched[tag]:
			continue
		case held:
			update.Changed = append(update.Changed, e.spool(now))
		default:
			if freed, known := v.freed[tag]; known {
				update.Changed = append(update.Changed, lock.Spool{Tag: tag, Version: freed.version})
			}
		}
		if !matches {
			update.Gone = append(update.Gone, tag)
		}
	}
}

func (e *entry) spool(now moment) lock.Spool {
	l := e.lockAt(now)
	return lock.Spool{Tag: l.Tag, Version: l.Version, Lock: &l}
}
