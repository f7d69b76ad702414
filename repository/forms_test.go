package repository_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func TestSentinels(t *testing.T) {
	t.Parallel()
	sentinels := redistest.StartSentinels(t)
	store := open(t, sentinels.URL)
	t.Run("conformance", func(t *testing.T) { locktest.Run(t, store) })
	t.Run("failover", func(t *testing.T) {
		failOver(t, store, func(string) { sentinels.Failover() })
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	// A node that a busy machine holds up is not to be taken for dead.
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "5000")
	store := open(t, cluster.URL)
	t.Run("conformance", func(t *testing.T) { locktest.Run(t, store) })
	t.Run("user", func(t *testing.T) {
		rule := aclRule(t, "+wait", "+cluster|slots", "+asking")
		url := withUser(t, cluster.URL, rule, cluster.Nodes...)
		store := redistest.Open(t, url, redistest.NewLog(t).Logger(), repository.Config{MaxConnections: 5, Replicas: 1})
		locktest.Run(t, store)
		followKeys(t, store, cluster)
		drawEverywhere(t, store)
		keepUntilLive(t, url)
	})
	t.Run("moving slot", func(t *testing.T) {
		followKeys(t, store, cluster)
		redirectFromPipelines(t, store, cluster)
		moveSlot(t, store, cluster)
	})
	t.Run("failover", func(t *testing.T) {
		failOver(t, store, func(key string) { cluster.Failover(cluster.MasterOf(key)) })
	})
	t.Run("forgotten master", func(t *testing.T) { forgetMaster(t, store, cluster) })
	t.Run("stopped master", func(t *testing.T) { oneStopped(t, store, cluster) })
}

// oneStopped sees that a master of a Cluster which does not answer is no reason to keep
// away from the others.
func oneStopped(t *testing.T, store lock.Store, cluster *redistest.Cluster) {
	t.Helper()
	read := func(tag lock.Tag) error {
		ctx, cancel := context.WithTimeout(t.Context(), testwait.Patience)
		defer cancel()
		_, err := locktest.OneAtATime{Store: store}.Read(ctx, tag)
		return err
	}
	masters := cluster.Masters()
	tags := map[*redistest.Server]lock.Tag{}
	for len(tags) < len(masters) {
		tag := newTag()
		tags[cluster.MasterOf("spool_lock:"+string(tag))] = tag
	}
	for _, tag := range tags {
		if err := read(tag); err != nil {
			t.Fatal(err)
		}
	}
	stopped := masters[0]
	stopped.Pause()
	defer stopped.Resume()
	var readers sync.WaitGroup
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for range 10 {
		readers.Go(func() {
			for ctx.Err() == nil {
				reading, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				_, err := locktest.OneAtATime{Store: store}.Read(reading, tags[stopped])
				cancel()
				if err == nil {
					t.Error("a stopped master answers")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for ctx.Err() == nil {
		for master, tag := range tags {
			if master == stopped {
				continue
			}
			if err := read(tag); err != nil {
				t.Errorf("another master is said not to answer: %v", err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	readers.Wait()
}

// failOver sees that a store which found the master of a key finds the next one, and
// that what the replicas had is there.
func failOver(t *testing.T, all lock.Store, failover func(key string)) {
	t.Helper()
	ctx := testwait.Context(t)
	store := locktest.OneAtATime{Store: all}
	s := &stand{t: t, ctx: ctx, store: store, tag: newTag()}
	cmd := s.command()
	taken := s.take(cmd)
	failover(s.lockKey())
	testwait.Until(t, "the lock is read from the next master", func() bool {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		spool, err := store.Read(attempt, s.tag)
		return err == nil && spool.Lock != nil && spool.Version == taken.Version
	})
	var outcome lock.ReleaseOutcome
	testwait.Until(t, "the next master releases it", func() bool {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var err error
		outcome, _, err = store.Release(attempt, lock.ReleaseCommand{Tag: s.tag, Token: cmd.Token, ID: s.id()})
		return err == nil
	})
	if !outcome.Released() {
		t.Errorf("the release is %s", outcome)
	}
}

// forgetMaster sees that nothing is kept of a master that has lost its place, while there is
// always something under way.
func forgetMaster(t *testing.T, store *repository.Redis, cluster *redistest.Cluster) {
	t.Helper()
	ctx, cancel := context.WithCancel(testwait.Context(t))
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	for range 8 {
		readers.Go(func() {
			for ctx.Err() == nil {
				reading, cancel := context.WithTimeout(ctx, time.Second)
				store.Read(reading, []lock.Tag{newTag(), newTag(), newTag()})
				cancel()
			}
		})
	}
	former := cluster.Masters()[0]
	testwait.Until(t, "all masters have lanes", func() bool {
		return len(store.Lanes()) >= 3 && store.Lanes()[strings.TrimPrefix(former.Proxy.URL, "redis://")]
	})
	cluster.Failover(former)
	testwait.Until(t, "the former master has none, and each master has one", func() bool {
		if err := store.Beat(ctx, "1"); err != nil {
			return false
		}
		lanes := store.Lanes()
		return len(lanes) == 3 && !lanes[strings.TrimPrefix(former.Proxy.URL, "redis://")]
	})
}

// followKeys sees that a lock is read and released while its slot is on its way to
// another master, and its keys are there already.
func followKeys(t *testing.T, all lock.Store, cluster *redistest.Cluster) {
	t.Helper()
	s := &stand{t: t, ctx: testwait.Context(t), store: locktest.OneAtATime{Store: all}, tag: newTag()}
	from := cluster.MasterOf(s.lockKey())
	s.client = from.Client()
	defer s.client.Close() //nolint:errcheck // a client of the moment
	// A command with a key that is not there has to wait until the whole slot has moved.
	s.makeAllKeys()
	cmd := s.command()
	taken := s.take(cmd)
	finish := s.moveKeys(cluster, from)
	if spool := s.read(); spool.Lock == nil || spool.Version != taken.Version {
		t.Errorf("the spool is %+v", spool)
	}
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	finish()
	s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased) // the former master says where it is
}

// moveKeys begins to move the spool's slot to another master, and moves all its keys.
func (s *stand) moveKeys(cluster *redistest.Cluster, from *redistest.Server) (finish func()) {
	s.t.Helper()
	cluster.AwaitOK() // a master that has not heard of the last move would claim the slot in vain
	slot := redistest.Slot(s.lockKey())
	to := cluster.Masters()[0]
	if to == from {
		to = cluster.Masters()[1]
	}
	run := func(server *redistest.Server, command ...any) any {
		client := server.Client()
		defer client.Close() //nolint:errcheck // a client of the moment
		value, err := client.Do(s.ctx, command...).Result()
		s.must(err)
		return value
	}
	fromID, toID := run(from, "CLUSTER", "MYID"), run(to, "CLUSTER", "MYID")
	run(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	run(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	host, port, _ := strings.Cut(to.Addr, ":")
	migrate := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
	for _, key := range s.keys() {
		migrate = append(migrate, key)
	}
	run(from, migrate...)
	run(to, "SCRIPT", "FLUSH") // as one has it that came later
	return func() {
		for _, server := range []*redistest.Server{to, from} {
			run(server, "CLUSTER", "SETSLOT", slot, "NODE", toID)
		}
	}
}

// redirectFromPipelines sees that of a shared pipeline only what has moved is sent on.
func redirectFromPipelines(t *testing.T, all *repository.Redis, cluster *redistest.Cluster) {
	t.Helper()
	s := &stand{t: t, ctx: testwait.Context(t), store: locktest.OneAtATime{Store: all}, tag: newTag()}
	from := cluster.MasterOf(s.lockKey())
	s.client = from.Client()
	defer s.client.Close() //nolint:errcheck // a client of the moment
	staying := newTag()
	for cluster.MasterOf("spool_lock:"+string(staying)) != from {
		staying = newTag()
	}
	s.makeAllKeys()
	cmd := s.command()
	s.take(cmd)
	var moved, stayed []lock.Result[lock.Spool]
	together := func() {
		t.Helper()
		p := s.pause(all, staying)
		p.start(2,
			func() { moved = all.Read(s.ctx, []lock.Tag{s.tag}) },
			func() { stayed = all.Read(s.ctx, []lock.Tag{staying}) },
		)
		p.resume()
		s.must(stayed[0].Err)
		if spool := moved[0].Value; moved[0].Err != nil || spool.Lock == nil {
			t.Errorf("the spool that has moved is %+v, %v", spool, moved[0].Err)
		}
	}
	finish := s.moveKeys(cluster, from)
	together()
	finish()
	together()
}

// makeAllKeys leaves the spool free, with every key but the lock's there.
func (s *stand) makeAllKeys() {
	s.t.Helper()
	for s.client.Exists(s.ctx, s.historyKey(), s.endedKey()).Val() < 2 {
		cmd := s.longest(false)
		s.take(cmd)
		s.releaseWithNote(cmd.Token, cmd.Note)
	}
	_, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.command().Token, ID: s.id(), Bar: true})
	s.must(err)
}

// moveSlot sees that operations on a spool whose slot moves to and fro are answered,
// each one.
func moveSlot(t *testing.T, all lock.Store, cluster *redistest.Cluster) {
	t.Helper()
	ctx := testwait.Context(t)
	store := locktest.OneAtATime{Store: all}
	s := &stand{t: t, ctx: ctx, store: store, tag: newTag()}
	key := s.lockKey()
	moving, moved := context.WithCancel(ctx)
	var operations sync.WaitGroup
	operations.Go(func() {
		for n := 0; moving.Err() == nil || n < 10; n++ {
			// While some of its keys have moved, a script on all of them has to wait.
			again := func(operation func() error) {
				for {
					err := operation()
					if err == nil {
						return
					}
					if unavailable := (*lock.UnavailableError)(nil); !errors.As(err, &unavailable) || unavailable.Outcome != lock.NotApplied || ctx.Err() != nil {
						t.Errorf("while the slot moves, the error is %v", err)
						return
					}
				}
			}
			cmd := s.command()
			again(func() error {
				_, replayed, err := store.Take(ctx, cmd)
				if replayed {
					t.Error("a take that was not applied is there")
				}
				return err
			})
			again(func() error {
				outcome, _, err := store.Release(ctx, lock.ReleaseCommand{Tag: s.tag, Token: cmd.Token, ID: s.id()})
				if err == nil && outcome != lock.OutcomeReleased {
					t.Errorf("the release is %s", outcome)
				}
				return err
			})
		}
	})
	defer operations.Wait()
	defer moved()
	for range 2 {
		for _, master := range cluster.Masters() {
			cluster.MoveSlot(redistest.Slot(key), master)
		}
	}
}
