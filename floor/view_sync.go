package floor

import (
	"errors"
	"time"

	"spoollock/lock"
)

// What Run does to a view.

// knows reports whether the view has the spool's state, as it has after an operation of this
// process. Of the spool's lock, version and expiry count.
func (v *View) knows(spool lock.Spool) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	e, ok := v.held[spool.Tag]
	return ok && e.version == spool.Version && e.change == spool.Change && e.expiresAt == milliseconds(spool.Lock.ExpiresAt)
}

// applyMessage takes in a message about a spool, and reports whether the feed left out
// one before it.
func (v *View) applyMessage(message Message) (gap bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l := message.Spool.Lock; l != nil && !message.Known && len(v.clocks) > 0 {
		// It may have waited on its way, and the store's clock has gone on.
		waited := storeTime(v.clocks.earliest(v.moment(time.Now()))).Sub(message.At)
		l.Remaining = max(0, l.Remaining-max(0, waited))
	}
	if !message.Known {
		v.apply(message.Spool)
	}
	tag := message.Spool.Tag
	now := feedPosition{message.Spool.Change, v.connection}
	before := feedPosition{}
	if e, ok := v.held[tag]; ok {
		before, e.heard = e.heard, now
	} else if f, ok := v.freed[tag]; ok {
		before, f.heard = f.heard, now
		v.freed[tag] = f
	}
	gap = before.connection == now.connection && now.number > before.number+1
	if gap {
		v.counters.gaps.Add(1)
		v.markIncomplete()
	}
	return gap
}

// markIncomplete says that a message was missed, or may be missed from here on: the view is
// not complete, nor is a rebuild that is under way.
func (v *View) markIncomplete() {
	v.possibleMisses++
	v.rebuilt = false
	v.updateLive(time.Now())
}

// disconnected says that messages may be missed from now on.
func (v *View) disconnected() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.connected = false
	v.connection++
	v.beatSent = time.Time{}
	v.clocks = nil // it may come back with another clock
	v.timed = v.generation + 1
	v.markIncomplete()
}

// subscribed says that no message will be missed from now on.
func (v *View) subscribed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.connected = true
}

// beatReturned says that a beat came back, which was sent at sent on this process's clock, and
// what it told of the clock of each server. If a clock was set, the view has to be rebuilt.
func (v *View) beatReturned(sent time.Time, told map[string]Clock) verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.updateLive(time.Now()) // a pause before it is not to go unnoticed
	clocks, say := v.clocks.take(v.moment(sent), told, v.moment)
	v.clocks = clocks
	switch say {
	case doubtedClock:
		return say // its time is as doubtful
	case otherClock:
		v.counters.clocksSet.Add(1)
		v.timed = v.generation + 1
		v.markIncomplete()
	}
	v.beatSent, v.beatStoreTime = sent, earliest(told)
	v.updateLive(time.Now())
	return say
}

// earliest is the time of the server whose clock is behind the others.
func earliest(told map[string]Clock) (at time.Time) {
	for _, clock := range told {
		if at.IsZero() || clock.At.Before(at) {
			at = clock.At
		}
	}
	return at
}

// finishRebuild says that a rebuild is finished, and reports whether nothing was missed
// since it began.
func (v *View) finishRebuild(d time.Duration, begun rebuildStart) (complete bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.counters.rebuilds.Add(1)
	v.counters.rebuildTime.Store(int64(d))
	complete = begun.connected && begun.misses == v.possibleMisses
	if complete {
		v.rebuilt = true
		v.updateLive(time.Now())
	}
	return complete
}

// tick is called with every beat. It notices that the view is not live any more, and
// forgets what was freed long ago.
func (v *View) tick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.updateLive(now)
	for len(v.freedOrder) > 0 && now.Sub(v.freedOrder[0].at) > freedMemory {
		if next := v.freedOrder[0]; v.freed[next.tag].at.Equal(next.at) {
			delete(v.freed, next.tag)
		}
		v.freedOrder = v.freedOrder[1:]
	}
}

// updateLive brings live and asOf up to date, and wakes the subscribers if live changed.
func (v *View) updateLive(now time.Time) {
	live := v.isLive(now)
	if live {
		v.asOf = v.beatStoreTime
	}
	if live == v.live {
		return
	}
	v.live = live
	if live {
		v.epoch++
	}
	v.wakeSubscribers()
}

// stop stops what the view does by itself.
func (v *View) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.wakeTimer != nil {
		v.wakeTimer.Stop()
		v.wakeTimer = nil
	}
}

// rebuildStart is the state of a view when a rebuild of it began.
type rebuildStart struct {
	generation uint32
	misses     int64
	connected  bool
}

// beginRebuild begins one.
func (v *View) beginRebuild() rebuildStart {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation++
	return rebuildStart{v.generation, v.possibleMisses, v.connected}
}

// compare takes in what a rebuild found, and returns the tags of which the store
// has to be asked.
func (v *View) compare(found []Found) (unknown []lock.Tag) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for _, f := range found {
		e, known := v.held[f.Tag]
		if known && e.fingerprint == f.Fingerprint && e.expiresAt == milliseconds(f.ExpiresAt) {
			// The answer took its time, so the shorter one is right unless a clock was set.
			if e.generation < v.timed || e.expires > v.momentAfter(now, f.Remaining) {
				v.scheduleRead(e, f.Remaining, now)
			}
			e.generation = v.generation
			continue
		}
		if !f.Foreign {
			unknown = append(unknown, f.Tag)
			continue
		}
		// No script knows such a key: what it says is all there is.
		l := lock.Lock{Tag: f.Tag, Owner: lock.Worker{ID: f.Owner}, ExpiresAt: f.ExpiresAt, Remaining: f.Remaining}
		v.setHeld(lock.Spool{Tag: f.Tag, Lock: &l, Fingerprint: f.Fingerprint}, e, now)
		v.held[f.Tag].generation = v.generation
	}
	return unknown
}

// viewedSpool is what the view has of a spool: an entry, or nil and the version at which it
// was freed.
type viewedSpool struct {
	entry      *entry
	freed      lock.Version
	generation uint32
}

// viewed is what the view has of the tags before the store is asked about them.
func (v *View) viewed(tags []lock.Tag) []viewedSpool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]viewedSpool, len(tags))
	for i, tag := range tags {
		all[i].entry = v.held[tag]
		all[i].freed, all[i].generation = v.freed[tag].version, v.generation
	}
	return all
}

// reconcile takes the store's answers over what the view had before the store was asked,
// also where an answer is not newer: then the store has lost what it said earlier, or is
// full and does not number the changes that it finds. An entry that changed meanwhile is
// newer than the answer and stays. A key that is no string is no lock. A spool that the store
// cannot read for another reason is left to the rebuilds.
func (v *View) reconcile(before []viewedSpool, results []lock.Result[lock.Spool]) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for i, result := range results {
		spool := result.Value
		if before[i].entry == nil {
			if _, held := v.held[spool.Tag]; spool.Lock != nil && !held && v.freed[spool.Tag].version == before[i].freed {
				v.setHeld(spool, nil, now)
			}
			v.confirm(spool, before[i].generation)
			continue
		}
		e, held := v.held[before[i].entry.tag]
		var wrongType *lock.WrongTypeError
		switch {
		case !held || e != before[i].entry || lock.IsUnavailable(result.Err):
			// What came meanwhile is newer.
		case errors.As(result.Err, &wrongType):
			v.setFree(e, e.version, now)
		case result.Err != nil:
			v.dues.set(e, never)
		case spool.Lock == nil:
			v.setFree(e, e.version, now)
		case spool.Version != e.version || spool.Change != e.change || milliseconds(spool.Lock.ExpiresAt) != e.expiresAt:
			v.setHeld(spool, e, now)
		}
		v.confirm(spool, before[i].generation)
	}
}

// confirm marks the spool's entry as confirmed in a generation, if it is what the store
// answered.
func (v *View) confirm(spool lock.Spool, generation uint32) {
	e, held := v.held[spool.Tag]
	if held && spool.Lock != nil && spool.Version == e.version && spool.Change == e.change &&
		(e.heard.connection != v.connection || e.heard.number <= spool.Change) {
		e.generation = max(e.generation, generation)
	}
}

// maxChecked is the most entries that unconfirmed checks in one call.
const maxChecked = 10_000

// unconfirmed returns the tags after the given one whose entries were not confirmed since
// the generation began, and where to go on. It takes out the foreign ones.
func (v *View) unconfirmed(generation uint32, after lock.Tag) (tags []lock.Tag, last lock.Tag, done bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var foreign []*entry
	checked := 0
	v.ordered.Ascend(&entry{tag: after}, func(e *entry) bool {
		switch {
		case e.generation == generation:
		case e.foreign():
			foreign = append(foreign, e)
		default:
			tags = append(tags, e.tag)
		}
		checked++
		last = e.tag
		return checked < maxChecked
	})
	for _, e := range foreign {
		v.setFree(e, 0, time.Now())
	}
	return tags, last + "\x00", checked < maxChecked
}

// takeDue returns at most n locks about which the store is to be asked, and has each asked
// about again if nothing is learned of it.
func (v *View) takeDue(n int) (tags []lock.Tag) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.moment(time.Now())
	for len(tags) < n && len(v.dues) > 0 && v.dues[0].at <= now {
		e := v.dues[0].e
		tags = append(tags, e.tag)
		v.dues.set(e, now+moment(readAgain))
	}
	return tags
}
