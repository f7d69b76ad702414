package repository_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/testwait"
)

// events are the types in the history of the spool, newest first, with the owners.
func (s *stand) events() []string {
	s.t.Helper()
	history, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: lock.MaxEvents})
	s.must(err)
	var events []string
	for _, event := range history {
		events = append(events, fmt.Sprintf("%s %s", event.Type, event.Owner.ID))
	}
	return events
}

// kinds are the kinds of the events that Redis has of the spool, newest first.
func (s *stand) kinds() string {
	s.t.Helper()
	var kinds []byte
	for _, line := range s.lines() {
		kinds = append(kinds, line[0])
	}
	return string(kinds)
}

func (s *stand) wantEvents(want ...string) {
	s.t.Helper()
	if got := s.events(); !slices.Equal(got, want) {
		s.t.Fatalf("history is %v, want %v", got, want)
	}
}

// What another program did is in the history when somebody has looked, once.
func TestHistoryOfForeignChanges(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ours := s.command()
	s.take(ours)
	s.must(s.client.Del(s.ctx, s.lockKey()).Err())
	s.foreignTake(foreignValue)
	s.read()
	s.read()
	s.foreignRelease(foreignValue)
	s.wantEvents("RELEASED_EXTERNALLY 94", "TAKEN_EXTERNALLY 94", "RELEASED_EXTERNALLY 93", "TAKEN 93")
	s.wantEvents("RELEASED_EXTERNALLY 94", "TAKEN_EXTERNALLY 94", "RELEASED_EXTERNALLY 93", "TAKEN 93")
}

// A lapse that nobody saw is recorded by whoever looks first, at the time it
// happened.
func TestHistoryOfALapseThatNobodySaw(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	cmd.TTL = 50 * time.Millisecond
	taken := s.take(cmd)
	s.waitUntilGone()
	s.waitPast(lock.Version(taken.ExpiresAt.UnixMilli() + 300))
	for range 2 {
		history, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: lock.MaxEvents})
		s.must(err)
		if len(history) != 2 || history[0].Type != lock.EventExpired || history[0].At != taken.ExpiresAt {
			t.Fatalf("history is %+v after a lapse at %v", history, taken.ExpiresAt)
		}
	}
}

// A token is not to be found in what is kept as history.
func TestHistoryHoldsNoToken(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	s.take(cmd)
	extension := s.command()
	_, err := s.extend(cmd.Token)
	s.must(err)
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	s.foreignTake(foreignValue)
	s.read()
	text := strings.Join(s.lines(), "\n")
	for _, secret := range []string{cmd.Token.Reveal(), foreignValue, extension.Token.Reveal()} {
		if _, id, _ := strings.Cut(secret, ":"); strings.Contains(text, id) {
			t.Fatalf("a token is in the history:\n%s", text)
		}
	}
	if kinds := s.kinds(); kinds != "YRNT" {
		t.Fatalf("history is\n%s", text)
	}
}

// A history that somebody damaged counts as lost; it keeps nobody from working.
func TestDamagedHistory(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(s *stand, key string){
		"another type": func(s *stand, key string) { s.must(s.client.RPush(s.ctx, key, "x").Err()) },
		"no event":     func(s *stand, key string) { s.must(s.client.Set(s.ctx, key, "x[1]\n\nTAKEN\n", 0).Err()) },
		"half a million": func(s *stand, key string) {
			script := "for i = 1, 500 do redis.call('RPUSH', KEYS[1], unpack(ARGV)) end return 1"
			entries := make([]any, 1000)
			for i := range entries {
				entries[i] = "an entry of another program"
			}
			s.must(s.client.Eval(s.ctx, script, []string{key}, entries...).Err())
		},
		"64 MB": func(s *stand, key string) { s.must(s.client.SetRange(s.ctx, key, 64<<20, "\n").Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			damage(s, s.historyKey())
			cmd := s.command()
			s.take(cmd)
			_, err := s.extend(cmd.Token)
			s.must(err)
			s.wantEvents("EXTENDED 93", "TAKEN 93")
			s.wantRelease(cmd.Token, lock.OutcomeReleased)
		})
	}
}

// A history that Redis lets grow no further counts as lost.
func TestHistoryAtTheBoundOfRedis(t *testing.T) {
	t.Parallel()
	const bound = 1 << 20 // the least that Redis can be given
	s := newStand(t, "--proto-max-bulk-len", strconv.Itoa(bound))
	s.must(s.client.SetRange(s.ctx, s.historyKey(), bound-1, "\n").Err())
	for range 4 { // more than the state has room for
		s.spendLongest()
	}
	if events := s.events(); len(events) != 8 {
		t.Fatalf("history is %v", events)
	}
}

// spendLongest takes and releases the spool with the longest texts, which makes the history
// grow.
func (s *stand) spendLongest() {
	s.t.Helper()
	cmd := s.longest(false)
	s.take(cmd)
	s.releaseWithNote(cmd.Token, cmd.Note)
}

// A page has as many events as it asks for, however long they are.
func TestPageOfLongEvents(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		for range 5 {
			s.spendLongest()
		}
		all := s.lines()
		for n := 1; n <= len(all); n++ {
			page, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: n})
			s.must(err)
			if len(page) < n {
				s.t.Fatalf("a page has %d of the newest %d events", len(page), n)
			}
			for i, event := range page {
				if got := fmt.Sprintf("%09d", event.Number); got != all[i][lineNumber:lineExpires] {
					s.t.Fatalf("event %d of a page of %d has the number %s: %.99s", i, n, got, all[i])
				}
			}
		}
	})
}

// wantHistoryLives fails unless state and history live as long as each other, and that is at
// least the time given; -1: for ever.
func (s *stand) wantHistoryLives(want time.Duration) {
	s.t.Helper()
	until := s.client.PExpireTime(s.ctx, s.stateKey()).Val()
	if history := s.client.PExpireTime(s.ctx, s.historyKey()).Val(); (history - until).Abs() > time.Second {
		s.t.Fatalf("the history lives until %v, the state until %v", history, until)
	}
	if want == -1 && until != -1 || want != -1 && s.client.PTTL(s.ctx, s.stateKey()).Val() < want-testwait.Patience {
		s.t.Fatalf("state and history live until %v, want %v", until, want)
	}
}

// The history lives as long as the state.
func TestHistoryLivesAsLongAsTheState(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		s.spendLongest()
		s.wantHistoryLives(memory)

		cmd := s.command()
		cmd.TTL = 90 * 24 * time.Hour
		s.take(cmd)
		s.wantHistoryLives(cmd.TTL + 24*time.Hour)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
		s.wantHistoryLives(memory)

		s.must(s.client.Set(s.ctx, s.lockKey(), foreignValue, 0).Err()) // without an end
		s.wantHeld(0)
		s.wantHistoryLives(-1)
		s.wantRelease(s.token(foreignValue), lock.OutcomeReleased)
		s.wantHistoryLives(memory)
	})
}

// What a spool is remembered for is set anew when enough time has gone by since.
func TestHistoryLivesLongerAfterAChange(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		s.spendLongest()
		cmd := s.command()
		s.take(cmd)
		s.edit(func(state *stored) { state.counts = state.counts[:7] + "000001" }) // long ago
		for _, key := range []string{s.stateKey(), s.historyKey()} {
			s.must(s.client.PExpire(s.ctx, key, time.Hour).Err())
		}
		_, err := s.extend(cmd.Token)
		s.must(err)
		s.wantHistoryLives(memory)
	})
}

// A history that is cut keeps its time to live, and one that was lost is given one.
func TestHistoryLivesAsLongAfterALoss(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		for size, before := int64(1), int64(0); size > before; {
			s.spendLongest()
			before, size = size, s.client.StrLen(s.ctx, s.historyKey()).Val()
		}
		s.wantHistoryLives(memory)
		for _, lose := range []func(){
			func() {},
			func() { s.must(s.client.RPush(s.ctx, s.historyKey(), "x").Err()) },
		} {
			s.must(s.client.Del(s.ctx, s.historyKey()).Err())
			lose()
			s.spend(1, false)
			s.wantHistoryLives(memory)
		}
	})
}
