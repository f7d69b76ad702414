//go:build faults

package faults_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// trial takes spools, each once, and finds out which of the locks are there afterwards.
type trial struct {
	store lock.Store
	asked atomic.Int64
	mu    sync.Mutex
	taken []lock.Tag // what was acknowledged
}

// on is a trial on the Redis at url, where so many replicas are to have each lock.
func on(t *testing.T, url string, replicas int) *trial {
	t.Helper()
	return &trial{store: redistest.Open(t, url, slog.New(slog.DiscardHandler), repository.Config{
		MaxConnections: workers, Timeout: operationTimeout, Replicas: replicas,
	})}
}

func (r *trial) take(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	cmd := lock.TakeCommand{
		Tag: lock.Tag(fmt.Sprintf("MK-%06d", r.asked.Add(1))), Owner: lock.Worker{ID: "93", Name: "MR(93)"},
		Note: strings.Repeat("n", 140), TTL: time.Hour, Token: lock.NewToken("93", lock.RequestID{}),
	}
	if r.store.Take(ctx, []lock.TakeCommand{cmd})[0].Err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.taken = append(r.taken, cmd.Tag)
	}
}

// while has the workers take spools for a second, and while something is done.
func (r *trial) while(do func()) *trial {
	working, stop := context.WithCancel(context.Background())
	var takes sync.WaitGroup
	defer takes.Wait()
	defer stop()
	for range workers {
		takes.Go(func() {
			for working.Err() == nil {
				r.take(working)
				during(working, 5*time.Millisecond) // the machine is not what is tried
			}
		})
	}
	during(working, time.Second)
	do()
	return r
}

// lost is how many of the locks that were acknowledged are gone. None lapses.
func (r *trial) lost(t *testing.T) (lost int) {
	t.Helper()
	ctx := testwait.Context(t)
	for tags := range slices.Chunk(r.taken, lock.MaxBatch) {
		var spools []lock.Result[lock.Spool]
		testwait.Within(ctx, t, "the spools are read", func() bool {
			spools = r.store.Read(ctx, tags)
			return !slices.ContainsFunc(spools, func(spool lock.Result[lock.Spool]) bool { return spool.Err != nil })
		})
		for _, spool := range spools {
			if spool.Value.Lock == nil {
				lost++
			}
		}
	}
	return lost
}

// TestRecommendations shows what each recommendation of docs/RELIABILITY.md is worth.
func TestRecommendations(t *testing.T) {
	printf("\n## Recommendations\n\n%d workers take spools, each once. Lost is a lock that was acknowledged and is not there afterwards.\n\n"+
		"| what happens | set-up | acknowledged | refused, or not answered | lost |\n|---|---|---|---|---|", workers)
	// try makes a row. What keeps promises to lose nothing.
	try := func(what, setup string, keeps bool, do func(t *testing.T) *trial) {
		t.Run(what+", "+setup, func(t *testing.T) {
			r := do(t)
			lost := r.lost(t)
			line := fmt.Sprintf("| %s | %s | %d | %d | %d |", what, setup, len(r.taken), int(r.asked.Load())-len(r.taken), lost)
			printf("%s", line)
			progress(t, "%s", line)
			if keeps && lost > 0 {
				t.Errorf("%d of %d locks are lost", lost, len(r.taken))
			}
		})
	}
	crash := func(keeps bool, options ...string) {
		try("Redis is killed", quote(options...), keeps, func(t *testing.T) *trial {
			server := redistest.Start(t, options...)
			r := on(t, server.URL, 0).while(server.Kill)
			server.Restart()
			return r
		})
	}
	crash(false, "--appendonly", "no")
	crash(false, "--appendonly", "yes", "--appendfsync", "everysec")
	crash(true, "--appendonly", "yes", "--appendfsync", "always")

	fill := func(keeps bool, options ...string) {
		try("the memory is full", quote(options...), keeps, func(t *testing.T) *trial {
			r := on(t, redistest.Start(t, append(options, "--maxmemory", "4mb")...).URL, 0)
			return r.while(func() {
				testwait.Until(t, "more was asked for than there is room for", func() bool { return r.asked.Load() > 8000 })
			})
		})
	}
	fill(false, "--maxmemory-policy", "volatile-lru")
	fill(true, "--maxmemory-policy", "noeviction")

	fail := func(what string, keeps bool, replicas int, appendOnly string, do func(*redistest.Sentinels)) {
		options := []string{"--appendonly", appendOnly}
		try(what, fmt.Sprintf("Sentinel, `LOCK_REPLICAS_ACK=%d`, %s", replicas, quote(options...)), keeps, func(t *testing.T) *trial {
			servers := redistest.StartSentinels(t, options...)
			return on(t, servers.URL, replicas).while(func() { do(servers) })
		})
	}
	crashOfHost := func(servers *redistest.Sentinels) {
		master := servers.Master()
		servers.Isolate(master) // lest what it acknowledges reaches its replicas all the same
		during(context.Background(), 200*time.Millisecond)
		master.Kill()
		servers.AwaitMaster(master)
	}
	fail("the host of a master crashes", false, 0, "yes", crashOfHost)
	fail("the host of a master crashes", true, 1, "yes", crashOfHost)
	failover := func(servers *redistest.Sentinels) {
		servers.Failover()
		servers.AwaitOK()
	}
	fail("a failover is asked for", false, 1, "yes", failover)
	fail("a failover is asked for", true, 2, "yes", failover)
	comeBack := func(servers *redistest.Sentinels) {
		master := servers.Master()
		master.Kill()
		master.Restart()
		servers.AwaitOK()
	}
	fail("a master is killed, and back at once", false, 2, "no", comeBack)
	fail("a master is killed, and back at once", false, 2, "yes", comeBack)

	// Clients that are with the isolated servers go on there.
	part := func(what string, keeps bool, along, replicas int, options ...string) {
		try(what, fmt.Sprintf("Sentinel, `LOCK_REPLICAS_ACK=%d`, %s", replicas, quote(options...)), keeps, func(t *testing.T) *trial {
			servers := redistest.StartSentinels(t, append(options, "--min-replicas-max-lag", "1")...)
			master := servers.Master()
			island := append(servers.Replicas()[:along:along], master)
			servers.Isolate(island...)
			servers.AwaitMaster(master)
			r := on(t, master.Proxy.URL, replicas).while(func() { during(context.Background(), 2*time.Second) })
			servers.Rejoin(island...)
			servers.AwaitOK()
			r.store = on(t, servers.URL, 0).store
			return r
		})
	}
	part("a master is isolated, and another elected", false, 0, 0, "--min-replicas-to-write", "0")
	part("a master is isolated, and another elected", false, 0, 0, "--min-replicas-to-write", "1")
	part("a master and a replica are isolated, and another elected", false, 1, 1, "--min-replicas-to-write", "0")
	part("a master and a replica are isolated, and another elected", true, 1, 2, "--min-replicas-to-write", "0")
}

// quote writes options as they stand in redis.conf.
func quote(options ...string) string {
	return "`" + strings.ReplaceAll(strings.TrimPrefix(strings.Join(options, " "), "--"), " --", "`, `") + "`"
}
