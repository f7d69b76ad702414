package repository_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"spoollock/floor"
	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// The lock, and the requests, that damaged states are about.
const (
	damagedToken     = "93:3f0c9a52-5f6f-4a53-b1d5-1c9a4a3d7e21"
	damagedExtension = "0b6a3c1e-93f7-4b60-8a58-27f8b14c1d02"
	damagedForce     = "5d2f4e7a-1c88-4e0b-9a0f-6b7c8d9e0f13"
	damagedExpires   = 4102444800000 // ms, in the year 2100
	latest           = 253402300799999
)

// damage is what another program may have put where the scripts keep what they know.
type damage struct {
	state, entry, message, barred []byte
	how                           byte // flags
}

// The flags of [damage]: what is of another type than the scripts know.
const (
	stateIsList = 1 << iota
	stateIsHash
	historyIsList
	barredIsList // and those that ended
)

// spoil makes a spool with the damage, held or free.
func (d damage) spoil(s *stand, held bool) {
	s.t.Helper()
	s.tag = newTag()
	_, err := s.client.Pipelined(s.ctx, func(pipe redis.Pipeliner) error {
		if held {
			// Not by SET with PXAT, for which miniredis reads its clock without its mutex.
			pipe.Set(s.ctx, s.lockKey(), damagedToken, 0)
			pipe.PExpireAt(s.ctx, s.lockKey(), time.UnixMilli(damagedExpires))
		}
		switch {
		case d.how&stateIsList != 0:
			pipe.RPush(s.ctx, s.stateKey(), d.state)
		case d.how&stateIsHash != 0:
			pipe.HSet(s.ctx, s.stateKey(), "state", d.state)
		default:
			pipe.Set(s.ctx, s.stateKey(), d.state, 0)
		}
		if d.how&historyIsList != 0 {
			pipe.RPush(s.ctx, s.historyKey(), d.entry, d.entry)
		} else {
			pipe.Set(s.ctx, s.historyKey(), d.entry, 0)
		}
		for _, key := range []string{s.barredKey(), s.endedKey()} {
			if d.how&barredIsList != 0 {
				pipe.RPush(s.ctx, key, d.barred)
			} else {
				pipe.Set(s.ctx, key, d.barred, 0)
			}
		}
		return nil
	})
	s.must(err)
}

// onDamage are operations on a spool with damage that is held by damagedToken. Each returns
// the token that holds it afterwards; empty: none.
var onHeldDamage = map[string]func(s *stand) string{
	"read":  func(s *stand) string { s.wantSane(s.read().Lock); return damagedToken },
	"check": func(s *stand) string { s.wantValid(damagedToken, true); return damagedToken },
	"check of another token": func(s *stand) string {
		s.wantValid(s.command().Token.Reveal(), false)
		return damagedToken
	},
	"history": func(s *stand) string { s.history(); return damagedToken },
	"take": func(s *stand) string {
		_, _, err := s.store.Take(s.ctx, s.command())
		var occupied *lock.OccupiedError
		if !errors.As(err, &occupied) {
			s.t.Fatalf("a take is answered %v", err)
		}
		s.wantSane(&occupied.Lock)
		return damagedToken
	},
	"the holder's take": func(s *stand) string {
		cmd := s.command()
		cmd.Token = s.token(damagedToken)
		taken, replayed, err := s.store.Take(s.ctx, cmd)
		if err != nil || !replayed {
			s.t.Fatalf("the holder's take is answered %+v, %v", taken, err)
		}
		s.wantSane(&taken)
		return damagedToken
	},
	"extend": func(s *stand) string { s.extendDamaged(s.id(), 0, true); return damagedToken },
	"an extension that is in the state": func(s *stand) string {
		s.extendDamaged(s.requestID(damagedExtension), 0, false)
		return damagedToken
	},
	"a retried extension": func(s *stand) string { s.extendDamaged(s.id(), time.Minute, false); return damagedToken },
	"resume": func(s *stand) string {
		cmd := lock.ResumeCommand{Tag: s.tag, Worker: "93", Token: lock.NewToken("93", s.id())}
		resumed, err := s.store.Resume(s.ctx, cmd)
		var occupied *lock.OccupiedError
		if errors.As(err, &occupied) { // it was not taken here, as far as is known
			s.wantSane(&occupied.Lock)
			return damagedToken
		}
		s.must(err)
		s.wantSane(&resumed.Lock)
		s.wantNewest(lock.EventResumed, resumed.Lock.Version)
		s.wantReleaseOneOf(lock.OutcomeSuperseded, lock.OutcomeNotOwner)
		return cmd.Token.Reveal()
	},
	"force": func(s *stand) string {
		cmd := lock.ForceReleaseCommand{Tag: s.tag, Expected: s.read().Version, Actor: "boss", Reason: "gone home", ID: s.id()}
		forced, err := s.store.ForceRelease(s.ctx, cmd)
		if conflict := (*lock.VersionConflictError)(nil); errors.As(err, &conflict) {
			// A read takes what it needs from what the other operations find damaged.
			cmd.Expected = conflict.Actual
			forced, err = s.store.ForceRelease(s.ctx, cmd)
		}
		if err != nil || forced.Replayed || forced.Spool.Lock != nil || !isSane(forced.Released) || forced.Released.Version != cmd.Expected {
			s.t.Fatalf("a forced release is answered %+v, %v", forced, err)
		}
		s.wantGrown(cmd.Expected, forced.Spool.Version)
		s.wantNewest(lock.EventForceReleased, forced.Spool.Version)
		again, err := s.store.ForceRelease(s.ctx, cmd)
		if err != nil || !again.Replayed || again.Spool != forced.Spool {
			s.t.Fatalf("a forced release is answered %+v, %v, and was %+v", again, err, forced)
		}
		s.wantReleaseOneOf(lock.OutcomeForceReleased, lock.OutcomeNotHeld)
		return ""
	},
	"a forced release that is in the state": func(s *stand) string {
		forced, err := s.store.ForceRelease(s.ctx, lock.ForceReleaseCommand{
			Tag: s.tag, Expected: 1, Actor: "boss", Reason: "gone home", ID: s.requestID(damagedForce),
		})
		if err == nil && forced.Replayed {
			if forced.Spool.Version < 1 || forced.Spool.Version > latest || forced.Released.Remaining < 0 {
				s.t.Fatalf("a forced release is answered %+v", forced)
			}
			return damagedToken
		}
		if err == nil { // of a lock of version 1
			return ""
		}
		if !errors.As(err, new(*lock.VersionConflictError)) {
			s.t.Fatalf("a forced release is answered %v", err)
		}
		return damagedToken
	},
	"another's release": func(s *stand) string {
		outcome, spool, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.command().Token, ID: s.id(), Bar: true})
		if err != nil || outcome != lock.OutcomeNotOwner {
			s.t.Fatalf("another's release is %s, %v", outcome, err)
		}
		s.wantSane(spool.Lock)
		return damagedToken
	},
	"release": func(*stand) string { return damagedToken }, // see wantRight
	"scan": func(s *stand) string {
		found := false
		s.must(s.store.Store.(*repository.Redis).Scan(s.ctx, func(part []floor.Found) error {
			for _, f := range part {
				found = found || f.Tag == s.tag && f.Owner == "93" && f.ExpiresAt.UnixMilli() == damagedExpires
			}
			return nil
		}))
		if !found {
			s.t.Fatal("the lock is not found")
		}
		return damagedToken
	},
}

// onFreeDamage are operations on a spool with damage that is free.
var onFreeDamage = map[string]func(s *stand) string{
	"read": func(s *stand) string {
		if spool := s.read(); spool.Lock != nil || spool.Version < 0 || spool.Version > latest {
			s.t.Fatalf("spool is %+v", spool)
		}
		return ""
	},
	"check":   func(s *stand) string { s.wantValid(damagedToken, false); return "" },
	"history": func(s *stand) string { s.history(); return "" },
	"take": func(s *stand) string {
		cmd := s.command()
		taken, replayed, err := s.store.Take(s.ctx, cmd)
		if err != nil || replayed || taken.Owner != cmd.Owner || taken.Note != cmd.Note || taken.ExpiresAt != taken.AcquiredAt.Add(cmd.TTL) {
			s.t.Fatalf("a take is answered %+v, %t, %v", taken, replayed, err)
		}
		s.wantNewest(lock.EventTaken, taken.Version)
		return cmd.Token.Reveal()
	},
	"the former holder's operations": func(s *stand) string {
		outcome, spool, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.token(damagedToken), ID: s.id()})
		if err != nil || spool.Lock != nil || outcome == lock.OutcomeReleased || outcome == lock.OutcomeNotOwner {
			s.t.Fatalf("a release is %s of %+v, %v", outcome, spool, err)
		}
		if _, err := s.extend(s.token(damagedToken)); !errors.As(err, new(*lock.ExpiredError)) {
			s.t.Fatalf("an extension is answered %v", err)
		}
		resume := lock.ResumeCommand{Tag: s.tag, Worker: "93", Token: lock.NewToken("93", s.id())}
		if _, err := s.store.Resume(s.ctx, resume); !errors.As(err, new(*lock.ExpiredError)) {
			s.t.Fatalf("a resume is answered %v", err)
		}
		return ""
	},
	"the former holder's take": func(s *stand) string {
		cmd := s.command()
		cmd.Token = s.token(damagedToken)
		_, replayed, err := s.store.Take(s.ctx, cmd)
		if errors.As(err, new(*lock.ExpiredError)) {
			return ""
		}
		if err != nil || replayed {
			s.t.Fatalf("a take is answered %t, %v", replayed, err)
		}
		return damagedToken
	},
	"force": func(s *stand) string {
		forced, err := s.store.ForceRelease(s.ctx, lock.ForceReleaseCommand{
			Tag: s.tag, Expected: 1, Actor: "boss", Reason: "gone home", ID: s.requestID(damagedForce),
		})
		if !errors.As(err, new(*lock.ExpiredError)) && (err != nil || !forced.Replayed || forced.Spool.Version < 1) {
			s.t.Fatalf("a forced release is answered %+v, %v", forced, err)
		}
		return ""
	},
}

// wantReleaseOneOf releases with damagedToken, which is known by its digest in the state.
func (s *stand) wantReleaseOneOf(known, unknown lock.ReleaseOutcome) {
	s.t.Helper()
	if outcome, _ := s.release(s.token(damagedToken)); outcome != known && outcome != unknown {
		s.t.Fatalf("a release is %s", outcome)
	}
}

func isSane(l lock.Lock) bool {
	return l.Version >= 1 && l.Version <= latest && l.Owner.ID != "" && l.Remaining >= 0 &&
		(l.AcquiredAt.IsZero() || l.AcquiredAt.UnixMilli() > 0 && l.AcquiredAt.Year() <= 9999) &&
		(l.ExpiresAt.IsZero() || l.ExpiresAt.UnixMilli() > 0 && l.ExpiresAt.Year() <= 9999)
}

// wantSane fails unless the lock is damagedToken's, whatever else is told of it.
func (s *stand) wantSane(l *lock.Lock) {
	s.t.Helper()
	if l == nil || !isSane(*l) || l.Owner.ID != "93" || l.ExpiresAt.UnixMilli() != damagedExpires || l.Tag != s.tag {
		s.t.Fatalf("lock is %+v", l)
	}
}

func (s *stand) wantValid(token string, want bool) {
	s.t.Helper()
	checked, err := s.store.Check(s.ctx, lock.CheckCommand{Tag: s.tag, Token: s.token(token)})
	if err != nil || checked.Valid != want {
		s.t.Fatalf("a check is answered %+v, %v", checked, err)
	}
}

// extendDamaged extends the lock: once, however often, and certainly if it must.
func (s *stand) extendDamaged(id lock.RequestID, sinceFirst time.Duration, must bool) {
	s.t.Helper()
	cmd := lock.ExtendCommand{
		Tag: s.tag, Token: s.token(damagedToken), By: time.Minute, MaxTTL: 200 * 365 * 24 * time.Hour, ID: id, SinceFirst: sinceFirst,
	}
	for i := range 2 {
		extended, err := s.store.Extend(s.ctx, cmd)
		now := s.client.PExpireTime(s.ctx, s.lockKey()).Val().Milliseconds()
		var unavailable *lock.UnavailableError
		switch {
		case errors.As(err, &unavailable) && unavailable.Outcome == lock.OutcomeUnknown && sinceFirst > 0:
			if now != damagedExpires {
				s.t.Fatalf("what may have been applied before was applied: the lock expires at %d", now)
			}
		case err != nil || !isSane(extended):
			s.t.Fatalf("an extension is answered %+v, %v", extended, err)
		case must && (now != damagedExpires+60_000 || extended.ExpiresAt.UnixMilli() != now):
			s.t.Fatalf("extension %d is answered %+v, and the lock expires at %d", i, extended, now)
		case now != damagedExpires && now != damagedExpires+60_000:
			s.t.Fatalf("the lock expires at %d", now)
		}
	}
}

// history are the events of the spool. It fails if one of them cannot be shown.
func (s *stand) history() []lock.Event {
	s.t.Helper()
	history, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: lock.MaxEvents})
	s.must(err)
	for _, event := range history {
		if event.Type == "" || event.Version < 1 || event.Version > latest || event.Number < 0 || event.Owner.ID == "" ||
			event.At.UnixMilli() < 1 || event.At.Year() > 9999 || event.ExpiresAt.Year() > 9999 {
			s.t.Fatalf("event is %+v", event)
		}
	}
	return history
}

func (s *stand) wantNewest(kind lock.EventType, version lock.Version) {
	s.t.Helper()
	history := s.history()
	if len(history) == 0 || history[0].Type != kind || history[0].Version != version {
		s.t.Fatalf("history is %+v, want %s at %d", history, kind, version)
	}
}

// wantGrown leaves the end of the calendar out: what is beyond it is damage.
func (s *stand) wantGrown(before, version lock.Version) {
	s.t.Helper()
	if version <= before && before < latest-10 {
		s.t.Fatalf("version went from %d to %d", before, version)
	}
}

// wantRight sees that all is right again: the spool is held by the token, or free, and can be
// released and taken, which is recorded.
func (s *stand) wantRight(token string) {
	s.t.Helper()
	if token == "" {
		before := s.read()
		if before.Lock != nil {
			s.t.Fatalf("spool is %+v", before)
		}
		cmd := s.command()
		taken := s.take(cmd)
		s.wantGrown(before.Version, taken.Version)
		token = cmd.Token.Reveal()
	}
	if value := s.client.Get(s.ctx, s.lockKey()).Val(); value != token {
		s.t.Fatalf("the lock is %q, want that of %q", value, token)
	}
	held := s.read()
	outcome, spool, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.token(token), Note: "done", ID: s.id()})
	if err != nil || outcome != lock.OutcomeReleased || spool.Lock != nil {
		s.t.Fatalf("a release is %s of %+v, %v", outcome, spool, err)
	}
	s.wantGrown(held.Version, spool.Version)
	s.wantNewest(lock.EventReleased, spool.Version)
	if again := s.wantRelease(s.token(token), lock.OutcomeAlreadyReleased); again != spool {
		s.t.Fatalf("spool is %+v after %+v", again, spool)
	}
	parseStored(s.t, s.client.Get(s.ctx, s.stateKey()).Val())
	if n := s.client.StrLen(s.ctx, s.stateKey()).Val(); n > maxState {
		s.t.Fatalf("the state has %d bytes", n)
	}
	cmd := s.command()
	taken := s.take(cmd)
	s.wantGrown(spool.Version, taken.Version)
	s.wantNewest(lock.EventTaken, taken.Version)
	s.must(s.client.Del(s.ctx, s.keys()...).Err())
}

// damagedFeed is a feed that is listened to while it is damaged.
type damagedFeed struct {
	mu    sync.Mutex
	heard []floor.Message
}

func (f *damagedFeed) hear(message floor.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, message)
}

// take returns what was heard since it was called last.
func (f *damagedFeed) take() []floor.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard := f.heard
	f.heard = nil
	return heard
}

// publish sends any bytes, and sees that what follows is heard.
func (f *damagedFeed) publish(s *stand, message []byte) {
	s.t.Helper()
	// The feed is cut where nothing came for a while.
	testwait.Until(s.t, "it is listened", func() bool {
		n, err := s.client.Publish(s.ctx, channel, message).Result()
		s.must(err)
		return n > 0
	})
	s.tag = newTag()
	taken := s.take(s.command())
	testwait.Until(s.t, "what follows is heard", func() bool {
		for _, heard := range f.take() {
			spool := heard.Spool
			if spool.Tag == s.tag && spool.Version == taken.Version {
				return true
			}
			if heard.At.UnixMilli() < 1 || heard.At.Year() > 9999 || spool.Tag == "" || len(spool.Tag) > 256 || spool.Version < 1 || spool.Version > latest ||
				spool.Change < 0 || spool.Lock != nil && (!isSane(*spool.Lock) || spool.Lock.Version != spool.Version) {
				s.t.Fatalf("of %q is heard %+v with %+v", message, heard, spool.Lock)
			}
		}
		return false
	})
	s.must(s.client.Del(s.ctx, s.keys()...).Err())
}

// Whatever another program writes where the scripts keep what they know, it counts as what
// the format says, or as lost: each operation is answered, the lock stays, and what follows is
// recorded.
func FuzzDamage(f *testing.F) {
	for i, seed := range damagedStates() {
		entries, messages := damagedEntries(), damagedMessages()
		f.Add([]byte(seed), []byte(entries[i%len(entries)]), []byte(messages[i%len(messages)]), []byte(digestOf(damagedToken)[:i%11]), byte(0))
	}
	held := heldState().String()
	for how := range byte(16) {
		f.Add([]byte(held), []byte(damagedEntries()[0]), []byte(damagedMessages()[0]), []byte("x"), how)
	}
	var servers []*stand
	server := redistest.Start(f)
	client := server.Client()
	f.Cleanup(func() { _ = client.Close() })
	servers = append(servers, newStandOn(f, locktest.OneAtATime{Store: open(f, server.URL)}, client), newEmbeddedStand(f))
	var feeds []*damagedFeed
	for _, s := range servers {
		s.ctx = context.Background() //nolint:usetesting // each input has its own, and Listen one until the end
		feed := &damagedFeed{}
		feeds = append(feeds, feed)
		f.Cleanup(s.hear(feed.hear))
	}
	f.Fuzz(func(t *testing.T, state, entry, message, barred []byte, how byte) {
		ctx, cancel := context.WithTimeout(t.Context(), testwait.Patience)
		defer cancel()
		d := damage{state, entry, message, barred, how}
		for i, name := range []string{"redis", "embedded"} {
			s := *servers[i]
			s.t, s.ctx = t, ctx
			for _, run := range []struct {
				held       bool
				operations map[string]func(*stand) string
			}{{true, onHeldDamage}, {false, onFreeDamage}} {
				for operation, do := range run.operations {
					d.spoil(&s, run.held)
					logged := logOnFailure(t, fmt.Sprintf("%s, held %t, %s\n%.999q\n%.200q", name, run.held, operation, state, entry))
					s.wantRight(do(&s))
					logged()
				}
			}
			feeds[i].publish(&s, message)
		}
	})
}

// An extension that was applied, and gave what no calendar has, cannot be told of a lock that
// never expires.
func TestDamagedExtensionWithoutExpiry(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		state := heldState()
		state.ends = "-00000000000001"
		state.block = state.block[:len(state.block)-15] + "999999999999999"
		s.must(s.client.Set(s.ctx, s.lockKey(), damagedToken, 0).Err())
		s.put(state)
		_, err := s.store.Extend(s.ctx, lock.ExtendCommand{
			Tag: s.tag, Token: s.token(damagedToken), By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.requestID(damagedExtension),
		})
		if invalid := (*lock.InvalidError)(nil); !errors.As(err, &invalid) || invalid.Reason != lock.ReasonNoExpiry {
			s.t.Fatalf("an extension is answered %v", err)
		}
	})
}

// logOnFailure says what was under way if the test fails before the function is called that
// it returns.
func logOnFailure(t *testing.T, what string) (done func()) {
	t.Helper()
	finished := false
	t.Cleanup(func() {
		if !finished {
			t.Log(what)
		}
	})
	return func() { finished = true }
}

func digits(n int64) string { return fmt.Sprintf("%015d", n) }

// entryOf is what a list of tokens has of one.
func entryOf(token string, kind byte) string {
	s := time.Now().Add(-time.Hour).Unix()
	return digestOf(token) + string([]byte{byte(s >> 24), byte(s >> 16), byte(s >> 8), byte(s), kind}) //nolint:gosec // four bytes of it, as the scripts write them
}

const (
	extrasOfLock = `{"owner":"93","name":"MR(93)","note":"weld 3"}`
	someTime     = 1795985706663
)

// someLine is a LINE.
func someLine(kind string, number int, expires int64, extras string) string {
	return kind + digits(someTime) + digits(someTime) + fmt.Sprintf("%09d", number) + digits(expires) + digits(someTime) + extras
}

// heldState is a state of damagedToken's lock with something in every list.
func heldState() stored {
	return stored{
		ends: digits(damagedExpires), mark: damagedToken, line: someLine("N", 7, damagedExpires, extrasOfLock),
		counts: "1111021179598",
		block: "c" + digestOf(damagedToken) + digits(someTime) + "BB" +
			digestOf("another") + digits(someTime) + digits(damagedExpires-60_000) +
			digestOf(damagedExtension) + digits(someTime) + digits(damagedExpires),
		older: "\n" + someLine("F", 5, damagedExpires, strings.TrimSuffix(extrasOfLock, "}")+`,"held":1795985706660,"actor":"boss","reason":"gone"}`) +
			"\n" + someLine("T", 6, damagedExpires, extrasOfLock),
		lists: entryOf("94:x", 'S') + entryOf("95:x", 'f') + digestOf(damagedForce) + digits(someTime),
	}
}

// freeState is a state after damagedToken's lock.
func freeState() stored {
	return stored{
		ends: "-00000000000002", line: "R" + digits(someTime) + digits(someTime) + "000000003" + strings.Repeat("0", 30) + "{}",
		counts: "1011321000000",
		older: "\n" + someLine("T", 2, damagedExpires, extrasOfLock) +
			"\n" + someLine("R", 3, damagedExpires, strings.TrimSuffix(extrasOfLock, "}")+`,"by":"0123456789ab","done":"x"}`),
		lists: entryOf(damagedToken, 'R') + digestOf(damagedForce) + digits(someTime),
	}
}

// damagedStates are states, and what can become of them.
func damagedStates() []string {
	states := []string{"", "\n", "x", "{}", heldState().String(), freeState().String()}
	add := func(change func(*stored)) {
		for _, state := range []stored{heldState(), freeState()} {
			change(&state)
			states = append(states, state.String())
		}
	}
	add(func(s *stored) { s.line = someLine("T", 1, damagedExpires, extrasOfLock) })
	for n := 13; n <= 15; n++ { // as EXPIRES, and nothing behind it
		states = append(states, digits(damagedExpires)[15-n:])
	}
	states = append(states, "-2")
	for _, before := range []int64{10, 2, 1, 0} { // the last versions, which count as lost
		atTheEnd := func(s *stored) { s.line = put(s.line, lineVersion, digits(latest-before)) }
		add(atTheEnd)
		add(func(s *stored) { s.mark = "94:x"; atTheEnd(s) })
	}
	for _, number := range []string{"nan", "inf", "-5", "1e15", "0x10", "253402300800000"} {
		in := func(text string, offset, width int) string {
			if offset+width > len(text) {
				return text
			}
			padded := strings.Repeat("0", max(0, width-len(number))) + number[:min(len(number), width)]
			if number == "-5" {
				padded = "-" + strings.Repeat("0", width)[:max(0, width-2)] + "5"
			}
			return text[:offset] + padded[:min(width, len(padded))] + text[offset+width:]
		}
		for _, offset := range []int{lineAt, lineVersion, lineExpires, lineAcquired} {
			states = append(states, func() string { s := heldState(); s.line = in(s.line, offset, 15); return s.String() }())
		}
		states = append(states, func() string { s := freeState(); s.line = in(s.line, lineVersion, 15); return s.String() }())
		add(func(s *stored) { s.line = in(s.line, lineNumber, 9) })
		add(func(s *stored) { s.ends = in(s.ends, 0, 15) })
		for _, place := range []struct{ offset, width int }{{11, 15}, {26, 1}, {27, 1}, {28 + 10, 15}, {28 + 25, 15}, {28 + 40 + 10, 15}, {28 + 40 + 25, 15}} {
			s := heldState()
			s.block = in(s.block, place.offset, place.width)
			states = append(states, s.String())
		}
		for _, place := range []struct{ offset, width int }{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 2}, {6, 1}, {7, 6}} {
			add(func(s *stored) { s.counts = in(s.counts, place.offset, place.width) })
		}
		states = append(states, func() string { s := heldState(); s.lists = in(s.lists, 2*15+10, 15); return s.String() }())
	}
	for _, change := range []func(*stored){
		func(s *stored) { s.line = strings.ToLower(s.line[:1]) + s.line[1:] },
		func(s *stored) { s.line = "Q" + s.line[1:] },
		func(s *stored) { s.line = "B" + s.line[1:] },
		func(s *stored) { s.line = "R" + s.line[1:] },
		func(s *stored) { s.line = "T" + s.line[1:] },
		func(s *stored) { s.line = s.line[:lineExtras] },
		func(s *stored) { s.line = s.line[:lineExpires] + "}" },
		func(s *stored) { s.line = s.line[:lineExtras] + "{" },
		func(s *stored) { s.line = s.line[:lineExtras] + "{}}" },
		func(s *stored) { s.line = s.line[:lineExtras] + "{\xff\xfe}" },
		func(s *stored) { s.line = s.line[:lineExtras] + "{\"owner\":\"\xff\xfe\",\"name\":\"\xe2\x82\"}" },
		func(s *stored) { s.line = s.line[:lineExtras] + `{"owner":5,"name":null,"note":{}}` },
		func(s *stored) { s.line = s.line[:lineExtras] + `{"owner":"` + strings.Repeat("x", 5000) + `"}` },
		func(s *stored) { s.line = s.line[:lineExtras] + `{"held":-1,"actor":"x","reason":7}` },
		func(s *stored) { s.mark = "94:x" },
		func(s *stored) { s.mark = "\xff\xfe" },
		func(s *stored) { s.mark = "#640:0123456789abcdef0123456789abcdef01234567" },
		func(s *stored) { s.block = "" },
		func(s *stored) { s.block = s.block[:len(s.block)-15] + "ffffffffffffxxx" },
		func(s *stored) { s.block = s.block[:len(s.block)-15] + "000000000000000" },
		func(s *stored) { s.block = s.block[:len(s.block)-6] },
		func(s *stored) { s.block = "c" },
		func(s *stored) { s.block = "-" + s.block },
		func(s *stored) { s.block = strings.Repeat("z", 28) },
		func(s *stored) { s.block = put(s.block, 26, "QQ") },
		func(s *stored) { s.block = put(s.block, 26, "RA") },
		func(s *stored) { s.block = put(s.block, 26, "A@") },
		func(s *stored) { s.block += s.block + s.block },
		func(s *stored) { s.block = strings.Repeat("\xff", 3000) },
		func(s *stored) { s.older = "\nx" },
		func(s *stored) { s.older = "" },
		func(s *stored) { s.older = strings.Repeat(s.older, 40) },
		func(s *stored) { s.lists = "" },
		func(s *stored) { s.counts = "" },
		func(s *stored) { s.counts = "0000000000000" },
		func(s *stored) { s.counts = "9999999999999" },
		func(s *stored) { s.counts, s.lists = "9999999999999", strings.Repeat("\xff", 6000) },
		func(s *stored) { s.counts = "garbage" + s.counts },
		func(s *stored) { s.lists = "garbage" + s.lists },
		func(s *stored) { s.counts, s.lists = "0100000000000", entryOf(damagedToken, ' ') },
		func(s *stored) { s.counts, s.lists = "0100000000000", entryOf(damagedToken, '\n') },
		func(s *stored) { s.counts, s.lists = "0100000000000", entryOf(damagedToken, '-') },
		func(s *stored) { s.counts, s.lists = "0100000000000", entryOf(damagedToken, 'q') },
		func(s *stored) { s.counts, s.lists = "0100000000000", entryOf(damagedToken, 'w') },
		func(s *stored) { s.counts, s.lists = "0100000000000", entryOf(damagedToken, '\xff')[:12] },
		func(s *stored) { s.lists += strings.Repeat("t", 8191-len(s.String())) },
		func(s *stored) { s.lists += strings.Repeat("t", 8192-len(s.String())) },
		func(s *stored) { s.lists += strings.Repeat("t", 8193-len(s.String())) },
		func(s *stored) { s.lists += strings.Repeat("t", 1<<16) },
	} {
		state := heldState()
		change(&state)
		states = append(states, state.String())
	}
	for _, lists := range []string{"", "garbage" + freeState().lists, freeState().lists + strings.Repeat("t", 1<<16)} {
		state := freeState()
		state.lists = lists
		states = append(states, state.String())
	}
	whole := heldState().String()
	for n := 0; n < len(whole); n += 61 {
		states = append(states, whole[:n])
	}
	slices.Sort(states)
	return slices.Compact(states)
}

// damagedEntries are entries of a history.
func damagedEntries() []string {
	older := heldState().older
	return []string{
		older, "", "\n", "\n\n", "\nx", older[:40], older[1:] + "\n", "\xff\xfe" + older, strings.Repeat(older, 200),
		strings.ReplaceAll(older, digits(someTime), "            nan"), strings.ReplaceAll(older, digits(someTime), "253402300800000"),
		strings.ReplaceAll(older, digits(someTime), "000000000000000"), strings.ReplaceAll(older, "{", "["),
		"F" + digits(someTime) + digits(someTime) + "abcdefghi" + digits(0) + digits(0) + "{}",
		"\nF" + digits(someTime) + "999999999999999" + "000000001" + digits(0) + digits(0) + "{}\n", "F\n", "\nQ" + older[2:],
	}
}

// damagedMessages are messages of the feed.
func damagedMessages() []string {
	line := someLine("T", 7, damagedExpires, extrasOfLock)
	key := "spool_lock:MK-" + uuid.NewString() + "\n"
	return []string{
		key + line, "", "\n", key, line, key + line[:60], "spool_lock:\n" + line, "spool_lock:" + strings.Repeat("x", 300) + "\n" + line,
		"spool_lock:\xff\n" + line, key + put(line, lineVersion, "            nan"), key + put(line, lineExpires, "            inf"),
		key + put(line, lineExpires, "-00000000000005"), key + put(line, lineVersion, "253402300800000"), key + put(line, lineNumber, "00001e300"),
		key + "q" + line[1:], key + "Q" + line[1:], key + line + "\n" + line, key + line[:lineExtras] + "\xff", key + line[:lineExtras] + `{"owner":5}`,
		"\n" + "B" + line[1:lineExtras] + `{"id":"x"}`, "\nB" + line[1:], "\x00\xff\xfe", key + line[:lineExtras] + strings.Repeat("{", 10000),
	}
}
