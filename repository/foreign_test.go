package repository_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
	"spoollock/testwait"
)

// The commands of the Python service on the same Redis, byte for byte.

func (s *stand) foreignTake(value string) bool {
	s.t.Helper()
	answer, err := s.client.Do(s.ctx, "SET", s.lockKey(), value, "NX", "EX", "3600").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatal(err)
	}
	return answer == "OK"
}

const foreignReleaseScript = `if redis.call("get", KEYS[1]) == ARGV[1] then
    return redis.call("del", KEYS[1])
else
    return 0
end`

func (s *stand) foreignRelease(value string) bool {
	s.t.Helper()
	n, err := s.client.Eval(s.ctx, foreignReleaseScript, []string{s.lockKey()}, value).Int()
	s.must(err)
	return n == 1
}

const (
	foreignValue   = "94:3f0c9a52-5f6f-4a53-b1d5-1c9a4a3d7e21"
	threePartValue = foreignValue + ":23-11-2026 14:05:09"
)

func TestTheirLockIsHeldForUs(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"two parts": foreignValue, "three parts": threePartValue} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			if !s.foreignTake(value) {
				t.Fatal("a free spool was refused")
			}
			held := s.wantHeld(0)
			if held.Owner != (lock.Worker{ID: "94"}) || held.Note != "" || !held.AcquiredAt.IsZero() {
				t.Fatalf("lock is %+v", held)
			}
			if held.Remaining <= 59*time.Minute || held.Remaining > time.Hour {
				t.Fatalf("remaining is %v of an hour", held.Remaining)
			}
			_, _, err := s.store.Take(s.ctx, s.command())
			var occupied *lock.OccupiedError
			if !errors.As(err, &occupied) || occupied.Lock.Version != held.Version || occupied.Lock.Owner != held.Owner {
				t.Fatalf("a take got %v", err)
			}
			again := s.wantHeld(0)
			if again.Version != held.Version {
				t.Fatalf("version went from %d to %d without a change", held.Version, again.Version)
			}

			token := s.token(value)
			extended, err := s.extend(token)
			if err != nil || extended.ExpiresAt != held.ExpiresAt.Add(time.Minute) || extended.Version != held.Version {
				t.Fatalf("extension is %+v, %v", extended, err)
			}
			if got := s.client.Get(s.ctx, s.lockKey()).Val(); got != value {
				t.Fatalf("value is %q after an extension, want %q", got, value)
			}
			s.wantRelease(s.token(value[len("94:"):]), lock.OutcomeNotOwner)
			s.wantRelease(token, lock.OutcomeReleased)
			s.wantRelease(token, lock.OutcomeAlreadyReleased)
			s.wantFree(held.Version)
		})
	}
}

func TestOurLockIsHeldForThem(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	taken := s.take(cmd)
	if kind := s.client.Type(s.ctx, s.lockKey()).Val(); kind != "string" {
		t.Fatalf("the lock is a %s", kind)
	}
	if got := s.client.Get(s.ctx, s.lockKey()).Val(); got != cmd.Token.Reveal() {
		t.Fatal("the lock's value is not the token")
	}
	if expires := s.client.PExpireTime(s.ctx, s.lockKey()).Val(); expires.Milliseconds() != taken.ExpiresAt.UnixMilli() {
		t.Fatalf("the key expires at %v, the lock at %v", expires, taken.ExpiresAt)
	}
	if s.foreignTake(foreignValue) {
		t.Fatal("they took our spool")
	}
	if s.foreignRelease(foreignValue) {
		t.Fatal("they released our lock with another token")
	}
	s.wantHeld(0)
	if !s.foreignRelease(cmd.Token.Reveal()) {
		t.Fatal("they cannot release with our token")
	}
	s.wantFree(taken.Version)
	s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased)
	s.wantEnded(cmd, lock.EndReleasedExternally)
}

// wantEnded fails unless neither a take nor an extension with the token is
// possible any more, for the cause given.
func (s *stand) wantEnded(cmd lock.TakeCommand, cause lock.End) {
	s.t.Helper()
	_, _, err := s.store.Take(s.ctx, cmd)
	var expired *lock.ExpiredError
	if !errors.As(err, &expired) || expired.Cause != cause {
		s.t.Fatalf("a take with the ended token got %v, want %s", err, cause)
	}
	if _, err = s.extend(cmd.Token); !errors.As(err, &expired) || expired.Cause != cause {
		s.t.Fatalf("an extension with the ended token got %v, want %s", err, cause)
	}
}

func TestTheyReplaceOurLock(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	taken := s.take(cmd)
	if !s.foreignRelease(cmd.Token.Reveal()) || !s.foreignTake(foreignValue) {
		t.Fatal("they could not replace our lock")
	}
	held := s.wantHeld(taken.Version)
	if held.Owner != (lock.Worker{ID: "94"}) || held.Note != "" || !held.AcquiredAt.IsZero() {
		t.Fatalf("lock is %+v, want nothing of ours in it", held)
	}
	s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased)
	s.wantRelease(s.token(foreignValue), lock.OutcomeReleased)
}

func TestTheyReleaseTheirs(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.foreignTake(foreignValue)
	held := s.wantHeld(0)
	if !s.foreignRelease(foreignValue) {
		t.Fatal("they could not release")
	}
	free := s.wantFree(held.Version)
	if taken := s.take(s.command()); taken.Version <= free {
		t.Fatalf("version went from %d to %d", free, taken.Version)
	}
}

func TestTheirLockWithoutExpiry(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.client.Set(s.ctx, s.lockKey(), threePartValue, 0).Err())
	held := s.wantHeld(0)
	if held.Owner.ID != "94" || !held.ExpiresAt.IsZero() {
		t.Fatalf("lock is %+v", held)
	}
	if ttl := s.client.PTTL(s.ctx, s.stateKey()).Val(); ttl != -1 {
		t.Fatalf("the state lives %v, and the lock for ever", ttl)
	}
	_, err := s.extend(s.token(threePartValue))
	var invalid *lock.InvalidError
	if !errors.As(err, &invalid) || invalid.Field != lock.FieldExtension || invalid.Reason != lock.ReasonNoExpiry {
		t.Fatalf("an extension got %v", err)
	}
	s.wantHeld(0)
	spool := s.wantRelease(s.token(threePartValue), lock.OutcomeReleased)
	if spool.Lock != nil {
		t.Fatalf("spool is %+v", spool)
	}
	s.wantStateLives(memory)
}

// wantStateLives fails unless the state's time to live is want, with the margin and less the
// time that the test took.
func (s *stand) wantStateLives(want time.Duration) {
	s.t.Helper()
	ttl := s.client.PTTL(s.ctx, s.stateKey()).Val()
	if ttl > want+margin || ttl < want-testwait.Patience {
		s.t.Fatalf("the state lives %v, want %v", ttl, want)
	}
}

func TestOddForeignValues(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for value, want := range map[string]lock.WorkerID{
		"":                                 lock.UnknownWorker,
		"nobody":                           lock.UnknownWorker,
		":x":                               lock.UnknownWorker,
		"a b\n:x":                          "a b\n",
		"94:\x00\xff\"":                    "94",
		"\xff\xfe:1":                       "\ufffd\ufffd",
		"94:" + strings.Repeat("x", 9):     "94",
		"94:" + strings.Repeat("y", 637):   "94",
		"94:" + strings.Repeat("y", 638):   lock.UnknownWorker,
		"94:" + strings.Repeat("y", 1<<16): lock.UnknownWorker,
	} {
		s.tag = newTag()
		if !s.foreignTake(value) {
			t.Fatal("a free spool was refused")
		}
		held := s.wantHeld(0)
		if held.Owner.ID != want {
			t.Errorf("owner of %.20q is %q, want %q", value, held.Owner.ID, want)
		}
		s.wantEvents("TAKEN_EXTERNALLY " + string(want))
		if again := s.wantHeld(0); again.Version != held.Version {
			t.Errorf("version of %.20q went from %d to %d without a change", value, held.Version, again.Version)
		}
		if !s.foreignRelease(value) {
			t.Fatal("they could not release")
		}
		s.wantFree(held.Version)
	}
}

func TestTheyChangeTheExpiryOfOurLock(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.command()
		taken := s.take(cmd)
		change := func(expires time.Time) {
			s.t.Helper()
			s.must(s.client.PExpireAt(s.ctx, s.lockKey(), expires).Err())
			held := s.wantHeld(0)
			if held.Version != taken.Version || held.ExpiresAt != expires || held.Owner.Name != "MR(93)" {
				s.t.Fatalf("lock is %+v after %+v", held, taken)
			}
			s.wantHeld(0) // recorded once
		}
		change(taken.ExpiresAt.Add(time.Hour))
		s.wantEvents("EXTENDED_EXTERNALLY 93", "TAKEN 93")
		change(taken.ExpiresAt.Add(-time.Minute)) // those that follow each other are one event
		s.wantEvents("EXTENDED_EXTERNALLY 93", "TAKEN 93")
		extended, err := s.extend(cmd.Token)
		if err != nil || extended.ExpiresAt != taken.ExpiresAt {
			s.t.Fatalf("extension is %+v, %v after %+v", extended, err, taken)
		}
		change(taken.ExpiresAt.Add(time.Hour))
		s.wantEvents("EXTENDED_EXTERNALLY 93", "EXTENDED 93", "EXTENDED_EXTERNALLY 93", "TAKEN 93")
		history, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: lock.MaxEvents})
		s.must(err)
		for i, want := range []time.Duration{time.Hour, 0, -time.Minute, 0} {
			if event := history[i]; event.ExpiresAt != taken.ExpiresAt.Add(want) || event.Version != taken.Version {
				s.t.Errorf("event %d is %+v", i, event)
			}
			if i > 0 && history[i].Number >= history[i-1].Number {
				s.t.Errorf("event %d has the number %d after %d", i, history[i].Number, history[i-1].Number)
			}
		}
		s.must(s.client.Persist(s.ctx, s.lockKey()).Err())
		if held := s.wantHeld(0); held.Version != taken.Version || !held.ExpiresAt.IsZero() {
			s.t.Fatalf("lock is %+v after %+v", held, taken)
		}
		s.must(s.client.PExpire(s.ctx, s.lockKey(), time.Millisecond).Err())
		s.waitUntilGone()
		s.wantFree(taken.Version)
	})
}

// What an operation of ours finds of another program's is an event of its own, unless it is an
// extension: that has the newest expiry itself.
func TestTheirExpiryFoundByOurOperation(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.command()
		taken := s.take(cmd)
		s.must(s.client.PExpireAt(s.ctx, s.lockKey(), taken.ExpiresAt.Add(time.Hour)).Err())
		_, err := s.extend(cmd.Token)
		s.must(err)
		s.wantEvents("EXTENDED 93", "TAKEN 93")
		s.must(s.client.PExpireAt(s.ctx, s.lockKey(), taken.ExpiresAt.Add(2*time.Hour)).Err())
		_, err = s.store.Resume(s.ctx, lock.ResumeCommand{Tag: s.tag, Worker: "93", Token: lock.NewToken("93", s.id())})
		s.must(err)
		s.wantEvents("RESUMED 93", "EXTENDED_EXTERNALLY 93", "EXTENDED 93", "TAKEN 93")
	})
}

// waitUntilGone waits until the lock's key has expired, without a look through the
// store.
func (s *stand) waitUntilGone() {
	s.t.Helper()
	testwait.Until(s.t, "the key expires", func() bool { return s.client.Exists(s.ctx, s.lockKey()).Val() == 0 })
}

func TestALapseIsALapseWhoeverComesNext(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	cmd.TTL = 50 * time.Millisecond
	taken := s.take(cmd)
	s.waitUntilGone()
	s.foreignTake(foreignValue)
	held := s.wantHeld(taken.Version)
	if held.Owner.ID != "94" {
		t.Fatalf("lock is %+v", held)
	}
	s.wantRelease(cmd.Token, lock.OutcomeExpired)
}

// waitPast waits until the clock of Redis is past the version: from then on, a
// version that is made without a memory of it is larger.
func (s *stand) waitPast(version lock.Version) {
	s.t.Helper()
	testwait.Until(s.t, "the clock is past the version", func() bool {
		now, err := s.client.Time(s.ctx).Result()
		s.must(err)
		return now.UnixMilli() > int64(version)
	})
}

func TestLostState(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	taken := s.take(cmd)
	s.waitPast(taken.Version)
	s.must(s.client.Del(s.ctx, s.stateKey()).Err())
	held := s.wantHeld(taken.Version)
	if held.Owner != (lock.Worker{ID: "93"}) || held.ExpiresAt != taken.ExpiresAt {
		t.Fatalf("lock is %+v after %+v", held, taken)
	}
	again, replayed, err := s.store.Take(s.ctx, cmd)
	if err != nil || !replayed || again.Version != held.Version {
		t.Fatalf("the same take got %+v, %t, %v", again, replayed, err)
	}
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	s.wantFree(held.Version)
}

func TestLostLock(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	taken := s.take(cmd)
	s.must(s.client.Del(s.ctx, s.lockKey()).Err())
	s.wantFree(taken.Version)
	s.wantEnded(cmd, lock.EndReleasedExternally)
}

func TestLostEverything(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	taken := s.take(s.command())
	s.waitPast(taken.Version)
	s.must(s.client.FlushAll(s.ctx).Err())
	if spool := s.read(); spool != (lock.Spool{Tag: s.tag}) {
		t.Fatalf("spool is %+v, want nothing remembered", spool)
	}
	if next := s.take(s.command()); next.Version <= taken.Version {
		t.Fatalf("version went from %d to %d", taken.Version, next.Version)
	}
}

func TestClockThatWentBack(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	before := s.command()
	s.take(before)
	s.wantRelease(before.Token, lock.OutcomeReleased)
	future := lock.Version(time.Now().Add(time.Hour).UnixMilli())
	s.edit(func(state *stored) { state.line = put(state.line, lineVersion, fmt.Sprintf("%015d", future)) })
	cmd := s.command()
	if taken := s.take(cmd); taken.Version != future+1 {
		t.Fatalf("version is %d after %d", taken.Version, future)
	}
	if spool := s.wantRelease(cmd.Token, lock.OutcomeReleased); spool.Version != future+2 {
		t.Fatalf("version is %d after %d", spool.Version, future+1)
	}
}

// A state that another program damaged is as good as none: the lock is what counts.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	inLine := func(offset int, text string) func(*stored) {
		return func(state *stored) { state.line = put(state.line, offset, text) }
	}
	for name, damage := range map[string]func(*stored){
		"version a text":          inLine(lineVersion, "abcdefghijklmno"),
		"version empty":           inLine(lineVersion, "               "),
		"version negative":        inLine(lineVersion, "-00000000000005"),
		"version a fraction":      inLine(lineVersion, "0000000000001.5"),
		"version not a number":    inLine(lineVersion, "000000000000nan"),
		"version without end":     inLine(lineVersion, "            inf"),
		"version in another form": inLine(lineVersion, "           0x10"),
		"version zero":            inLine(lineVersion, "000000000000000"),
		"version far too large":   inLine(lineVersion, "0000000000e300"+"0"),
		"version after 9999":      inLine(lineVersion, "253402300800000"),
		"version cut":             func(state *stored) { state.line = state.line[:lineVersion] + "5" + state.line[lineNumber:] },
		"expiry a text":           func(state *stored) { state.ends = "soon, very soon" },
		"expiry not a number":     func(state *stored) { state.ends = "            nan" },
		"acquired a text":         inLine(lineAcquired, "yesterday......"),
		"counts of another kind":  func(state *stored) { state.counts = "garbagegarbag" },
		"ended of the right size": func(state *stored) { state.counts, state.lists = "1000000000000", strings.Repeat("x", 15) },
		"ended not there":         func(state *stored) { state.counts = "8848321000000" },
		"extensions cut":          func(state *stored) { state.block = state.block[:26] + "BA" + "0123456789abcdef" },
		"no token":                func(state *stored) { state.block = "" },
		"no block but a start":    func(state *stored) { state.block = "s" },
		"no extras":               func(state *stored) { state.line = state.line[:lineExtras] },
		"extras no JSON":          func(state *stored) { state.line = state.line[:lineExtras] + "{}{}" },
		"number a text":           inLine(lineNumber, "abcabcabc"),
		"number a fraction":       inLine(lineNumber, "0000001.5"),
		"number negative":         inLine(lineNumber, "-00000005"),
		"number far too large":    inLine(lineNumber, "00001e300"),
		"number in another form":  inLine(lineNumber, "000000x10"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBothServers(t, func(s *stand) {
				cmd := s.command()
				taken := s.take(cmd)
				sound := s.stored()
				damage := func() {
					state := sound
					state.ends = digits(s.client.PExpireTime(s.ctx, s.lockKey()).Val().Milliseconds())
					damage(&state)
					s.put(state)
					s.must(s.client.Set(s.ctx, s.barredKey(), "x", 0).Err())
				}
				s.waitPast(taken.Version)
				damage()
				held := s.wantHeld(0)
				if held.Owner.ID != "93" || held.ExpiresAt != taken.ExpiresAt {
					s.t.Fatalf("lock is %+v after %+v", held, taken)
				}
				damage()
				extended, err := s.extend(cmd.Token)
				if err != nil || extended.ExpiresAt != taken.ExpiresAt.Add(time.Minute) {
					s.t.Fatalf("extension is %+v, %v after %+v", extended, err, taken)
				}
				damage()
				_, _, err = s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.token("94:x"), ID: s.id(), Bar: true})
				s.must(err)
				damage()
				s.wantRelease(cmd.Token, lock.OutcomeReleased)
				s.wantFree(0)
				s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased)
				s.take(s.command())
			})
		})
	}
}

// Redis moves an expiry by the time that it takes to move a key to another master. That is no
// change by another program.
func TestShiftedExpiry(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.command()
		taken := s.take(cmd)
		shift := func(by time.Duration) time.Time {
			s.t.Helper()
			expires := s.wantHeld(0).ExpiresAt.Add(by)
			s.must(s.client.PExpireAt(s.ctx, s.lockKey(), expires).Err())
			held := s.wantHeld(0)
			if held.ExpiresAt != expires || held.Version != taken.Version || held.Note != cmd.Note {
				s.t.Fatalf("lock is %+v after %+v, moved by %v", held, taken, by)
			}
			return expires
		}
		shift(999 * time.Millisecond)
		expires := shift(-999 * time.Millisecond)
		s.wantEvents("TAKEN 93")
		extended, err := s.extend(cmd.Token)
		if err != nil || extended.ExpiresAt != expires.Add(time.Minute) {
			s.t.Fatalf("an extension is %+v, %v", extended, err)
		}
		shift(time.Second)
		s.wantEvents("EXTENDED_EXTERNALLY 93", "EXTENDED 93", "TAKEN 93")
	})
}

// A lock whose expiry was moved ended at that expiry, and not by another program.
func TestShiftedExpiryIsTheLocksEnd(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.command()
		expires := s.take(cmd).ExpiresAt.Add(-999 * time.Millisecond)
		s.must(s.client.PExpireAt(s.ctx, s.lockKey(), expires).Err())
		s.wantHeld(0)
		// As if that was long ago, and the lock would not have expired yet where it was before.
		now, err := s.client.Time(s.ctx).Result()
		s.must(err)
		s.edit(func(state *stored) { *state = state.move(s.t, now.Sub(expires)-100*time.Millisecond) })
		s.must(s.client.Del(s.ctx, s.lockKey()).Err())
		s.wantEvents("EXPIRED 93", "TAKEN 93")
		s.wantRelease(cmd.Token, lock.OutcomeExpired)
	})
}

// So is a state that is no text.
func TestStateOfAnotherKind(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		damage := func() {
			s.must(s.client.Del(s.ctx, s.stateKey()).Err())
			s.must(s.client.HSet(s.ctx, s.stateKey(), "a", "b").Err())
		}
		damage()
		s.wantFree(-1)
		damage()
		cmd := s.command()
		taken := s.take(cmd)
		s.waitPast(taken.Version)
		damage()
		s.wantHeld(taken.Version)
		damage()
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
	})
}

// What another program writes is not copied, whatever its size.
func TestHugeForeignValue(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	value := "94:" + strings.Repeat("x", 5<<20)
	s.foreignTake(value)
	held := s.wantHeld(0)
	if held.Owner.ID != lock.UnknownWorker {
		t.Fatalf("owner is %.20q", held.Owner.ID)
	}
	if again := s.wantHeld(0); again.Version != held.Version {
		t.Fatalf("version went from %d to %d without a change", held.Version, again.Version)
	}
	if usage := s.client.MemoryUsage(s.ctx, s.stateKey(), 0).Val(); usage > 1<<10 {
		t.Fatalf("the state takes %d bytes", usage)
	}
	if !s.foreignRelease(value) {
		t.Fatal("they could not release")
	}
	s.wantFree(held.Version)

	s.tag = newTag()
	s.foreignTake(strings.Repeat("x", 600) + ":1")
	if held := s.wantHeld(0); held.Owner.ID != lock.UnknownWorker {
		t.Fatalf("owner is %.20q", held.Owner.ID)
	}
}

// A value of 640 bytes is read whole. Of a longer one, length and head tell it from others.
func TestForeignValueOf640Bytes(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		set := func(value string) lock.Lock {
			s.t.Helper()
			s.must(s.client.Set(s.ctx, s.lockKey(), value, -1).Err()) // KEEPTTL
			return s.wantHeld(0)
		}
		short := "94:" + strings.Repeat("x", 637)
		s.foreignTake(short)
		held := s.wantHeld(0)
		if held.Owner.ID != "94" {
			s.t.Fatalf("the owner of 640 bytes is %.20q", held.Owner.ID)
		}
		other := set(short[:639] + "y")
		if other.Owner.ID != "94" || other.Version <= held.Version {
			s.t.Fatalf("another value of 640 bytes is %+v", other)
		}
		long := set(short + "x")
		if long.Owner.ID != lock.UnknownWorker || long.Version <= other.Version {
			s.t.Fatalf("the lock of 641 bytes is %+v", long)
		}
		if again := s.wantHeld(0); again.Version != long.Version {
			s.t.Fatalf("version went from %d to %d without a change", long.Version, again.Version)
		}
		longer := set(short + "xy")
		if longer.Version <= long.Version {
			s.t.Fatalf("a value of another length is %+v", longer)
		}
		if same := set(short + "xz"); same.Version != longer.Version {
			s.t.Fatalf("a value of the same head and length is %+v", same)
		}
		if another := set(short[:639] + "zxz"); another.Version <= longer.Version {
			s.t.Fatalf("a value with another head is %+v", another)
		}
		s.wantRelease(s.token("94:x"), lock.OutcomeNotOwner)
		if n := s.client.StrLen(s.ctx, s.lockKey()).Val(); n != 642 {
			s.t.Fatalf("%d bytes are left", n)
		}
	})
}

// Whatever can be handed in as a token is told how its lock ended, in any script.
func TestLongForeignToken(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, value := range []string{"94:" + strings.Repeat("ñ", 157), "94:" + strings.Repeat("🔧", 157), strings.Repeat("🔧", 160)} {
		s.tag = newTag()
		s.foreignTake(value)
		s.wantHeld(0)
		if !s.foreignRelease(value) {
			t.Fatal("they could not release")
		}
		s.wantFree(0)
		s.wantRelease(s.token(value), lock.OutcomeAlreadyReleased)

		s.tag = newTag()
		s.foreignTake(value)
		s.wantHeld(0)
		s.must(s.client.PExpire(s.ctx, s.lockKey(), 50*time.Millisecond).Err())
		s.wantHeld(0)
		s.waitUntilGone()
		s.wantFree(0)
		s.wantRelease(s.token(value), lock.OutcomeExpired)
	}
}

// A time to live beyond all calendars ends with the year 9999.
func TestForeignLockForAges(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, milliseconds := range []string{"4000000000000", "100000000000000", "9000000000000000", "9200000000000000000"} {
		s.tag = newTag()
		s.must(s.client.Do(s.ctx, "SET", s.lockKey(), foreignValue, "NX", "PX", milliseconds).Err())
		held := s.wantHeld(0)
		if held.ExpiresAt.Year() > 9999 || held.ExpiresAt.Year() < 2100 || held.Remaining < 100*365*24*time.Hour {
			t.Errorf("a lock for %s ms is %+v", milliseconds, held)
		}
		if again := s.wantHeld(0); again.Version != held.Version {
			t.Errorf("version went from %d to %d without a change", held.Version, again.Version)
		}
		s.wantRelease(s.token(foreignValue), lock.OutcomeReleased)
	}
}
