package repository_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/redisurl"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func TestStateOutlivesTheLock(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.command()
		s.take(cmd)
		s.wantStateLives(memory)
		_, err := s.extend(cmd.Token)
		s.must(err)
		s.wantStateLives(memory)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
		s.wantStateLives(memory)

		s.tag = newTag()
		cmd = s.command()
		cmd.TTL = 90 * 24 * time.Hour
		s.take(cmd)
		s.wantStateLives(cmd.TTL + 24*time.Hour)
		_, err = s.store.Extend(s.ctx, lock.ExtendCommand{
			Tag: s.tag, Token: cmd.Token, By: cmd.TTL, MaxTTL: 365 * 24 * time.Hour, ID: s.id(),
		})
		s.must(err)
		s.wantStateLives(2*cmd.TTL + 24*time.Hour)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
		s.wantStateLives(memory)
	})
}

// A spool is remembered for a day longer than its lock lives, also if that is longer than the
// memory by less than the margin.
func TestStateOutlivesTheLockByADay(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"redis": redistest.Start(t).URL, "embedded": redisurl.EmbeddedText} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := redistest.Open(t, url, redistest.NewLog(t).Logger(), repository.Config{Memory: 24 * time.Hour})
			s := newStandOn(t, locktest.OneAtATime{Store: store}, store.Client())
			taken := s.take(s.command())
			want := taken.ExpiresAt.Add(24 * time.Hour).UnixMilli()
			if until := s.client.PExpireTime(s.ctx, s.stateKey()).Val().Milliseconds(); until != want {
				t.Fatalf("the state lives until %d, want %d", until, want)
			}
		})
	}
}

// longest is a take whose texts take as many bytes as they can.
func (s *stand) longest(ofClient bool) lock.TakeCommand {
	s.t.Helper()
	cmd := s.command()
	cmd.Owner = lock.Worker{ID: lock.WorkerID(strings.Repeat("w", 64)), Name: strings.Repeat("🔧", 100)}
	cmd.Note = strings.Repeat("\u2028", lock.MaxNoteLength) // JSON has six bytes for each
	cmd.Token, cmd.OfClient = lock.NewToken(cmd.Owner.ID, s.id()), ofClient
	return cmd
}

func (s *stand) releaseWithNote(token lock.Token, note string) {
	s.t.Helper()
	outcome, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: token, Note: note, ID: s.id()})
	if err != nil || outcome != lock.OutcomeReleased {
		s.t.Fatalf("release is %s, %v", outcome, err)
	}
}

// force releases the spool by force, for the longest reason.
func (s *stand) force() {
	s.t.Helper()
	_, err := s.store.ForceRelease(s.ctx, lock.ForceReleaseCommand{
		Tag: s.tag, Expected: s.read().Version, Actor: lock.WorkerID(strings.Repeat("w", 64)),
		Reason: strings.Repeat("\u2028", lock.MaxReasonLength), ID: s.id(),
	})
	s.must(err)
}

// The bounds of what is kept of a spool.
const (
	maxState   = 8192
	maxHistory = 32 << 10
)

// wantBounded fails if what is kept of the spool is more than may be.
func (s *stand) wantBounded() {
	s.t.Helper()
	if n := s.client.StrLen(s.ctx, s.stateKey()).Val(); n > maxState {
		s.t.Fatalf("the state has %d bytes", n)
	}
	lines := s.lines()
	if n := len(strings.Join(lines, "\n")); n > maxHistory {
		s.t.Fatalf("the history has %d bytes", n)
	}
	if n := s.client.StrLen(s.ctx, s.barredKey()).Val(); n > 128*10 {
		s.t.Fatalf("the barred tokens have %d bytes", n)
	}
}

// fill fills every list of the spool's state, with the longest texts, and leaves it held by
// the lock that it returns.
func (s *stand) fill(check func()) lock.TakeCommand {
	s.t.Helper()
	for i := range 256 + 64 {
		cmd := s.longest(i%5 != 0)
		s.take(cmd)
		check()
		s.releaseWithNote(cmd.Token, cmd.Note)
		check()
	}
	for range 5 {
		s.take(s.longest(true))
		s.force()
		check()
	}
	cmd := s.longest(true)
	s.take(cmd)
	for i := range 40 {
		_, err := s.store.Extend(s.ctx, lock.ExtendCommand{
			Tag: s.tag, Token: cmd.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id(), OfClient: i%2 == 0,
		})
		s.must(err)
		check()
	}
	for range 130 {
		_, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.command().Token, ID: s.id(), Bar: true})
		s.must(err)
	}
	check()
	return cmd
}

func TestStateIsBounded(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		s.fill(s.wantBounded)
		state := s.stored()
		for name, full := range map[string]bool{
			"the groups of ended":    state.count(s.t, 3, 1) == 7,
			"the groups of requests": state.count(s.t, 4, 2) == 32,
			"those that ended":       s.client.StrLen(s.ctx, s.endedKey()).Val() == (64+256)*15,
			"forced":                 state.count(s.t, 2, 1) == 4,
			"the extensions":         len(state.block) == 28+2*16*40,
			"the barred tokens":      s.client.StrLen(s.ctx, s.barredKey()).Val() == 128*10,
			"the history":            s.client.StrLen(s.ctx, s.historyKey()).Val() > maxHistory-12<<10,
		} {
			if !full {
				s.t.Errorf("%s are not full: %s, %d bytes of lists, %d of block", name, state.counts, len(state.lists), len(state.block))
			}
		}
		if s.server == nil {
			return // the embedded one does not know
		}
		sum := int64(0)
		for _, key := range s.keys()[1:] {
			sum += s.client.MemoryUsage(s.ctx, key, 0).Val()
		}
		s.t.Logf("the most that is kept of a spool takes %d bytes: a state of %d, a history of %d", sum,
			s.client.StrLen(s.ctx, s.stateKey()).Val(), s.client.StrLen(s.ctx, s.historyKey()).Val())
		if sum > 80<<10 {
			s.t.Errorf("the most that is kept of a spool takes %d bytes", sum)
		}
	})
}

// A history of short events has the newest 100 of them.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		for i := range 250 { // until the oldest are taken out
			cmd := s.command()
			s.take(cmd)
			s.wantRelease(cmd.Token, lock.OutcomeReleased)
			s.wantBounded()
			if got, want := len(s.events()), min(2*i+2, lock.MaxEvents); got != want {
				s.t.Fatalf("the history has %d events after %d takes, want %d", got, i+1, want)
			}
		}
	})
}

// Three takes and three releases without notes take at most 1 KB in Redis, but for the lock.
func TestStateIsSmall(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.tag = "MK-1335-CW-25238-011"
	for range 3 {
		cmd := s.command()
		cmd.Note = ""
		s.take(cmd)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
	}
	sum := int64(0)
	for _, key := range s.keys()[1:] {
		sum += s.client.MemoryUsage(s.ctx, key, 0).Val()
	}
	t.Logf("three takes and three releases take %d bytes; 100,000 such spools %d MB, 1,000,000 %d MB", sum, sum/10, sum)
	if sum > 1<<10 {
		t.Errorf("three takes and three releases take %d bytes", sum)
	}
}

// Ended tokens are remembered for a day, those of clients' request ids for seven, and longer
// than that none.
func TestHowLongEndedTokensAreRemembered(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	onBothServers(t, func(s *stand) {
		ofService, ofClient, next := s.command(), s.command(), s.command()
		ofClient.OfClient = true
		for _, cmd := range []lock.TakeCommand{ofService, ofClient} {
			s.take(cmd)
			s.wantRelease(cmd.Token, lock.OutcomeReleased)
		}
		now := s.stored()
		for _, step := range []struct {
			ago                    time.Duration
			hasService, rememberIt bool
		}{
			{day - time.Minute, true, true}, {day + time.Minute, false, true}, {7*day - time.Minute, false, true}, {7*day + time.Minute, false, false},
		} {
			s.put(now.move(s.t, -step.ago))
			for _, one := range []struct {
				cmd        lock.TakeCommand
				remembered bool
			}{{ofService, step.hasService}, {ofClient, step.rememberIt}} {
				want := lock.OutcomeNotHeld
				if one.remembered {
					want = lock.OutcomeAlreadyReleased
					s.wantEnded(one.cmd, lock.EndReleased)
				}
				s.wantRelease(one.cmd.Token, want)
			}
		}
		s.take(next)
		s.wantRelease(next.Token, lock.OutcomeReleased)
		s.wantRelease(next.Token, lock.OutcomeAlreadyReleased)
		s.take(ofService) // it may take again
		s.wantRelease(ofService.Token, lock.OutcomeReleased)
	})
}

// spend takes and releases the spool n times.
func (s *stand) spend(n int, ofClient bool) (spent []lock.TakeCommand) {
	s.t.Helper()
	for range n {
		cmd := s.command()
		cmd.OfClient = ofClient
		s.take(cmd)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
		spent = append(spent, cmd)
	}
	return spent
}

func TestEndedTokensExpire(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		s.spend(9, false) // the first eight go where the older ones are
		const week = 7 * 24 * time.Hour
		if ttl := s.client.PTTL(s.ctx, s.endedKey()).Val(); ttl > week || ttl < week-testwait.Patience {
			s.t.Fatalf("the ended tokens live %v", ttl)
		}
	})
}

// What another program has put there gives way to the tokens that are to be remembered.
func TestEndedTokensOfAnotherType(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		s.must(s.client.RPush(s.ctx, s.endedKey(), "x").Err())
		for _, cmd := range s.spend(9, false) {
			s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased)
		}
	})
}

// An id that the service made is forgotten by number, and what is forgotten is known by when
// it was: a retry of an extension that was applied before then may have been applied.
func TestRetryOfAForgottenExtension(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.command()
		s.take(cmd)
		lost := lock.ExtendCommand{Tag: s.tag, Token: cmd.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id()}
		_, err := s.store.Extend(s.ctx, lost)
		s.must(err)
		for range 16 {
			_, err := s.extend(cmd.Token)
			s.must(err)
		}
		before := s.wantHeld(0)
		retry := lost
		retry.SinceFirst = 3 * time.Second
		_, err = s.store.Extend(s.ctx, retry)
		if unavailable := (*lock.UnavailableError)(nil); !errors.As(err, &unavailable) || unavailable.Outcome != lock.OutcomeUnknown {
			s.t.Fatalf("a retry of a forgotten extension is answered %v", err)
		}
		if held := s.wantHeld(0); held.ExpiresAt != before.ExpiresAt {
			s.t.Fatalf("the lock is %+v after %+v", held, before)
		}
		// As if all that had been half an hour ago.
		s.edit(func(state *stored) {
			ends, line := state.ends, state.line
			*state = state.move(s.t, -30*time.Minute)
			state.ends, state.line = ends, line
		})
		extended, err := s.store.Extend(s.ctx, retry)
		if err != nil || extended.ExpiresAt != before.ExpiresAt.Add(time.Minute) {
			s.t.Fatalf("a retry of what cannot have been applied before is answered %+v, %v", extended, err)
		}
		again, err := s.store.Extend(s.ctx, retry)
		if err != nil || again.ExpiresAt != extended.ExpiresAt {
			s.t.Fatalf("its retry is answered %+v, %v", again, err)
		}
	})
}
