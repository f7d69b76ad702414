package floor

import (
	"time"

	"spoollock/lock"
)

// What Run does to a view.

// heard takes in a message about a spool, and reports whether the feed left out
// one before it.
func (v *View) heard(message Message) (gap bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l := message.Spool.Lock; l != nil && !v.beat.IsZero() {
		// It may have lain, and the store's clock has gone on.
		l.Remaining = max(0, l.Remaining-max(0, v.beatAt.Add(time.Since(v.beat)).Sub(message.At)))
	}
	v.apply(message.Spool)
	tag := message.Spool.Tag
	now := heard{message.Spool.Change, v.connection}
	before := heard{}
	if e, ok := v.held.Get(tag); ok {
		before, e.heard = e.heard, now
	} else if f, ok := v.freed[tag]; ok {
		before, f.heard = f.heard, now
		v.freed[tag] = f
	}
	gap = before.connection == now.connection && now.number > before.number+1
	if gap {
		v.counters.gaps.Add(1)
		v.missed()
	}
	return gap
}

// missed says that a message was missed, or may be from now on: what is being rebuilt
// is not complete.
func (v *View) missed() {
	v.misses++
	v.rebuilt = false
	v.turn(time.Now())
}

// disconnected says that messages may be missed from now on.
func (v *View) disconnected() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.connected = false
	v.connection++
	v.beat = time.Time{}
	v.missed()
}

// subscribed says that no message will be missed from now on.
func (v *View) subscribed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.connected = true
}

// beatBack says that a beat came back which was sent at one moment of this
// process's clock and at of the store's.
func (v *View) beatBack(sent, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.turn(time.Now()) // a pause before it is not to go unnoticed
	v.beat, v.beatAt = sent, at
	v.turn(time.Now())
}

// rebuiltIn says that a rebuild is finished, and reports whether nothing was missed
// since it began.
func (v *View) rebuiltIn(d time.Duration, begun rebuild) (complete bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counters.rebuilds.Add(1)
	v.counters.rebuildTime.Store(int64(d))
	complete = begun.connected && begun.misses == v.misses
	if complete {
		v.rebuilt = true
		v.turn(time.Now())
	}
	return complete
}

// look notices that the view is no longer live, and forgets what was freed long
// ago.
func (v *View) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.turn(now)
	for len(v.forget) > 0 && now.Sub(v.forget[0].at) > freedMemory {
		if next := v.forget[0]; v.freed[next.tag].at.Equal(next.at) {
			delete(v.freed, next.tag)
		}
		v.forget = v.forget[1:]
	}
}

// turn brings what the view says of itself up to date, and wakes the subscribers
// if it changed.
func (v *View) turn(now time.Time) {
	live := v.isLive(now)
	if live && v.beatAt.After(v.asOf) {
		v.asOf = v.beatAt
	}
	if live == v.live {
		return
	}
	v.live = live
	if live {
		v.epoch++
	}
	v.wakeAll()
}

// stop stops what the view does by itself.
func (v *View) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sleeping != nil {
		v.sleeping.Stop()
		v.sleeping = nil
	}
}

// rebuild is how a view was when a rebuild of it began.
type rebuild struct {
	generation uint64
	misses     int64
	connected  bool
}

// beginRebuild begins one.
func (v *View) beginRebuild() rebuild {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation++
	return rebuild{v.generation, v.misses, v.connected}
}

// compare takes in what a rebuild found, and returns the tags of which the store
// has to be asked.
func (v *View) compare(found []Found) (unknown []lock.Tag) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for _, f := range found {
		e, known := v.held.Get(f.Tag)
		if known && e.fingerprint == f.Fingerprint && e.lock.ExpiresAt.Equal(f.ExpiresAt) {
			e.generation = v.generation
			if l := e.lock; !e.foreign && e.lapses.After(now.Add(f.Remaining)) {
				l.Remaining = f.Remaining
				v.schedule(e, l, now)
			}
			continue
		}
		if !f.Foreign {
			unknown = append(unknown, f.Tag)
			continue
		}
		// No script knows such a key: what it says is all there is.
		l := lock.Lock{Tag: f.Tag, Owner: lock.Worker{ID: f.Owner}, ExpiresAt: f.ExpiresAt, Remaining: f.Remaining}
		v.hold(lock.Spool{Tag: f.Tag, Lock: &l, Fingerprint: f.Fingerprint}, e, now)
		e, _ = v.held.Get(f.Tag)
		e.generation = v.generation
	}
	return unknown
}

// known is what the view has of a spool: an entry, or nil and the version at which it
// was freed.
type known struct {
	entry      *entry
	freed      lock.Version
	generation uint64
}

// known is what the view has of the tags before the store is asked about them.
func (v *View) known(tags []lock.Tag) []known {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]known, len(tags))
	for i, tag := range tags {
		all[i].entry, _ = v.held.Get(tag)
		all[i].freed, all[i].generation = v.freed[tag].version, v.generation
	}
	return all
}

// settle has the store's word stand where it is no newer than what the view had
// before the store was asked, and differs: then the store has lost what it said
// earlier, or is full and does not number what it finds changed. A spool that the
// store cannot read is left to the rebuilds.
func (v *View) settle(before []known, results []lock.Result[lock.Spool]) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for i, result := range results {
		spool := result.Value
		if before[i].entry == nil {
			if _, held := v.held.Get(spool.Tag); spool.Lock != nil && !held && v.freed[spool.Tag].version == before[i].freed {
				v.hold(spool, nil, now)
			}
			v.seen(spool, before[i].generation)
			continue
		}
		e, held := v.held.Get(before[i].entry.lock.Tag)
		switch {
		case !held || e != before[i].entry || lock.IsUnavailable(result.Err):
			// What came meanwhile is newer.
		case result.Err != nil:
			v.dues.Delete(due{e.due, e.lock.Tag})
			e.due = time.Time{}
		case spool.Lock == nil:
			v.free(e, e.lock.Version, now)
		case spool.Version != e.lock.Version || spool.Change != e.change || !spool.Lock.ExpiresAt.Equal(e.lock.ExpiresAt):
			v.hold(spool, e, now)
		}
		v.seen(spool, before[i].generation)
	}
}

// seen says that the store was asked in a generation, and answered what the view has.
func (v *View) seen(spool lock.Spool, generation uint64) {
	e, held := v.held.Get(spool.Tag)
	if held && spool.Lock != nil && spool.Version == e.lock.Version && spool.Change == e.change &&
		(e.heard.connection != v.connection || e.heard.number <= spool.Change) {
		e.generation = max(e.generation, generation)
	}
}

// maxUnseen is the most entries that are looked at under one hold of the lock.
const maxUnseen = 10_000

// unseen returns the tags after the given one that were not seen since the
// generation began, and where to go on; it takes out the foreign ones.
func (v *View) unseen(generation uint64, after lock.Tag) (tags []lock.Tag, last lock.Tag, done bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var foreign []*entry
	looked := 0
	v.held.Ascend(after, func(tag lock.Tag, e *entry) bool {
		switch {
		case e.generation == generation:
		case e.foreign:
			foreign = append(foreign, e)
		default:
			tags = append(tags, tag)
		}
		looked++
		last = tag
		return looked < maxUnseen
	})
	for _, e := range foreign {
		v.free(e, 0, time.Now())
	}
	return tags, last + "\x00", looked < maxUnseen
}

// dueNow returns at most n locks that are due to lapse, and sees to it that they are
// asked about again if nothing is learned of them.
func (v *View) dueNow(n int) (tags []lock.Tag) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for len(tags) < n {
		next, ok := v.dues.Min()
		if !ok || next.at.After(now) {
			break
		}
		v.dues.Delete(next)
		tags = append(tags, next.tag)
		if e, held := v.held.Get(next.tag); held {
			e.due = now.Add(askAgain)
			v.dues.Set(due{e.due, next.tag})
		}
	}
	return tags
}
