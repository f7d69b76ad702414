package repository_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
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
	for range 100 {
		bar(s.command().Token)
	}
	if got, want := len(s.client.HGet(s.ctx, s.companionKey(), "barred").Val()), 128*53; got != want {
		t.Fatalf("the bars take %d bytes, want %d", got, want)
	}
	// As if an hour had gone by since.
	old := fmt.Sprintf("%013d", time.Now().Add(-61*time.Minute).UnixMilli()) + strings.Repeat("0", 40)
	s.must(s.client.HSet(s.ctx, s.companionKey(), "barred", strings.Repeat(old, 128)).Err())
	bar(barred.Token)
	if got := len(s.client.HGet(s.ctx, s.companionKey(), "barred").Val()); got != 53 {
		t.Fatalf("the bars take %d bytes, want one entry of 53", got)
	}
}
