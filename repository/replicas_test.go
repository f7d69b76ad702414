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
	"spoollock/testwait"
)

// What replicas have to confirm and do not is unknown, and stays to be confirmed by the
// next sending.
func TestReplicasConfirm(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	store := locktest.OneAtATime{Store: redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), repository.Config{
		MaxConnections: 5, Timeout: time.Second, Replicas: 1,
	})}
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
	s.sendScripts() // or the first attempt at each operation would wait twice
	cmd := s.command()
	_, _, err := store.Take(attempt(), cmd)
	wantUnknown(err)
	_, _, err = store.Take(attempt(), cmd) // on a connection that has written nothing before
	wantUnknown(err)

	_, port, _ := strings.Cut(s.server.Addr, ":")
	replica := redistest.Start(t, "--replicaof", "127.0.0.1", port)
	var taken lock.Lock
	testwait.Until(t, "the replica confirms the take", func() bool {
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
	testwait.Until(t, "the replica confirms the extension", func() bool {
		extended, err := store.Extend(attempt(), extension)
		return err == nil && extended.ExpiresAt.Equal(taken.ExpiresAt.Add(time.Minute))
	})

	replica.Pause()
	resumption := lock.ResumeCommand{Tag: s.tag, Worker: cmd.Owner.ID, Token: lock.NewToken(cmd.Owner.ID, s.id())}
	_, err = store.Resume(attempt(), resumption)
	wantUnknown(err)
	_, err = store.Resume(attempt(), resumption)
	wantUnknown(err)
	replica.Resume()
	testwait.Until(t, "the replica confirms the resume", func() bool {
		resumed, err := store.Resume(attempt(), resumption)
		return err == nil && resumed.Replayed
	})
	s.wantRelease(resumption.Token, lock.OutcomeReleased)
}

// Where Redis does not know a script, replicas are waited for before it has the source, too. The
// answer is in time all the same, and says that the take is not confirmed.
func TestReplicasOfARedisThatForgotTheScripts(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	store := locktest.OneAtATime{Store: redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), repository.Config{
		Timeout: testwait.Patience, Replicas: 1,
	})}
	_, port, _ := strings.Cut(s.server.Addr, ":")
	replica := redistest.Start(t, "--replicaof", "127.0.0.1", port)
	testwait.Until(t, "the replica confirms a take", func() bool {
		s.tag = newTag()
		attempt, cancel := context.WithTimeout(s.ctx, time.Second)
		defer cancel()
		_, _, err := store.Take(attempt, s.command())
		return err == nil
	})
	replica.Pause()
	s.must(s.client.ScriptFlush(s.ctx).Err())
	s.tag = newTag()
	cmd := s.command()
	attempt, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	_, _, err := store.Take(attempt, cmd)
	s.wantUnavailable(err, lock.OutcomeUnknown)
	if !strings.Contains(err.Error(), "confirmed by 0 replicas") || attempt.Err() != nil {
		t.Errorf("the error is %v, and the time is over: %v", err, attempt.Err())
	}
	replica.Resume()
	if _, replayed, err := store.Take(s.ctx, cmd); err != nil || !replayed {
		t.Errorf("with the replica, the take is answered %t, %v", replayed, err)
	}
}

// In a Cluster, the replicas that count are those of the key's own master.
func TestReplicasConfirmInACluster(t *testing.T) {
	t.Parallel()
	// A node that is stopped for a moment is not to be taken for dead.
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "15000")
	store := redistest.Open(t, cluster.URL, redistest.NewLog(t).Logger(), repository.Config{MaxConnections: 5, Replicas: 1})
	take := func(tag lock.Tag, timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		s := &stand{t: t, ctx: ctx, tag: tag}
		_, _, err := locktest.OneAtATime{Store: store}.Take(ctx, s.command())
		return err
	}
	masters := cluster.Masters()
	before, after := map[*redistest.Server]lock.Tag{}, map[*redistest.Server]lock.Tag{}
	for len(after) < len(masters) {
		tag := newTag()
		master := cluster.MasterOf("spool_lock:" + string(tag))
		if before[master] == "" {
			before[master] = tag
		} else {
			after[master] = tag
		}
	}
	for _, tag := range before {
		if err := take(tag, testwait.Patience); err != nil {
			t.Fatalf("with all replicas, a take is answered %v", err)
		}
	}
	cluster.ReplicaOf(masters[0]).Pause()
	err := take(after[masters[0]], time.Second)
	if unavailable := (*lock.UnavailableError)(nil); !errors.As(err, &unavailable) ||
		unavailable.Outcome != lock.OutcomeUnknown || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("without the master's replica, the error is %v", err)
	}
	for _, master := range masters[1:] {
		if err := take(after[master], testwait.Patience); err != nil {
			t.Errorf("with the replica of another master away, a take is answered %v", err)
		}
	}
}
