package faults

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Bounds are what the promises of a run depend on.
type Bounds struct {
	// Ahead and Behind are how far Redis' clock was ahead of the clients' at most, and
	// behind it, ms.
	Ahead, Behind int64

	// Drift is by how much a lock lasts longer where its slot moved, ms: Redis hands on
	// how much time a key has left, and not until when.
	Drift int64

	// TakesBack says that the service takes a lock back that replicas do not confirm.
	TakesBack bool
}

// rounding is by how much times may be apart that are cut to milliseconds, ms.
const rounding = 2

// Verdict is what became of a check.
type Verdict struct {
	Checked   int      // operations, of the spools that could be checked
	Unchecked []string // spools whose check ran out of time
	Illegal   []string // spools whose histories cannot have happened
	Late      int      // takes that were refused, and came into force all the same
}

// Check judges the history of each spool, at most for the time given.
func (b Bounds) Check(history []*Operation, timeout time.Duration) Verdict {
	var verdict Verdict
	var mu sync.Mutex
	var checking sync.WaitGroup
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	for spool, operations := range bySpool(history) {
		places <- struct{}{}
		checking.Go(func() {
			defer func() { <-places }()
			moves, late := b.moves(operations)
			result := porcupine.CheckOperationsTimeout(b.model(), moves, timeout)
			mu.Lock()
			defer mu.Unlock()
			verdict.Late += late
			switch result {
			case porcupine.Unknown:
				verdict.Unchecked = append(verdict.Unchecked, spool)
				return
			case porcupine.Illegal:
				verdict.Illegal = append(verdict.Illegal, spool)
			}
			verdict.Checked += len(operations)
		})
	}
	checking.Wait()
	slices.Sort(verdict.Unchecked)
	slices.Sort(verdict.Illegal)
	return verdict
}

// Draw writes a picture of what happened to a spool, and of how far it can be
// understood, as HTML.
func (b Bounds) Draw(path string, history []*Operation, spool string, timeout time.Duration) error {
	moves, _ := b.moves(bySpool(history)[spool])
	_, info := porcupine.CheckOperationsVerbose(b.model(), moves, timeout)
	if err := porcupine.VisualizePath(b.model(), info, path); err != nil {
		return fmt.Errorf("draw %s: %w", spool, err)
	}
	return nil
}

func bySpool(history []*Operation) map[string][]*Operation {
	spools := map[string][]*Operation{}
	for _, operation := range history {
		spools[operation.Spool] = append(spools[operation.Spool], operation)
	}
	return spools
}

// move is what the model is asked about: an operation, or a sending of it that may
// have been carried out besides the one that was answered.
type move struct {
	*Operation
	maybe Kind // empty: the operation itself
}

// moves are what is to be put in an order. late is how many takes were refused, and
// seen to hold later: what was sent before, and given up, may arrive at any time.
func (b Bounds) moves(operations []*Operation) (moves []porcupine.Operation, late int) {
	holders, taken, clients := map[string]bool{}, map[string]bool{}, 0
	for _, o := range operations {
		clients = max(clients, o.Client+1)
		if o.Lock != nil {
			holders[o.Lock.OwnerID] = true
		}
		if o.Kind == Take && o.Outcome == Taken {
			taken[o.Owner()] = true
		}
	}
	add := func(o *Operation, maybe Kind, until int64) {
		client := o.Client
		if maybe != "" || o.Outcome == Unknown {
			client, clients = clients, clients+1 // it is under way beside what its client does next
		}
		moves = append(moves, porcupine.Operation{ClientId: client, Input: move{o, maybe}, Call: o.Call, Return: until})
	}
	for _, o := range operations {
		end := o.Return
		if o.Outcome == Unknown {
			end = forever * 1e6
		}
		add(o, "", end)
		switch {
		case o.Kind == Take && o.Outcome == Ended && !taken[o.Owner()]:
			// It took, before its answer came.
			add(o, Take, end)
			if b.TakesBack {
				add(o, Release, end)
			}
		case o.Kind == Extend && o.Outcome != Extended:
			add(o, Extend, end)
		case o.Kind == ForeignTake && o.Sent > 1:
			add(o, ForeignTake, end) // and lapsed, before it was sent again
		case o.Kind == Take && (o.Outcome == Occupied || o.Outcome == Conflict) && (o.Sent > 1 || o.Disturbed) && holders[o.Owner()]:
			add(o, Take, forever*1e6)
			late++
		}
	}
	return moves, late
}

// state is what can be true of a spool at one moment.
type state struct {
	now int64 // no move that is still to come was carried out earlier, ms

	// The lock lapses between its Expires and until, on Redis' clock. It is free where
	// its OwnerID is empty. Its Version is 0 where another program took it, and nobody
	// was told of a version yet.
	lock  Lock
	until int64

	version  int64 // of the spool
	exact    bool  // else it is at least version
	extended []extension
	ended    []ending
}

// extension was applied to the lock, and answered its new expiry.
type extension struct {
	id      string
	expires int64
}

// ending is how a lock came to its end. The causes are those of the schema.
type ending struct {
	owner, cause string
	expires      int64
	unseen       bool // perhaps: nobody was told of it
}

const (
	causeReleased = "RELEASED"
	causeExpired  = "EXPIRED"
	causeForeign  = "RELEASED_EXTERNALLY"
	causeUnseen   = "NOT_HELD"
)

func (s state) equal(other state) bool {
	return s.now == other.now && s.lock == other.lock && s.until == other.until && s.version == other.version &&
		s.exact == other.exact && slices.Equal(s.extended, other.extended) && slices.Equal(s.ended, other.ended)
}

func (b Bounds) model() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{exact: true}} },
		Step: func(from, input, _ any) (next []any) {
			for _, s := range b.step(from.(state), input.(move)) {
				next = append(next, s)
			}
			return next
		},
		Equal: func(a, b any) bool { return a.(state).equal(b.(state)) },
		DescribeOperation: func(input, _ any) string {
			return input.(move).String()
		},
		DescribeState: func(s any) string { return s.(state).String() },
	}
	return model.ToModel()
}

// step is what can be true after the move. A lapse is no move of anybody: whether the
// lock that is held has lapsed in the meantime is found out by what comes next, as far
// as the time allows either.
func (b Bounds) step(s state, m move) (next []state) {
	s.now = max(s.now, m.Call/1e6)
	end := m.end()
	if s.now > end+rounding {
		return nil
	}
	if s.free() || s.now-b.Behind <= s.until+b.Drift+rounding {
		next = b.apply(s, m)
	}
	if !s.free() && s.lock.Expires <= end+b.Ahead+rounding {
		s.now = max(s.now, s.lock.Expires-b.Ahead-rounding)
		next = append(next, b.apply(s.end(causeExpired), m)...)
	}
	return next
}

// end is when a move was over at the latest, ms.
func (m move) end() int64 {
	if m.Outcome == Unknown || m.maybe == Take && m.Outcome != Ended {
		return forever
	}
	return m.Return / 1e6
}

// apply is what can be true after the move, if it was carried out when s was.
func (b Bounds) apply(s state, m move) []state {
	switch {
	case m.maybe != "":
		return append(b.maybe(s, m, m.maybe), s)
	case m.Outcome == Unknown:
		return append(b.maybe(s, m, m.Kind), s)
	case m.InDoubt && (m.Outcome != Taken && m.Outcome != Extended || m.Kind == ForeignTake):
		return append(b.certain(s, m), s)
	default:
		return b.certain(s, m)
	}
}

// maybe is what a sending does that nobody saw the answer of; nothing, where it does
// nothing.
func (b Bounds) maybe(s state, m move, kind Kind) []state {
	own := s.lock.OwnerID == m.Owner()
	switch {
	case (kind == Take || kind == ForeignTake) && s.free() && !s.knows(m.Owner()):
		return []state{b.held(s, m)}
	case kind == Release && own:
		return []state{s.end(causeReleased)}
	case kind == ForeignRelease && own:
		return []state{s.end(causeForeign)}
	case kind == Extend && own && s.extension(m.Extension) == nil:
		return []state{s.extend(m.Extension, s.lock.Expires+m.TTL, s.until+m.TTL)}
	default:
		return nil
	}
}

// held is a spool that the move took, of which no answer tells.
func (b Bounds) held(s state, m move) state {
	s.lock = Lock{OwnerID: m.Owner(), Expires: s.now + m.TTL - b.Behind - rounding}
	s.until = m.end() + m.TTL + b.Ahead + rounding
	s.extended = nil
	return s
}

// certain is what is true after an operation with its outcome; nothing, where it
// cannot have that.
func (b Bounds) certain(s state, m move) []state {
	own := s.lock.OwnerID == m.Owner()
	ok := false
	switch m.Outcome {
	case Taken:
		if m.Kind == ForeignTake {
			if own && m.Sent > 1 { // an earlier sending took it
				return []state{s}
			}
			ok = s.free()
			s = b.held(s, m)
			break
		}
		if own { // this very request had taken it
			return b.shown(s, m.Lock)
		}
		at := m.Lock.Expires - m.TTL
		ok = s.free() && !s.knows(m.Owner()) && m.Lock.OwnerID == m.Owner() && m.Lock.Version > s.version &&
			(m.Expected == nil || s.mayBe(*m.Expected) && m.Lock.Version > *m.Expected) &&
			s.now-b.Behind-rounding <= at && at <= m.end()+b.Ahead+rounding
		s.now = max(s.now, at-b.Ahead-rounding)
		s.lock, s.until = *m.Lock, m.Lock.Expires
		s.version, s.exact, s.extended = m.Lock.Version, true, nil
	case Occupied:
		if m.Kind == ForeignTake {
			ok = !s.free()
			break
		}
		if own {
			return nil
		}
		return b.shown(s, m.Lock)
	case Held:
		return b.shown(s, m.Lock)
	case Free, Conflict:
		ok = s.free() && s.mayBe(m.Version) && (m.Outcome == Free || *m.Expected != m.Version)
		s.version, s.exact = m.Version, true
	case Ended:
		ok = b.ended(s, m, m.Cause) && (m.Kind == Take || s.free())
	case Extended:
		if before := s.extension(m.Extension); own && before != nil {
			ok = m.Lock.OwnerID == s.lock.OwnerID && m.Lock.Expires == *before &&
				(s.lock.Version == 0 || m.Lock.Version == s.lock.Version)
			break
		}
		before := *m.Lock
		before.Expires -= m.TTL
		if shown := b.shown(s, &before); own && shown != nil {
			ok, s = true, shown[0].extend(m.Extension, m.Lock.Expires, m.Lock.Expires)
		}
	case Released:
		ok = own
		if s = s.end(causeReleased); m.Kind == ForeignRelease {
			s.ended[len(s.ended)-1].cause = causeForeign
		}
	case AlreadyReleased:
		if own { // by an earlier sending
			ok, s = m.Sent > 1, s.end(causeReleased)
			break
		}
		ok = b.ended(s, m, causeReleased) || b.ended(s, m, causeForeign)
	case Expired:
		ok = b.ended(s, m, causeExpired)
	case NotOwner:
		ok = !s.free() && !own && b.ended(s, m, causeUnseen)
	case NotHeld:
		if m.Kind == Release {
			ok = s.free() && b.ended(s, m, causeUnseen)
			break
		}
		if ok = !own; own && m.Sent > 1 { // by an earlier sending
			ok, s = true, s.end(causeForeign)
		}
	}
	if !ok {
		return nil
	}
	return []state{s}
}

func (s state) free() bool { return s.lock.OwnerID == "" }

// mayBe reports whether the spool may have the version.
func (s state) mayBe(version int64) bool {
	return version == s.version || !s.exact && version > s.version
}

// shown is what is true where somebody is told of the lock.
func (b Bounds) shown(s state, lock *Lock) []state {
	if s.lock.OwnerID != lock.OwnerID || lock.Expires < s.lock.Expires || s.until+b.Drift < lock.Expires ||
		(s.lock.Version == 0 && lock.Version <= s.version) || (s.lock.Version != 0 && lock.Version != s.lock.Version) {
		return nil
	}
	s.lock, s.until, s.version, s.exact = *lock, lock.Expires, lock.Version, true
	return []state{s}
}

func (s state) extension(id string) *int64 {
	for _, e := range s.extended {
		if e.id == id {
			return &e.expires
		}
	}
	return nil
}

func (s state) extend(id string, earliest, latest int64) state {
	s.extended = append(slices.Clip(s.extended), extension{id, latest})
	s.lock.Expires, s.until = earliest, latest
	return s
}

// end is the spool without its lock. The version grows when it is next looked at, if
// there was a look while the lock was there.
func (s state) end(cause string) state {
	s.ended = append(slices.Clip(s.ended), ending{s.lock.OwnerID, cause, s.lock.Expires, s.lock.Version == 0})
	s.exact = false
	if s.lock.Version != 0 {
		s.version = s.lock.Version + 1
	}
	s.lock, s.until, s.extended = Lock{}, 0, nil
	return s
}

func (s state) knows(owner string) bool {
	return slices.ContainsFunc(s.ended, func(e ending) bool { return e.owner == owner })
}

// ended reports whether the lock that the move is about may be said to have ended so.
// What another program released counts as lapsed where nobody looked before that.
func (b Bounds) ended(s state, m move, cause string) bool {
	return slices.ContainsFunc(s.ended, func(e ending) bool {
		return e.owner == m.Owner() && (e.cause == cause || e.unseen && cause == causeUnseen ||
			e.cause == causeForeign && cause == causeExpired && e.expires <= m.end()+b.Ahead+rounding ||
			// By a clock that was put back, it had time left.
			e.cause == causeExpired && cause == causeForeign && b.Ahead+b.Behind > 0)
	})
}

// forever is later than every time, ms, and leaves room for sums.
const forever = int64(1) << 42

func (m move) String() string {
	text := fmt.Sprintf("%s %s", m.Kind, m.Owner())
	if m.maybe != "" {
		return fmt.Sprintf("perhaps %s by %s", m.maybe, m.Owner())
	}
	if m.Expected != nil {
		text += fmt.Sprintf(" at %d", *m.Expected)
	}
	if m.TTL != 0 {
		text += fmt.Sprintf(" for %d ms", m.TTL)
	}
	text += fmt.Sprintf(": %s %s", m.Outcome, m.Cause)
	if m.Lock != nil {
		text += fmt.Sprintf(" %+v", *m.Lock)
	}
	if m.Version != 0 {
		text += fmt.Sprintf(" %d", m.Version)
	}
	if m.InDoubt {
		text += " in doubt"
	}
	return text
}

func (s state) String() string {
	text := "free"
	if !s.free() {
		text = fmt.Sprintf("%+v until %d", s.lock, s.until)
	}
	if !s.exact {
		text += ", at least"
	}
	return fmt.Sprintf("%s, version %d, now %d, ended %v", text, s.version, s.now, s.ended)
}

// Violation is a promise that was broken.
type Violation struct{ Spool, What string }

func (v Violation) String() string { return v.Spool + ": " + v.What }

// Growing returns a violation for each two takes of a spool that followed each other
// without their versions growing. It holds whatever a failover may lose; but that two
// masters, each of which takes itself for the only one, can give the same version in the
// same millisecond, where none of them waits for replicas.
func Growing(history []*Operation, mayLose bool) (violations []Violation) {
	for spool, operations := range bySpool(history) {
		takes := map[string]*Operation{}
		for _, o := range operations {
			if o.Kind == Take && o.Outcome == Taken && takes[o.Token] == nil {
				takes[o.Token] = o
			}
		}
		for a := range maps.Values(takes) {
			for b := range maps.Values(takes) {
				parted := mayLose && a.InDoubt && b.InDoubt
				same := a.Lock.Version == b.Lock.Version && !parted
				if a != b && (same || a.Return < b.Call && a.Lock.Version > b.Lock.Version) {
					violations = append(violations, Violation{spool, fmt.Sprintf("%s has version %d, and %s after it %d",
						a.Owner(), a.Lock.Version, b.Owner(), b.Lock.Version)})
				}
			}
		}
	}
	return violations
}
