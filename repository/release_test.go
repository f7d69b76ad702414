package repository_test

import (
	"errors"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/testwait"
)

// Bars are many where much went wrong, and must not make ended tokens forgotten.
func TestBarsPushNoEndedTokenOut(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	s.take(cmd)
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	barred := s.command()
	bar := func(token lock.Token) {
		t.Helper()
		_, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: token, ID: s.id(), Bar: true})
		s.must(err)
	}
	bar(barred.Token)
	for range 100 {
		bar(s.command().Token)
	}
	s.wantEnded(cmd, lock.EndReleased)
	s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased)
	for range 70 {
		next := s.command()
		s.take(next)
		s.wantRelease(next.Token, lock.OutcomeReleased)
	}
	_, _, err := s.store.Take(s.ctx, barred)
	var expired *lock.ExpiredError
	if !errors.As(err, &expired) {
		t.Fatalf("a barred token got %v after 100 other bars and 70 locks", err)
	}
	if ttl := s.client.PTTL(s.ctx, s.barredKey()).Val(); ttl > time.Hour || ttl < time.Hour-testwait.Patience {
		t.Fatalf("the bars live %v", ttl)
	}
	for range 100 {
		bar(s.command().Token)
	}
	if got := s.client.StrLen(s.ctx, s.barredKey()).Val(); got != 128*10 {
		t.Fatalf("the bars take %d bytes", got)
	}
	// As if an hour had gone by since.
	s.must(s.client.Del(s.ctx, s.barredKey()).Err())
	bar(barred.Token)
	if got := s.client.StrLen(s.ctx, s.barredKey()).Val(); got != 10 {
		t.Fatalf("the bars take %d bytes, want one of 10", got)
	}
}

// What a release was is known of its event, also when that is in the history.
func TestRetryOfTheLongestRelease(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.longest(false)
		s.take(cmd)
		release := lock.ReleaseCommand{Tag: s.tag, Token: cmd.Token, Note: cmd.Note, ID: s.id()}
		for range 2 {
			outcome, _, err := s.store.Release(s.ctx, release)
			if err != nil || outcome != lock.OutcomeReleased {
				s.t.Fatalf("a release is %s, %v", outcome, err)
			}
		}
		if older := s.stored().older; older != "" {
			s.t.Fatalf("the event is not in the history: %.99s", older)
		}
		release.ID = s.id()
		outcome, _, err := s.store.Release(s.ctx, release)
		if err != nil || outcome != lock.OutcomeAlreadyReleased {
			s.t.Fatalf("another release is %s, %v", outcome, err)
		}
	})
}
