package repository_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
)

func TestCompanionOutlivesTheLock(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	s.take(cmd)
	s.wantCompanionLives(memory)
	_, err := s.extend(cmd.Token)
	s.must(err)
	s.wantCompanionLives(memory)
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	s.wantCompanionLives(memory)

	s.tag = newTag()
	cmd = s.command()
	cmd.TTL = 90 * 24 * time.Hour
	s.take(cmd)
	s.wantCompanionLives(cmd.TTL + 24*time.Hour)
}

func TestCompanionIsBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	worker := lock.WorkerID(strings.Repeat("w", 64))
	for range 100 {
		cmd := s.command()
		cmd.Owner = lock.Worker{ID: worker, Name: strings.Repeat("ñ", 100)}
		cmd.Note = strings.Repeat("⚙", 140)
		cmd.Token = lock.NewToken(worker, s.id())
		s.take(cmd)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
	}
	cmd := s.command()
	s.take(cmd)
	for range 100 {
		_, err := s.extend(cmd.Token)
		s.must(err)
	}
	for range 300 {
		_, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.command().Token, ID: s.id(), Bar: true})
		s.must(err)
	}
	fields := s.client.HGetAll(s.ctx, s.companionKey()).Val()
	if got, want := len(fields["ended"]), 64*66; got != want {
		t.Errorf("the ended tokens take %d bytes, want %d", got, want)
	}
	if got, want := len(fields["extensions"]), 16+64*49; got != want {
		t.Errorf("the extensions take %d bytes, want %d", got, want)
	}
	usage := s.client.MemoryUsage(s.ctx, s.companionKey(), 0).Val()
	t.Logf("the largest companion takes %d bytes", usage)
	if usage > 20<<10 {
		t.Errorf("the largest companion takes %d bytes", usage)
	}
}

func TestEndedTokensAreForgottenAfterADay(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	s.take(cmd)
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	// As if a day had gone by since.
	ended := s.client.HGet(s.ctx, s.companionKey(), "ended").Val()
	ended = ended[:1] + fmt.Sprintf("%013d", time.Now().Add(-24*time.Hour-time.Minute).UnixMilli()) + ended[14:]
	s.must(s.client.HSet(s.ctx, s.companionKey(), "ended", ended).Err())

	s.wantRelease(cmd.Token, lock.OutcomeNotHeld)
	next := s.command()
	s.take(next)
	s.wantRelease(next.Token, lock.OutcomeReleased)
	if got := len(s.client.HGet(s.ctx, s.companionKey(), "ended").Val()); got != 66 {
		t.Fatalf("the ended tokens take %d bytes, want one entry of 66", got)
	}
}
