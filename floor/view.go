package floor

import (
	"container/heap"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

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
	held       map[lock.Tag]*entry
	ordered    *byTag                   // all in held
	owners     map[lock.WorkerID]*byTag // those of each owner who has any
	below      map[lock.WorkerID]int    // how many have owners whose ids begin with the id and a dot
	freed      map[lock.Tag]freed
	freedOrder []freedTag // those in freed, oldest first
	dues       dues
	started    time.Time // what moments count from

	// generation counts the rebuilds; an entry of an older one was not seen since.
	generation uint32

	// clocks are the store's. What remains of the locks in entries of a generation before
	// timed is by clocks that may not be the store's any more.
	clocks storeClocks
	timed  uint32

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

	steps     steps
	wake      chan struct{} // closed to wake the subscribers
	lastWake  time.Time
	wakeTimer *time.Timer // nil unless a wake-up is under way

	foreign     int // entries
	subscribers int
	counters    counters
}

// entry is a held spool, in as little memory as it can be: there may be a million. Times of
// the store are in ms, and 0 stands for the zero time.
type entry struct {
	tag         lock.Tag
	owner       unique.Handle[lock.Worker]
	note        string
	version     lock.Version // 0: foreign
	acquiredAt  int64
	expiresAt   int64
	expires     moment
	change      int64  // the state's number, see lock.Spool
	fingerprint uint64 // as lock.Spool has it; 0: only the feed told of the lock
	heard       feedPosition
	generation  uint32
	due         int32 // the place in dues; 0: it is not there
}

// foreign reports whether the tag is not canonical: no operation knows it, and only rebuilds
// do.
func (e *entry) foreign() bool { return e.version == 0 }

// byTag are entries in the order of their tags.
type byTag = btree.BTreeG[*entry]

func newByTag() *byTag {
	return btree.NewBTreeGOptions(func(a, b *entry) bool { return a.tag < b.tag }, btree.Options{NoLocks: true})
}

// moment is a time on this process's clock, since the view was made.
type moment time.Duration

const never moment = math.MaxInt64

func (m moment) milliseconds() int64 { return time.Duration(m).Milliseconds() }

// dues are the entries about which the store is to be asked: a heap, with the earliest first.
type dues []due

type due struct {
	at moment
	e  *entry
}

// Len implements [heap.Interface].
func (d dues) Len() int { return len(d) }

// Less implements [heap.Interface].
func (d dues) Less(i, j int) bool { return d[i].at < d[j].at }

// Swap implements [heap.Interface].
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].e.due, d[j].e.due = d[j].e.due, d[i].e.due
}

// Push implements [heap.Interface].
func (d *dues) Push(x any) {
	next := x.(due)
	*d = append(*d, next)
	next.e.due = int32(len(*d)) //nolint:gosec // a view has fewer entries
}

// Pop implements [heap.Interface].
func (d *dues) Pop() any {
	last := (*d)[len(*d)-1]
	(*d)[len(*d)-1] = due{}
	*d = (*d)[:len(*d)-1]
	last.e.due = 0
	return last
}

// set sets when the store is to be asked about an entry, or that it is not.
func (d *dues) set(e *entry, at moment) {
	switch place := int(e.due) - 1; {
	case place >= 0 && at == never:
		heap.Remove(d, place)
	case place >= 0:
		(*d)[place].at = at
		heap.Fix(d, place)
	case at != never:
		heap.Push(d, due{at, e})
	}
}

// feedPosition is the newest message about a spool: its number, and which connection of
// the feed it came on.
type feedPosition struct{ number, connection int64 }

type freed struct {
	version lock.Version
	heard   feedPosition
	at      time.Time
}

type freedTag struct {
	at  time.Time
	tag lock.Tag
}

type change struct {
	tag    lock.Tag
	before lock.WorkerID // who held it until then; empty: nobody
}

// counters count what happened to a view.
type counters struct {
	gaps, clocksSet, rebuilds, rebuildTime, snapshots, merged, messages atomic.Int64
}

// Status is what a view can say of itself.
type Status struct {
	// Live says that the view is complete up to AsOf.
	Live bool

	// AsOf is on the store's clock, and goes back with it; zero: the view was never live.
	AsOf time.Time

	Held    int // locks
	Foreign int // locks whose tags are not canonical

	Subscribers int

	// Since the process began:
	Changes   int64 // of the view
	Gaps      int64 // messages that the feed left out
	ClocksSet int64 // times that a clock of the store was set, or another server's clock took its place
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
		held:    map[lock.Tag]*entry{},
		ordered: newByTag(),
		owners:  map[lock.WorkerID]*byTag{},
		below:   map[lock.WorkerID]int{},
		freed:   map[lock.Tag]freed{},
		log:     make([]change, logLength),
		wake:    make(chan struct{}),

		started: time.Now(),

		connection: 1, // 0 is that of a spool of which nothing was heard
	}
}

// Status says how the view is.
func (v *View) Status() Status {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return Status{
		Live: v.isLive(time.Now()), AsOf: v.asOf, Held: len(v.held), Foreign: v.foreign,
		Subscribers: v.subscribers, Changes: v.head, Gaps: v.counters.gaps.Load(), ClocksSet: v.counters.clocksSet.Load(), Rebuilds: v.counters.rebuilds.Load(),
		Snapshots: v.counters.snapshots.Load(), Merged: v.counters.merged.Load(), Messages: v.counters.messages.Load(),
		RebuildTime: time.Duration(v.counters.rebuildTime.Load()),
	}
}

// Held is how many locks a worker is known to have, and whether anybody is known to have
// the spool.
func (v *View) Held(owner lock.WorkerID, tag lock.Tag) (locks int, occupied bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if entries := v.owners[owner]; entries != nil {
		locks = entries.Len()
	}
	_, occupied = v.held[tag]
	return locks, occupied
}

// HeldByPartner is how many locks a partner and all its workers are known to have.
func (v *View) HeldByPartner(partner lock.WorkerID) (locks int) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if entries := v.owners[partner]; entries != nil {
		locks = entries.Len()
	}
	return locks + v.below[partner]
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
	old, known := v.held[spool.Tag]
	switch {
	case spool.Lock == nil && !known:
		// An answer that was read before, with a lock in it, may still be on its way.
		if f := v.freed[spool.Tag]; spool.Version > f.version {
			v.rememberFree(spool.Tag, freed{spool.Version, f.heard, now})
		}
	case spool.Lock == nil:
		if spool.Version > old.version {
			v.setFree(old, spool.Version, now)
		}
	case known:
		switch version := old.version; {
		case spool.Version > version, spool.Version == version && spool.Change > old.change:
			v.setHeld(spool, old, now)
		case spool.Version == version && spool.Change == old.change && milliseconds(spool.Lock.ExpiresAt) == old.expiresAt:
			v.scheduleRead(old, spool.Lock.Remaining, now) // it is still held, by the store's word
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
	e := &entry{ // of no generation: an answer may be from before the rebuild
		owner: unique.Make(l.Owner), note: l.Note, version: spool.Version,
		acquiredAt: milliseconds(l.AcquiredAt), expiresAt: milliseconds(l.ExpiresAt),
		change: spool.Change, fingerprint: spool.Fingerprint,
	}
	before := lock.WorkerID("")
	if old != nil {
		e.tag, e.heard = old.tag, old.heard
		before = old.owner.Value().ID
		if before != l.Owner.ID {
			v.removeFromOwner(old)
		}
		if e.fingerprint == 0 && e.version == old.version {
			e.fingerprint = old.fingerprint // an extension
		}
		if v.live && older(e, old) {
			v.epoch++
		}
		v.dues.set(old, never)
	} else {
		e.tag = lock.Tag(strings.Clone(string(spool.Tag))) // what it was cut out of is not kept
		e.heard = v.freed[spool.Tag].heard
		delete(v.freed, spool.Tag)
		if e.foreign() {
			v.foreign++
		}
	}
	v.held[e.tag] = e
	v.ordered.Set(e)
	id := e.owner.Value().ID
	if v.owners[id] == nil {
		v.owners[id] = newByTag()
	}
	if _, had := v.owners[id].Set(e); !had {
		v.addBelow(id, 1)
	}
	v.scheduleRead(e, l.Remaining, now)
	v.logChange(change{e.tag, before}, now)
}

// older is by which rule a subscriber ignores a lock, because of what it has.
func older(e, than *entry) bool {
	if e.version != than.version {
		return e.version < than.version
	}
	return e.expiresAt != 0 && (than.expiresAt == 0 || e.expiresAt < than.expiresAt)
}

// setFree takes the entry out. The spool is free as of version.
func (v *View) setFree(old *entry, version lock.Version, now time.Time) {
	owner := old.owner.Value().ID
	delete(v.held, old.tag)
	v.ordered.Delete(old)
	v.removeFromOwner(old)
	v.dues.set(old, never)
	if old.foreign() {
		v.foreign--
	} else {
		v.rememberFree(old.tag, freed{version, old.heard, now})
	}
	v.logChange(change{old.tag, owner}, now)
}

// rememberFree keeps the version at which a spool was freed, for freedMemory.
func (v *View) rememberFree(tag lock.Tag, f freed) {
	v.freed[tag] = f
	v.freedOrder = append(v.freedOrder, freedTag{f.at, tag})
}

// removeFromOwner takes the entry out of those of its owner.
func (v *View) removeFromOwner(e *entry) {
	owner := e.owner.Value().ID
	if _, had := v.owners[owner].Delete(e); had {
		v.addBelow(owner, -1)
	}
	if v.owners[owner].Len() == 0 {
		delete(v.owners, owner)
	}
}

// addBelow counts locks of the owner for each partner whose worker it can be.
func (v *View) addBelow(owner lock.WorkerID, locks int) {
	for i, c := range owner[:min(len(owner), lock.MaxWorkerIDLength+1)] {
		if c != '.' {
			continue
		}
		if v.below[owner[:i]] += locks; v.below[owner[:i]] == 0 {
			delete(v.below, owner[:i])
		}
	}
}

// scheduleRead sets when the store is to be asked whether the lock of e has expired, by what
// remains of it.
func (v *View) scheduleRead(e *entry, remaining time.Duration, now time.Time) {
	if e.expiresAt == 0 {
		return
	}
	e.expires = v.momentAfter(now, remaining)
	if !e.foreign() {
		v.dues.set(e, e.expires)
	}
}

func (v *View) moment(t time.Time) moment { return moment(t.Sub(v.started)) }

// momentAfter is d after t, and before never.
func (v *View) momentAfter(t time.Time, d time.Duration) moment {
	now := v.moment(t)
	return now + min(moment(d), never-1-now)
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

// lockAt is the lock of an entry as it stands at a moment.
func (e *entry) lockAt(now moment) lock.Lock {
	l := lock.Lock{
		Tag: e.tag, Owner: e.owner.Value(), Note: e.note, Version: e.version,
		AcquiredAt: storeTime(e.acquiredAt), ExpiresAt: storeTime(e.expiresAt),
	}
	if e.expiresAt != 0 {
		l.Remaining = time.Duration(max(0, e.expires-now))
	}
	return l
}

// milliseconds are how entries have a time of the store.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func storeTime(milliseconds int64) time.Time {
	if milliseconds == 0 {
		return time.Time{}
	}
	return time.UnixMilli(milliseconds).UTC()
}
