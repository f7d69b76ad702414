package floor

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"spoollock/lock"
)

const (
	// freshness is how old the newest beat of a live view can be.
	freshness = 3 * time.Second

	// mergeInterval is the least time between two wake-ups of the subscribers.
	mergeInterval = 100 * time.Millisecond

	// logLength is how many changes a subscriber can be behind.
	logLength = 1 << 14

	// freedMemory is how long a freed spool's version is remembered, so that an
	// older answer that comes late does not bring its lock back.
	freedMemory = 2 * time.Minute

	// readAgain is when a lock that was due is read again, if nothing was learned of it.
	readAgain = 500 * time.Millisecond
)

// View is one process's knowledge of all locks. The zero value is not usable. It is
// safe for concurrent use; [Run] keeps it up to date.
type View struct {
	mu         sync.RWMutex
	held       btree.Map[lock.Tag, *entry]
	owners     map[lock.WorkerID]*btree.Set[lock.Tag]
	freed      map[lock.Tag]freed
	freedOrder []due // the tags in freed, oldest first; at is when they came
	dues       *btree.BTreeG[due]

	// generation counts the rebuilds; an entry of an older one was not seen since.
	generation uint64

	// log is a ring, the newest change at head-1; head counts all changes.
	log  []change
	head int64

	// epoch counts the times that subscribers are to begin anew: the view became
	// live, or the store went back to what is older by their rule.
	epoch         int64
	live          bool      // as of the last updateLive
	beatSent      time.Time // when the newest beat that came back was sent, on this process's clock
	beatStoreTime time.Time // the same moment on the store's clock
	asOf          time.Time // beatStoreTime when the view was live last
	rebuilt       bool      // since a message was missed last

	connected      bool  // the feed
	connection     int64 // of the feed: how many there were
	possibleMisses int64 // how often messages were missed, or may have been

	wake      chan struct{} // closed to wake the subscribers
	lastWake  time.Time
	wakeTimer *time.Timer // nil unless a wake-up is under way

	foreign     int // entries
	subscribers int
	counters    counters
}

// entry is a held spool. lock.Remaining is not kept: it is what is left until expires,
// which is on this process's clock; zero: never.
type entry struct {
	lock        lock.Lock
	change      int64  // the state's number, see lock.Spool
	fingerprint uint64 // as lock.Spool has it; 0: only the feed told of the lock
	expires     time.Time
	due         time.Time // when the store is to be asked; zero: never
	heard       feedPosition
	generation  uint64

	// foreign says that its tag is not canonical: no operation knows it, and only
	// rebuilds do.
	foreign bool
}

// feedPosition is the newest message about a spool: its number, and which connection of
// the feed it came on.
type feedPosition struct{ number, connection int64 }

type freed struct {
	version lock.Version
	heard   feedPosition
	at      time.Time
}

type due struct {
	at  time.Time
	tag lock.Tag
}

type change struct {
	tag    lock.Tag
	before lock.WorkerID // who held it until then; empty: nobody
}

// counters count what happened to a view.
type counters struct {
	gaps, rebuilds, rebuildTime, snapshots, merged, messages atomic.Int64
}

// Status is what a view can say of itself.
type Status struct {
	// Live says that the view is complete up to AsOf.
	Live bool

	// AsOf is on the store's clock; zero: the view was never live.
	AsOf time.Time

	Held    int // locks
	Foreign int // locks whose tags are not canonical

	Subscribers int

	// Since the process began:
	Changes   int64 // of the view
	Gaps      int64 // messages that the feed left out
	Rebuilds  int64 // that were completed
	Snapshots int64 // that a subscriber needed because it was too slow
	Merged    int64 // changes that a subscriber was spared because a newer one came
	Messages  int64 // to subscribers

	// RebuildTime is how long the last rebuild took.
	RebuildTime time.Duration
}

// NewView returns a view that knows nothing.
func NewView() *View {
	return &View{
		owners: map[lock.WorkerID]*btree.Set[lock.Tag]{},
		freed:  map[lock.Tag]freed{},
		dues: btree.NewBTreeGOptions(func(a, b due) bool {
			if !a.at.Equal(b.at) {
				return a.at.Before(b.at)
			}
			return a.tag < b.tag
		}, btree.Options{NoLocks: true}),
		log:  make([]change, logLength),
		wake: make(chan struct{}),

		connection: 1, // 0 is that of a spool of which nothing was heard
	}
}

// Status says how the view is.
func (v *View) Status() Status {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return Status{
		Live: v.isLive(time.Now()), AsOf: v.asOf, Held: v.held.Len(), Foreign: v.foreign,
		Subscribers: v.subscribers, Changes: v.head, Gaps: v.counters.gaps.Load(), Rebuilds: v.counters.rebuilds.Load(),
		Snapshots: v.counters.snapshots.Load(), Merged: v.counters.merged.Load(), Messages: v.counters.messages.Load(),
		RebuildTime: time.Duration(v.counters.rebuildTime.Load()),
	}
}

// Held is how many locks a worker is known to have, and whether anybody is known to have
// the spool.
func (v *View) Held(owner lock.WorkerID, tag lock.Tag) (locks int, occupied bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if tags, ok := v.owners[owner]; ok {
		locks = tags.Len()
	}
	_, occupied = v.held.Get(tag)
	return locks, occupied
}

func (v *View) isLive(now time.Time) bool {
	return v.rebuilt && now.Sub(v.beatSent) < freshness
}

// Apply takes in what the store answered about a spool.
func (v *View) Apply(spool lock.Spool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.apply(spool)
}

// apply is called with the lock held.
func (v *View) apply(spool lock.Spool) {
	now := time.Now()
	old, known := v.held.Get(spool.Tag)
	switch {
	case spool.Lock == nil && !known:
		// An answer that was read before, with a lock in it, may still be on its way.
		if f := v.freed[spool.Tag]; spool.Version > f.version {
			v.rememberFree(spool.Tag, freed{spool.Version, f.heard, now})
		}
	case spool.Lock == nil:
		if spool.Version > old.lock.Version {
			v.setFree(old, spool.Version, now)
		}
	case known:
		switch version := old.lock.Version; {
		case spool.Version > version, spool.Version == version && spool.Change > old.change:
			v.setHeld(spool, old, now)
		case spool.Version == version && spool.Change == old.change && spool.Lock.ExpiresAt.Equal(old.lock.ExpiresAt):
			v.scheduleRead(old, *spool.Lock, now) // it is still held, by the store's word
			if spool.Fingerprint != 0 {
				old.fingerprint = spool.Fingerprint
			}
		}
	case spool.Version > v.freed[spool.Tag].version:
		v.setHeld(spool, nil, now)
	}
}

// setHeld makes the spool's lock an entry, in the place of old, which may be nil.
func (v *View) setHeld(spool lock.Spool, old *entry, now time.Time) {
	l := *spool.Lock
	e := &entry{lock: l, change: spool.Change, fingerprint: spool.Fingerprint} // of no generation: an answer may be from before the rebuild
	before := lock.WorkerID("")
	if e.foreign = spool.Version == 0; e.foreign && old == nil {
		v.foreign++
	}
	if old != nil {
		before, e.heard, e.due = old.lock.Owner.ID, old.heard, old.due
		if e.fingerprint == 0 && spool.Version == old.lock.Version {
			e.fingerprint = old.fingerprint // an extension
		}
		if v.live && older(l, old.lock) {
			v.epoch++
		}
	} else {
		e.heard = v.freed[l.Tag].heard
		delete(v.freed, l.Tag)
	}
	e.lock.Remaining = 0
	v.held.Set(l.Tag, e)
	if before != l.Owner.ID {
		v.removeFromOwner(before, l.Tag)
		tags, ok := v.owners[l.Owner.ID]
		if !ok {
			tags = &btree.Set[lock.Tag]{}
			v.owners[l.Owner.ID] = tags
		}
		tags.Insert(l.Tag)
	}
	v.scheduleRead(e, l, now)
	v.logChange(change{l.Tag, before}, now)
}

// older is by which rule a subscriber ignores a lock, because of what it has.
func older(l, than lock.Lock) bool {
	if l.Version != than.Version {
		return l.Version < than.Version
	}
	return !l.ExpiresAt.IsZero() && (than.ExpiresAt.IsZero() || l.ExpiresAt.Before(than.ExpiresAt))
}

// setFree takes the entry out. The spool is free as of version.
func (v *View) setFree(old *entry, version lock.Version, now time.Time) {
	tag := old.lock.Tag
	v.held.Delete(tag)
	if old.foreign {
		v.foreign--
	}
	v.removeFromOwner(old.lock.Owner.ID, tag)
	v.dues.Delete(due{old.due, tag})
	if !old.foreign {
		v.rememberFree(tag, freed{version, old.heard, now})
	}
	v.logChange(change{tag, old.lock.Owner.ID}, now)
}

// rememberFree keeps the version at which a spool was freed, for freedMemory.
func (v *View) rememberFree(tag lock.Tag, f freed) {
	v.freed[tag] = f
	v.freedOrder = append(v.freedOrder, due{f.at, tag})
}

// removeFromOwner takes the tag out of the owner's set.
func (v *View) removeFromOwner(owner lock.WorkerID, tag lock.Tag) {
	tags, ok := v.owners[owner]
	if !ok {
		return
	}
	tags.Delete(tag)
	if tags.Len() == 0 {
		delete(v.owners, owner)
	}
}

// scheduleRead sets when the store is to be asked whether e has expired.
func (v *View) scheduleRead(e *entry, l lock.Lock, now time.Time) {
	v.dues.Delete(due{e.due, l.Tag})
	e.expires, e.due = time.Time{}, time.Time{}
	if l.ExpiresAt.IsZero() {
		return
	}
	e.expires = now.Add(l.Remaining)
	if !e.foreign {
		e.due = e.expires
		v.dues.Set(due{e.due, l.Tag})
	}
}

// logChange adds a change to the log, and wakes the subscribers at once or when the last
// wake-up is mergeInterval ago.
func (v *View) logChange(c change, now time.Time) {
	v.log[v.head%logLength] = c
	v.head++
	if v.wakeTimer != nil {
		return
	}
	if wait := mergeInterval - now.Sub(v.lastWake); wait > 0 {
		v.wakeTimer = time.AfterFunc(wait, func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.wakeSubscribers()
		})
		return
	}
	v.wakeSubscribers()
}

// wakeSubscribers is called with the lock held.
func (v *View) wakeSubscribers() {
	v.wakeTimer = nil
	v.lastWake = time.Now()
	close(v.wake)
	v.wake = make(chan struct{})
}

// lockAt is the lock of an entry as it stands at a moment of this process's clock.
func (e *entry) lockAt(now time.Time) lock.Lock {
	l := e.lock
	if !e.expires.IsZero() {
		l.Remaining = max(0, e.expires.Sub(now))
	}
	return l
}
