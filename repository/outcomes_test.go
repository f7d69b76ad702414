package repository_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// Out of memory, Redis refuses a take before anything of it is done. It still says
// who holds what, and lets a holder go.
func TestFullRedis(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ours := s.command()
	held := s.take(ours)
	lapsing := s.command()
	lapsing.Tag, lapsing.TTL = newTag(), 50*time.Millisecond
	s.take(lapsing)
	s.tag = newTag()
	foreign := s.tag
	s.foreignTake(foreignValue)
	s.tag = lapsing.Tag
	s.waitUntilGone()
	s.must(s.client.ConfigSet(s.ctx, "maxmemory", "1").Err())

	s.tag = newTag()
	_, _, err := s.store.Take(s.ctx, s.command())
	var unavailable *lock.UnavailableError
	if err == nil || errors.As(err, &unavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("a take on a full Redis got %v", err)
	}
	if n := s.client.Exists(s.ctx, s.lockKey(), s.stateKey()).Val(); n != 0 {
		t.Fatalf("a take on a full Redis left %d keys", n)
	}
	s.tag = ours.Tag
	s.wantHeld(0)
	s.wantRelease(ours.Token, lock.OutcomeReleased)
	s.wantRelease(ours.Token, lock.OutcomeAlreadyReleased)
	s.wantFree(held.Version)
	s.tag = lapsing.Tag
	s.wantFree(0)
	s.tag = foreign
	seen := s.wantHeld(0)
	if seen.Owner.ID != "94" {
		t.Fatalf("lock is %+v", seen)
	}
	s.waitPast(seen.Version)
	s.wantHeld(seen.Version) // nothing is recorded, so it is found taken at each look
	s.wantRelease(s.token(foreignValue), lock.OutcomeReleased)
	s.wantRelease(s.token(foreignValue), lock.OutcomeAlreadyReleased)

	s.must(s.client.ConfigSet(s.ctx, "maxmemory", "0").Err())
	s.tag = newTag()
	s.foreignTake(foreignValue)
	s.must(s.client.ConfigSet(s.ctx, "maxmemory", "1").Err())
	s.wantHeld(0)
	s.foreignRelease(foreignValue)
	if spool := s.read(); spool.Version != 0 {
		t.Fatalf("spool is %+v, though nothing could be recorded of it", spool)
	}
}

// On a full Redis the ended tokens that are to make room stay. If a script can save the state
// all the same, after a command that Redis does not refuse, at most the oldest is forgotten.
func TestFullRedisKeepsEndedTokens(t *testing.T) {
	t.Parallel()
	for _, ofClient := range []bool{false, true} {
		t.Run(fmt.Sprintf("of a client: %t", ofClient), func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			for forgotten, do := range []func(){
				func() { s.wantHeld(0) },
				func() { s.wantRelease(s.token(foreignValue), lock.OutcomeReleased) },
			} {
				s.tag = newTag()
				spent := s.spend(8, ofClient) // as many as the state has room for
				ninth := s.command()
				ninth.OfClient = ofClient
				s.take(ninth)
				s.must(s.client.Set(s.ctx, s.lockKey(), foreignValue, time.Hour).Err())
				s.must(s.client.ConfigSet(s.ctx, "maxmemory", "1").Err())
				do()
				s.must(s.client.ConfigSet(s.ctx, "maxmemory", "0").Err())
				s.foreignRelease(foreignValue)
				for _, cmd := range spent[forgotten:] {
					s.wantEnded(cmd, lock.EndReleased)
				}
				s.wantEnded(ninth, lock.EndReleasedExternally)
			}
		})
	}
}

// A Redis that cannot write to its disk refuses changes, and still says who holds
// what.
func TestRedisWithoutDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newStand(t, "--dir", dir, "--save", "3600 1")
	held := s.take(s.command())
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.must(s.client.BgSave(s.ctx).Err())
	testwait.Until(t, "the snapshot fails", func() bool {
		return s.client.InfoMap(s.ctx, "persistence").Val()["Persistence"]["rdb_last_bgsave_status"] == "err"
	})
	s.wantHeld(held.Version - 1)
	s.tag = newTag()
	_, _, err := s.store.Take(s.ctx, s.command())
	s.wantUnavailable(err, lock.NotApplied)
	s.wantFree(-1)
}

func (s *stand) wantUnavailable(err error, want lock.Outcome) {
	s.t.Helper()
	var unavailable *lock.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.Outcome != want {
		s.t.Fatalf("error is %v, want it unavailable with outcome %s", err, want)
	}
	if _, port, _ := strings.Cut(s.server.Addr, ":"); strings.Contains(err.Error(), port) {
		s.t.Fatalf("error shows the address of Redis: %v", err)
	}
}

// What waited for a connection in vain was not applied; what was sent, nobody
// knows.
func TestOutcomesOfAHangingRedis(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	pool := redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), repository.Config{MaxConnections: 1})
	store := locktest.OneAtATime{Store: pool}
	_, err := store.Read(s.ctx, s.tag)
	s.must(err)

	s.server.Pause()
	sent := make(chan error, 1)
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	go func() {
		_, _, err := store.Take(ctx, s.command())
		sent <- err
	}()
	testwait.Until(t, "the take has the connection", func() bool { return pool.PoolInUse() > 0 })
	brief, cancelBrief := context.WithTimeout(s.ctx, 100*time.Millisecond)
	defer cancelBrief()
	_, _, err = store.Take(brief, s.command())
	s.wantUnavailable(err, lock.NotApplied)
	s.wantUnavailable(<-sent, lock.OutcomeUnknown)
	s.server.Resume()
}

// A script that runs away keeps everybody out, and nothing of theirs is applied.
func TestBusyRedis(t *testing.T) {
	t.Parallel()
	s := newStand(t, "--busy-reply-threshold", "50")
	s.take(s.command())
	runaway := make(chan error, 1)
	go func() { runaway <- s.client.Eval(s.ctx, "while true do end", nil).Err() }()
	var err error
	testwait.Until(t, "Redis is busy", func() bool {
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		defer cancel()
		_, err = s.store.Read(ctx, s.tag)
		return err != nil && strings.Contains(err.Error(), "BUSY")
	})
	s.wantUnavailable(err, lock.NotApplied)
	other := s.server.Client()
	defer other.Close() //nolint:errcheck // a client of the moment
	s.must(other.ScriptKill(s.ctx).Err())
	if err := <-runaway; err == nil {
		t.Fatal("the script came to an end")
	}
}

func TestReplicaRefusesAsUnavailable(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	master := redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr)
	s.must(err)
	s.must(s.client.ReplicaOf(s.ctx, host, port).Err())
	_, _, err = s.store.Take(s.ctx, s.command())
	s.wantUnavailable(err, lock.NotApplied)
}

// A replica that has lost its master answers what it had. Once that is known, no read believes it.
func TestReadsOfAReplicaAreUnavailable(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	store, log := openLogged(t, s.server.URL)
	watching, stop := context.WithCancel(s.ctx)
	watched := make(chan error)
	go func() { watched <- store.Watch(watching) }()
	t.Cleanup(func() { stop(); s.must(<-watched) })
	log.Find(t, "redis found")
	s.store.Store = store
	cmd := s.command()
	s.take(cmd)
	s.must(s.client.ReplicaOf(s.ctx, "127.0.0.1", "1").Err()) // where no master is
	log.Find(t, "redis accepts no changes")
	_, err := s.store.Read(s.ctx, s.tag)
	s.wantUnavailable(err, lock.NotApplied)
	_, err = s.store.Check(s.ctx, lock.CheckCommand{Tag: s.tag, Token: cmd.Token})
	s.wantUnavailable(err, lock.NotApplied)
	s.must(s.client.ReplicaOf(s.ctx, "NO", "ONE").Err())
	log.Find(t, "redis is back")
	checked, err := s.store.Check(s.ctx, lock.CheckCommand{Tag: s.tag, Token: cmd.Token})
	if s.must(err); !checked.Valid {
		t.Error("after that, the token does not hold the spool")
	}
}

// Without the replicas that Redis wants, a look that finds a change is refused, too.
func TestMissingReplicasAreUnavailable(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.foreignTake(foreignValue)
	s.must(s.client.ConfigSet(s.ctx, "min-replicas-to-write", "1").Err())
	_, err := s.store.Read(s.ctx, s.tag)
	s.wantUnavailable(err, lock.NotApplied)
}

// Redis answers a long command without a password in other words than a short one.
func TestPasswordThatIsMissing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.client.ConfigSet(s.ctx, "requirepass", "hunter2").Err())
	store := locktest.OneAtATime{Store: open(t, s.server.URL)}
	if _, _, err := store.Take(s.ctx, s.command()); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("a take without the password is answered %v", err)
	}
}
