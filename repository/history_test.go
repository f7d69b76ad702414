package repository_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
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

// The history lives as long as the state.
func TestHistoryLivesAsLongAsTheState(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	lives := func() (state, history time.Duration) {
		s.t.Helper()
		return s.client.PExpireTime(s.ctx, s.stateKey()).Val(), s.client.PExpireTime(s.ctx, s.historyKey()).Val()
	}
	for range 3 { // the last of which writes to the history
		cmd := s.longest(false)
		s.take(cmd)
		s.releaseWithNote(cmd.Token, cmd.Note)
	}
	if state, history := lives(); state <= 0 || (history-state).Abs() > time.Second {
		t.Fatalf("the history lives until %v, the state until %v", history, state)
	}
	s.must(s.client.Set(s.ctx, s.lockKey(), foreignValue, 0).Err()) // without an end
	s.wantHeld(0)
	for range 3 {
		s.must(s.client.Set(s.ctx, s.lockKey(), s.longest(false).Token.Reveal(), 0).Err())
		s.wantHeld(0)
	}
	if state, history := lives(); state != -1 || history != -1 {
		t.Fatalf("the history lives until %v, the state until %v, and the lock for ever", history, state)
	}
}
