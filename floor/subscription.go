package floor

import (
	"context"
	"sync"
	"time"

	"spoollock/lock"
)

const (
	// heartbeat is the longest that a subscriber hears nothing.
	heartbeat = 3 * time.Second

	// MaxUpdateSpools is the most spools of one [Update].
	MaxUpdateSpools = 500
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

// spoolBytes is about how many bytes a spool of an [Update] takes, with its lock.
const spoolBytes = 200

// Size is about how many bytes the update takes.
func (u *Update) Size() int { return spoolBytes * (1 + len(u.Changed) + len(u.Gone)) }

// Subscription follows a view. Its methods are for one goroutine at a time.
type Subscription struct {
	view   *View
	filter Filter
	key    filterKey

	place      place
	saidStale  bool // in the last update
	lastUpdate time.Time
}

// place is how far a subscriber has been told. The zero place is before its first message.
type place struct {
	begun         bool
	epoch         int64    // of the view when the last snapshot began
	position      int64    // in the log: the changes before it have been sent
	inSnapshot    bool     // a snapshot is under way
	snapshotAfter lock.Tag // the last tag that the snapshot has sent
}

// Subscribe begins to follow the view, through the filter. The subscription is to
// be closed.
func (v *View) Subscribe(f Filter) *Subscription {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.subscribers++
	return &Subscription{view: v, filter: f, key: f.key()}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	s.view.subscribers--
}

// Next answers the next message: a part of a snapshot at once, changes merged over
// at most a tenth of a second, and after three seconds without any an empty one.
// Subscriptions that are told the same get the same Update, which nothing may change.
// It returns ctx's error when that is done.
func (s *Subscription) Next(ctx context.Context) (*Update, error) {
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
			return nil, ctx.Err()
		case <-wake:
		case <-timer.C:
			due = true
		}
	}
}

// collect makes the message that is due at this moment, and says whether it is
// worth sending; wake is closed when there is news.
func (s *Subscription) collect() (update *Update, worth bool, wake <-chan struct{}) {
	v := s.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	step := v.steps.next(v, s)
	if s.place.begun && step.tooSlow {
		v.counters.snapshots.Add(1)
	}
	v.counters.merged.Add(step.merged)
	update, s.place = &step.update, step.after
	worth = step.isNews || update.Stale != s.saidStale
	s.saidStale = update.Stale
	if worth {
		v.counters.messages.Add(1)
	}
	return update, worth, v.wake
}

// step is what a subscriber is told at a place, and the place after it.
type step struct {
	made sync.Once

	update  Update
	isNews  bool // a part of a snapshot, or changes
	after   place
	tooSlow bool
	merged  int64
}

// steps are those that subscribers took in one state of the view. A crowd at the same place
// takes the same one.
type steps struct {
	mu    sync.Mutex
	state viewState
	begun time.Time
	taken map[stepKey]*step
}

// viewState is equal while nothing has happened to the view.
type viewState struct {
	epoch, head int64
	stale       bool
	asOf        time.Time
}

type stepKey struct {
	filter filterKey
	place  place
}

// next returns the subscriber's next step. It is called with the view's lock held for
// reading.
func (s *steps) next(v *View, of *Subscription) *step {
	now := time.Now()
	key, at := stepKey{of.key, of.place}, viewState{v.epoch, v.head, !v.isLive(now), v.asOf}
	s.mu.Lock()
	if s.state != at || now.Sub(s.begun) > mergeInterval { // remaining times go on
		s.state, s.begun, s.taken = at, now, map[stepKey]*step{}
	}
	next := s.taken[key]
	if next == nil {
		next = &step{}
		s.taken[key] = next
	}
	s.mu.Unlock()
	next.made.Do(func() { v.step(next, of.filter, of.place, at, now) })
	return next
}

// step makes the step of a subscriber at the place.
func (v *View) step(made *step, f Filter, p place, at viewState, now time.Time) {
	made.update = Update{Stale: at.stale, AsOf: at.asOf}
	made.tooSlow = v.head-p.position > logLength
	if !p.begun || p.epoch != v.epoch || made.tooSlow {
		p = place{begun: true, epoch: v.epoch, position: v.head, inSnapshot: true}
		made.update.Snapshot = true
	}
	made.isNews = p.inSnapshot
	if p.inSnapshot {
		v.addSnapshotPart(&made.update, f, &p, v.moment(now))
	}
	for !p.inSnapshot && p.position < v.head && len(made.update.Changed)+len(made.update.Gone) == 0 {
		made.merged += v.addChanges(&made.update, f, &p, v.moment(now))
	}
	made.isNews = made.isNews || len(made.update.Changed)+len(made.update.Gone) > 0
	made.after = p
}

// addSnapshotPart adds the next part of the snapshot.
func (v *View) addSnapshotPart(update *Update, f Filter, p *place, now moment) {
	v.each(f, p.snapshotAfter, func(e *entry) bool {
		if update.More = len(update.Changed) == MaxUpdateSpools; update.More {
			return false
		}
		update.Changed = append(update.Changed, e.spool(now))
		return true
	})
	p.inSnapshot = update.More
	if update.More {
		p.snapshotAfter = update.Changed[MaxUpdateSpools-1].Tag
	}
}

// addChanges adds the present state of what the log says has changed, and returns how many
// changes of it newer ones replaced.
func (v *View) addChanges(update *Update, f Filter, p *place, now moment) (merged int64) {
	end := min(v.head, p.position+MaxUpdateSpools)
	matched := map[lock.Tag]bool{} // until now
	var tags []lock.Tag
	for ; p.position < end; p.position++ {
		c := v.log[p.position%logLength]
		before, seen := matched[c.tag]
		if !seen {
			tags = append(tags, c.tag)
		} else {
			merged++
		}
		matched[c.tag] = before || f.matches(c.tag, c.before)
	}
	for _, tag := range tags {
		e, held := v.held[tag]
		matches := held && f.matches(tag, e.owner.Value().ID)
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
	return merged
}

func (e *entry) spool(now moment) lock.Spool {
	l := e.lockAt(now)
	return lock.Spool{Tag: l.Tag, Version: l.Version, Lock: &l}
}
