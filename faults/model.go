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

	// forgotten says that so much happened since a forced release was sent first that the
	// history need not have it any more, and with it what it was answered.
	forgotten bool
}

// moves are what is to be put in an order. late is how many takes were refused, and
// seen to hold later: what was sent before, and given up, may arrive at any time.
func (b Bounds) moves(operations []*Operation) (moves []porcupine.Operation, late int) {
	holders, got, clients := map[string]bool{}, map[string]bool{}, 0
	for _, o := range operations {
		clients = max(clients, o.Client+1)
		if o.Lock != nil {
			holders[o.Lock.OwnerID] = true
		}
		if o.Kind == Take && o.Outcome == Taken || o.Outcome == Resumed {
			got[o.Token] = true
		}
	}
	for _, o := range operations {
		forgotten := o.Kind == ForceRelease && mostEvents(operations, holders, o) >= maxEvents
		add := func(maybe Kind, until int64) {
			client := o.Client
			if maybe != "" || o.Outcome == Unknown {
				client, clients = clients, clients+1 // it is under way beside what its client does next
			}
			moves = append(moves, porcupine.Operation{ClientId: client, Input: move{o, maybe, forgotten}, Call: o.Call, Return: until})
		}
		end := o.Return
		if o.Outcome == Unknown {
			end = forever * 1e6
		}
		add("", end)
		switch {
		case o.Kind == Take && o.Outcome == Ended && !got[o.Token]:
			// It took, before its answer came.
			add(Take, end)
			if b.TakesBack {
				add(Release, end)
			}
		case o.Kind == Resume && o.Outcome == Ended && o.Cause != causeUnseen && !got[o.Token]:
			add(Resume, end) // before its answer came
		case forgotten && o.Outcome != ForceReleased && o.Outcome != Unknown:
			add(ForceRelease, end)
		case o.Kind == Extend && o.Outcome != Extended:
			add(Extend, end)
		case o.Kind == ForeignTake && o.Sent > 1:
			add(ForeignTake, end) // and lapsed, before it was sent again
		case o.Kind == Take && (o.Outcome == Occupied || o.Outcome == Conflict) && (o.Sent > 1 || o.Disturbed) && holders[o.Owner()]:
			add(Take, forever*1e6)
			late++
		}
	}
	return moves, late
}

// mostEvents is how many the history can have got at most, from when a forced release was
// sent first until it was answered. holders are all who were seen to hold.
func mostEvents(operations []*Operation, holders map[string]bool, forced *Operation) (most int) {
	since := forced.Call
	for _, o := range operations {
		if o.Request == forced.Request {
			since = min(since, o.Call)
		}
	}
	for _, o := range operations {
		refused := (o.Outcome == Occupied || o.Outcome == Conflict) && !holders[o.Owner()]
		if refused || o.Call > forced.Return || o.Outcome != Unknown && o.Return < since {
			continue
		}
		switch o.Kind {
		case Take, ForeignTake:
			most += 2 // and its end
		case Extend, Resume:
			most++
		}
	}
	return most
}

// state is what can be true of a spool at one moment.
type state struct {
	now int64 // no move that is still to come was carried out earlier, ms

	// The lock lapses between its Expires and until, on Redis' clock. It is free where
	// its OwnerID is empty. Its Version is 0 where nobody was told of it yet.
	lock    Lock
	until   int64
	token   string // that holds it
	foreign bool   // another program took it

	version  int64 // of the spool
	exact    bool  // else it is at least version
	extended []extension
	ended    []ending
	forced   []forcing
}

// extension was applied to the lock, and answered its new expiry.
type extension struct {
	id      string
	expires int64
}

// ending is how a token came to its end. The causes are those of the schema.
type ending struct {
	token, cause string
	expires      int64
	unseen       bool // perhaps: nobody was told of it
}

// forcing is what a forced release was answered first. Its version is 0 where nobody was
// told yet.
type forcing struct {
	request string
	lock    Lock
	version int64
}

const (
	causeReleased   = "RELEASED"
	causeExpired    = "EXPIRED"
	causeForced     = "FORCE_RELEASED"
	causeSuperseded = "SUPERSEDED"
	causeForeign    = "RELEASED_EXTERNALLY"
	causeUnseen     = "NOT_HELD"
)

func (s state) equal(other state) bool {
	return s.now == other.now && s.lock == other.lock && s.until == other.until && s.token == other.token &&
		s.foreign == other.foreign && s.version == other.version && s.exact == other.exact &&
		slices.Equal(s.extended, other.extended) && slices.Equal(s.ended, other.ended) && slices.Equal(s.forced, other.forced)
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
	case m.InDoubt && !m.confirmed():
		return append(b.certain(s, m), s)
	default:
		return b.certain(s, m)
	}
}

// confirmed reports whether replicas have what the move did, where they are to have it.
func (m move) confirmed() bool {
	return m.Outcome == Taken && m.Kind != ForeignTake || m.Outcome == Extended || m.Outcome == Resumed
}

// maybe is what a sending does that nobody saw the answer of; nothing, where it does
// nothing.
func (b Bounds) maybe(s state, m move, kind Kind) []state {
	own := s.token == m.Token
	switch {
	case (kind == Take || kind == ForeignTake) && s.free() && !s.knows(m.Token):
		return []state{b.held(s, m)}
	case kind == Resume && !own && s.resumable(m):
		return []state{s.supersede(m.Token)}
	case kind == ForceRelease && !s.free():
		s, ok := s.at(*m.Expected)
		if !ok {
			return nil
		}
		forced := forcing{request: m.Request, lock: s.lock}
		s = s.end(causeForced)
		s.forced = append(slices.Clip(s.forced), forced)
		return []state{s}
	case kind == Release && own:
		return []state{s.end(causeReleased)}
	case kind == ForeignRelease && own:
		return []state{s.end(causeForeign)}
	case kind == Extend && own && s.extension(m.Request) == nil:
		return []state{s.extend(m.Request, s.lock.Expires+m.TTL, s.until+m.TTL)}
	default:
		return nil
	}
}

// held is a spool that the move took, of which no answer tells.
func (b Bounds) held(s state, m move) state {
	s.lock = Lock{OwnerID: m.Owner(), Expires: s.now + m.TTL - b.Behind - rounding}
	s.until = m.end() + m.TTL + b.Ahead + rounding
	s.token, s.foreign, s.extended = m.Token, m.Kind == ForeignTake, nil
	return s
}

// unseenAgain is a spool that another program took by the value of the lock that expired last,
// before the service looked at the spool: to the service it is that lock, with another expiry.
func (b Bounds) unseenAgain(s state, m move) []state {
	last := len(s.ended) - 1
	if last < 0 || s.exact || s.ended[last].token != m.Token || s.ended[last].cause != causeExpired || s.ended[last].unseen {
		return nil
	}
	version := s.version - 1 // see end
	s = b.held(s, m)
	s.lock.Version, s.version, s.exact, s.ended = version, version, true, s.ended[:last]
	return []state{s}
}

// certain is what is true after an operation with its outcome; nothing, where it
// cannot have that.
func (b Bounds) certain(s state, m move) []state {
	own := s.token == m.Token
	ok := false
	switch m.Outcome {
	case Taken:
		if m.Kind == ForeignTake {
			if own && m.Sent > 1 { // an earlier sending took it
				return []state{s}
			}
			if s.free() {
				return append(b.unseenAgain(s, m), b.held(s, m))
			}
			return nil
		}
		if own { // this very request had taken it
			return b.shown(s, m.Lock)
		}
		at := m.Lock.Expires - m.TTL
		ok = s.free() && !s.knows(m.Token) && m.Lock.OwnerID == m.Owner() && m.Lock.Version > s.version &&
			(m.Expected == nil || s.mayBe(*m.Expected) && m.Lock.Version > *m.Expected) &&
			s.now-b.Behind-rounding <= at && at <= m.end()+b.Ahead+rounding
		s.now = max(s.now, at-b.Ahead-rounding)
		s.lock, s.until, s.token = *m.Lock, m.Lock.Expires, m.Token
		s.version, s.exact, s.extended = m.Lock.Version, true, nil
	case Resumed:
		if !own { // else this very request had resumed it
			if !s.resumable(m) {
				return nil
			}
			s = s.supersede(m.Token)
		}
		return b.shown(s, m.Lock)
	case Occupied:
		if m.Kind == ForeignTake {
			ok = !s.free()
			break
		}
		// Nobody is told of their own lock that it is in the way, but who resumes another
		// program's.
		if s.lock.OwnerID == m.Owner() && (m.Kind != Resume || !s.foreign) || m.Kind == Resume && s.knows(m.Token) {
			return nil
		}
		return b.shown(s, m.Lock)
	case Held:
		return b.shown(s, m.Lock)
	case Free, Conflict:
		if m.Kind == ForceRelease {
			ok = !s.free() && *m.Expected != m.Version && !s.remembers(m)
			next, fits := s.at(m.Version)
			ok, s = ok && fits, next
			break
		}
		ok = s.free() && s.mayBe(m.Version) && (m.Outcome == Free || *m.Expected != m.Version)
		s.version, s.exact = m.Version, true
	case Ended:
		switch m.Kind {
		case ForceRelease:
			ok = s.free() && m.Cause == causeUnseen && !s.remembers(m)
		case Resume:
			ok = b.ended(s, m, m.Cause) || s.free() && m.Cause == causeUnseen && !s.knows(m.Token)
		case Extend:
			ok = b.ended(s, m, m.Cause) && (s.free() || s.lock.OwnerID == m.Owner())
		default:
			ok = b.ended(s, m, m.Cause)
		}
	case Extended:
		if before := s.extension(m.Request); own && before != nil {
			ok = m.Lock.OwnerID == s.lock.OwnerID && m.Lock.Expires == *before &&
				(s.lock.Version == 0 || m.Lock.Version == s.lock.Version)
			break
		}
		before := *m.Lock
		before.Expires -= m.TTL
		if shown := b.shown(s, &before); own && shown != nil {
			ok, s = true, shown[0].extend(m.Request, m.Lock.Expires, m.Lock.Expires)
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
	case Superseded:
		ok = b.ended(s, m, causeSuperseded)
	case ForceReleased:
		if m.Kind == ForceRelease {
			return b.forced(s, m)
		}
		ok = b.ended(s, m, causeForced)
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
	next, ok := s.at(lock.Version)
	if !ok || s.lock.OwnerID != lock.OwnerID || lock.Expires < s.lock.Expires || s.until+b.Drift < lock.Expires {
		return nil
	}
	next.lock, next.until = *lock, lock.Expires
	return []state{next}
}

// at is the spool with its lock at the version; ok says that it can be.
func (s state) at(version int64) (next state, ok bool) {
	ok = s.lock.Version == version || s.lock.Version == 0 && version > s.version
	s.lock.Version, s.version, s.exact = version, version, true
	return s, ok
}

// resumable reports whether the lock is the own one of who resumes, whose token is of no
// lock yet.
func (s state) resumable(m move) bool {
	return s.lock.OwnerID == m.Owner() && !s.foreign && !s.knows(m.Token)
}

// supersede is the spool whose lock has got another token, and a version that nobody was
// told of yet.
func (s state) supersede(token string) state {
	s.ended = append(slices.Clip(s.ended), ending{token: s.token, cause: causeSuperseded, expires: s.lock.Expires})
	s.token, s.lock.Version, s.extended = token, 0, nil
	return s
}

// forced is what is true after a forced release that was answered: it ended the lock of
// the version that was seen, or it is answered what it was first.
func (b Bounds) forced(s state, m move) []state {
	answered := forcing{m.Request, *m.Lock, m.Version}
	if m.Lock.Version != *m.Expected || m.Version <= m.Lock.Version {
		return nil
	}
	if before := s.forcing(m.Request); before != nil {
		told := before.version != 0
		if told && *before != answered || before.lock.OwnerID != m.Lock.OwnerID {
			return nil
		}
		s.forced = slices.Clone(s.forced)
		*s.forcing(m.Request) = answered
		return []state{s}
	}
	shown := b.shown(s, m.Lock)
	if shown == nil {
		return nil
	}
	s = shown[0].end(causeForced)
	s.version, s.exact, s.forced = m.Version, true, append(slices.Clip(s.forced), answered)
	return []state{s}
}

func (s state) forcing(request string) *forcing {
	for i := range s.forced {
		if s.forced[i].request == request {
			return &s.forced[i]
		}
	}
	return nil
}

// remembers reports whether the forced release was done before, and is known.
func (s state) remembers(m move) bool { return !m.forgotten && s.forcing(m.Request) != nil }

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
	s.ended = append(slices.Clip(s.ended), ending{s.token, cause, s.lock.Expires, s.foreign && s.lock.Version == 0})
	s.exact = false
	if s.lock.Version != 0 {
		s.version = s.lock.Version + 1
	}
	s.lock, s.until, s.token, s.foreign, s.extended = Lock{}, 0, "", false, nil
	return s
}

func (s state) knows(token string) bool {
	return slices.ContainsFunc(s.ended, func(e ending) bool { return e.token == token })
}

// ended reports whether the token that the move is about may be said to have ended so.
// What another program released counts as lapsed where nobody looked before that.
func (b Bounds) ended(s state, m move, cause string) bool {
	return slices.ContainsFunc(s.ended, func(e ending) bool {
		return e.token == m.Token && (e.cause == cause || e.unseen && cause == causeUnseen ||
			e.cause == causeForeign && cause == causeExpired && e.expires <= m.end()+b.Ahead+rounding ||
			// By a clock that was put back, it had time left.
			e.cause == causeExpired && cause == causeForeign && b.Ahead+b.Behind > 0)
	})
}

// forever is later than every time, ms, and leaves room for sums.
const forever = int64(1) << 42

func (m move) String() string {
	what := m.Token
	if m.Kind == ForceRelease {
		what = m.Request
	}
	text := fmt.Sprintf("%s %s", m.Kind, what)
	if m.maybe != "" {
		return fmt.Sprintf("perhaps %s of %s", m.maybe, what)
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
		text = fmt.Sprintf("%+v until %d by %s", s.lock, s.until, s.token)
	}
	if !s.exact {
		text += ", at least"
	}
	return fmt.Sprintf("%s, version %d, now %d, ended %v", text, s.version, s.now, s.ended)
}

// Violation is a promise that was broken.
type Violation struct{ Spool, What string }

func (v Violation) String() string { return v.Spool + ": " + v.What }

// Growing returns a violation for each two takes or resumes of a spool that followed each
// other without their versions growing. It holds whatever a failover may lose; but that two
// masters, each of which takes itself for the only one, can give the same version in the
// same millisecond, where none of them waits for replicas.
func Growing(history []*Operation, mayLose bool) (violations []Violation) {
	for spool, operations := range bySpool(history) {
		first := map[string]*Operation{} // that was answered the token
		for _, o := range operations {
			if (o.Kind == Take && o.Outcome == Taken || o.Outcome == Resumed) && first[o.Token] == nil {
				first[o.Token] = o
			}
		}
		for a := range maps.Values(first) {
			for b := range maps.Values(first) {
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
