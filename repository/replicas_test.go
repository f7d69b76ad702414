package repository_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
)

// What replicas have to confirm and do not is unknown, and stays to be confirmed by the
// next sending.
func TestReplicasConfirm(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	pool, err := repository.Open(repository.Config{
		URL: s.server.URL, MaxConnections: 5, Timeout: time.Second, Memory: memory, Replicas: 1,
	}, redistest.NewLog(t).Logger())
	s.must(err)
	defer pool.Close() //nolint:errcheck // it was used
	store := locktest.One{Store: pool}
	attempt := func() context.Context {
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	wantUnknown := func(err error) {
		t.Helper()
		if unavailable := (*lock.UnavailableError)(nil); !errors.As(err, &unavailable) ||
			unavailable.Outcome != lock.OutcomeUnknown || !strings.Contains(err.Error(), "replicas") {
			t.Fatalf("without a replica, the error is %v", err)
		}
	}
	cmd := s.command()
	_, _, err = store.Take(attempt(), cmd)
	wantUnknown(err)
	_, _, err = store.Take(attempt(), cmd) // on a connection that has written nothing before
	wantUnknown(err)

	_, port, _ := strings.Cut(s.server.Addr, ":")
	replica := redistest.Start(t, "--replicaof", "127.0.0.1", port)
	var taken lock.Lock
	await(t, "the replica confirms the take", func() bool {
		var replayed bool
		taken, replayed, err = store.Take(attempt(), cmd)
		return err == nil && replayed
	})

	replica.Pause()
	extension := lock.ExtendCommand{Tag: s.tag, Token: cmd.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id()}
	_, err = store.Extend(attempt(), extension)
	wantUnknown(err)
	_, err = store.Extend(attempt(), extension)
	wantUnknown(err)
	other := s.command()
	if _, _, err := store.Take(attempt(), other); !errors.As(err, new(*lock.OccupiedError)) {
		t.Fatalf("another take is answered %v", err)
	}
	replica.Resume()
	await(t, "the replica confirms the extension", func() bool {
		extended, err := store.Extend(attempt(), extension)
		return err == nil && extended.ExpiresAt.Equal(taken.ExpiresAt.Add(time.Minute))
	})
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
}
