//go:build soak

package soak_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"spoollock/lock"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// TestForeignLocks has another program take and release spools.
func TestForeignLocks(t *testing.T) {
	const rebuild = 5 * time.Second
	ctx := scenario(t, "What another program does", 5*time.Minute)
	server := redistest.Start(t)
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // the test is over
	often := launch(t, server.URL, fmt.Sprintf("FLOOR_REBUILD_SECONDS=%.0f", rebuild.Seconds()))
	testwait.Live(ctx, t, often.URL)
	untouched := follow(ctx, t, often, 1)[0]
	shows := func(f *follower, tag string, held bool) func() bool {
		return func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			_, ok := f.held[tag]
			return ok == held
		}
	}
	var rebuilt, touched [2][]time.Duration // takes, releases
	for i, held := range []bool{true, false} {
		for n := range *foreign {
			if n%20 != 0 {
				continue // one of twenty is timed, at a moment of its own
			}
			during(ctx, rand.N(rebuild/4)) //nolint:gosec // no secret
			begun := time.Now()
			for m := n; m < min(n+20, *foreign); m++ {
				another(ctx, t, plain, fmt.Sprintf("FOREIGN-%05d", m), held)
			}
			testwait.Within(ctx, t, "the next rebuild", shows(untouched, fmt.Sprintf("FOREIGN-%05d", n), held))
			rebuilt[i] = append(rebuilt[i], time.Since(begun))
		}
	}
	often.Stop() // from here on nothing is rebuilt
	seldom := launch(t, server.URL, "FLOOR_REBUILD_SECONDS=86400")
	testwait.Live(ctx, t, seldom.URL)
	asked := follow(ctx, t, seldom, 1)[0]
	for i, held := range []bool{true, false} {
		for n := range *foreign {
			tag := fmt.Sprintf("TOUCHED-%05d", n)
			another(ctx, t, plain, tag, held)
			begun := time.Now()
			var answer struct{ SpoolLock *struct{ OwnerID string } }
			if err := seldom.post(ctx, `query($tag:ID!){spoolLock(tagSpool:$tag){ownerId}}`, map[string]any{"tag": tag}, &answer); err != nil {
				t.Fatal(err)
			}
			testwait.Within(ctx, t, "a spool that was asked for", shows(asked, tag, held))
			touched[i] = append(touched[i], time.Since(begun))
		}
	}
	printf("`SET … NX EX` and compare-and-delete, until a subscriber shows it.\n")
	printf("| | p50 | largest | |\n|---|---|---|---|")
	for i, what := range []string{"take", "release"} {
		printf("| %s, found by a rebuild (every %v) | %v | %v | %s |", what, rebuild, percentile(rebuilt[i], .5), percentile(rebuilt[i], 1), aim(percentile(rebuilt[i], 1), rebuild))
		printf("| %s, when an operation touches the spool | %v | %v | %s |", what, percentile(touched[i], .5), percentile(touched[i], 1), aim(percentile(touched[i], 1), reachAim))
	}
}

const anothersValue = "94:5d1f8c52-7a6e-4d0b-9b0e-0a4c1f3e2d11"

// another takes or releases a spool as another program does.
func another(ctx context.Context, t *testing.T, plain *redis.Client, tag string, take bool) {
	t.Helper()
	key := "spool_lock:" + tag
	if take {
		if !servicetest.Must[bool](t)(plain.SetNX(ctx, key, anothersValue, time.Hour).Result()) {
			t.Fatalf("%s is held", tag)
		}
		return
	}
	const compareAndDelete = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`
	if n := servicetest.Must[int](t)(plain.Eval(ctx, compareAndDelete, []string{key}, anothersValue).Int()); n != 1 {
		t.Fatalf("%s is not released", tag)
	}
}

// TestLargeFloors measures a process on many locks.
func TestLargeFloors(t *testing.T) {
	ctx := scenario(t, "Large floors", 15*time.Minute)
	printf("Locks taken by the service are known to the scripts; those that another program has set")
	printf("are recorded by the first rebuild, one script each, and known to the second start.")
	printf("Lists have 50 locks. %d takes a second go on beside everything.\n", *rate)
	printf("| locks | start | ready after | its rebuild | takes meanwhile, p50, p99 | a later rebuild | takes meanwhile, p50, p99 | list p50, p99 | by ownerId | by tagPrefix of 100 | by tagPrefix of all | memory of the service, MB | of Redis, MB |")
	printf("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	largeFloor(ctx, t, "taken by the service", *large, fillByTakes)
	largeFloor(ctx, t, "of another program", *large, fillBySets)
	largeFloor(ctx, t, "of another program", *huge, fillBySets)
}

// batch is how many commands are in one pipeline while Redis is filled.
const batch = 200

// owners is how many workers hold the locks.
const owners = 1000

func largeTag(i int) string { return fmt.Sprintf("MK-%07d", i) }

func fillByTakes(ctx context.Context, t *testing.T, server *redistest.Server, n int) {
	t.Helper()
	store := redistest.Open(t, server.URL, slog.New(slog.DiscardHandler), repository.Config{MaxConnections: 1, Timeout: time.Minute})
	for i := 0; i < n; i += batch {
		var cmds []lock.TakeCommand
		for j := i; j < min(i+batch, n); j++ {
			worker := lock.WorkerID(fmt.Sprint(j % owners))
			id := servicetest.Must[lock.RequestID](t)(lock.NewRequestID())
			cmds = append(cmds, lock.TakeCommand{
				Tag: lock.Tag(largeTag(j)), Owner: lock.Worker{ID: worker, Name: "MR(93)"}, Note: "weld 3 of 5",
				TTL: time.Hour, Token: lock.NewToken(worker, id),
			})
		}
		for _, result := range store.Take(ctx, cmds) {
			if result.Err != nil {
				t.Fatal(result.Err)
			}
		}
	}
}

func fillBySets(ctx context.Context, t *testing.T, server *redistest.Server, n int) {
	t.Helper()
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // a client of the moment
	for i := 0; i < n; i += batch {
		pipe := plain.Pipeline()
		for j := i; j < min(i+batch, n); j++ {
			pipe.SetNX(ctx, "spool_lock:"+largeTag(j), fmt.Sprintf("%d:%s", j%owners, uuid.NewString()), time.Hour)
		}
		servicetest.Must[[]redis.Cmder](t)(pipe.Exec(ctx))
	}
}

func largeFloor(ctx context.Context, t *testing.T, whose string, n int, fill func(context.Context, *testing.T, *redistest.Server, int)) {
	t.Helper()
	server := redistest.Start(t) //nolint:contextcheck // a server lives as long as the test
	defer server.Kill()
	begun := time.Now()
	fill(ctx, t, server, n)
	progress(t, "%d locks %s, filled in %v", n, whose, time.Since(begun).Round(time.Millisecond))
	for _, start := range []string{"first", "second"} {
		measureFloor(ctx, t, server, whose, start, n)
	}
}

// measureFloor starts a process, and prints what it and its lists take.
func measureFloor(ctx context.Context, t *testing.T, server *redistest.Server, whose, start string, n int) {
	t.Helper()
	begun := time.Now()
	s := launch(t, server.URL, "FLOOR_REBUILD_SECONDS=2")
	stop := load{service: s, prefix: "LOAD-" + start, rate: *rate, keep: 20}.start(ctx)
	testwait.Live(ctx, t, s.URL)
	ready := time.Since(begun)
	meanwhile := stop()
	meanwhile.check(t)
	metrics := s.Metrics()
	first := seconds(metrics["spoollock_floor_last_rebuild_seconds"])
	if locks := int(metrics["spoollock_floor_locks"]); locks < n {
		t.Errorf("%d of %d locks are on the floor", locks, n)
	}
	progress(t, "%s start: ready after %v", start, ready.Round(time.Millisecond))

	stop = load{service: s, prefix: "LATER-" + start, rate: *rate, keep: 20}.start(ctx)
	// Through one rebuild from its beginning to its end, at least.
	until := metrics["spoollock_floor_rebuilds_total"] + 2
	lists := [4][]time.Duration{}
	for i := 0; i < 100 || s.Metrics()["spoollock_floor_rebuilds_total"] < until; i++ {
		for j, filter := range []map[string]any{
			nil, {"ownerId": fmt.Sprint(i % owners)}, {"tagPrefix": largeTag(i % n)[:8]}, {"tagPrefix": "MK-"},
		} {
			lists[j] = append(lists[j], list(ctx, t, s, filter, n))
		}
		if ctx.Err() != nil {
			t.Fatal("no rebuild ends")
		}
	}
	later := stop()
	later.check(t)
	rebuild := seconds(s.Metrics()["spoollock_floor_last_rebuild_seconds"])
	memory := s.Memory()
	row := fmt.Sprintf("| %d %s | %s | %v | %v | %v, %v | %v | %v, %v |", n, whose, start, ready.Round(time.Millisecond), first,
		percentile(meanwhile.takes, .5), percentile(meanwhile.takes, .99), rebuild, percentile(later.takes, .5), percentile(later.takes, .99))
	for _, took := range lists {
		row += fmt.Sprintf(" %v, %v |", percentile(took, .5), percentile(took, .99))
	}
	printf("%s %.0f | %.0f |", row, memory/megabyte, redisMemory(ctx, t, server)/megabyte)
	s.Stop()
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}

// list times one page.
func list(ctx context.Context, t *testing.T, s *service, filter map[string]any, n int) time.Duration {
	t.Helper()
	var answer struct {
		SpoolLocks struct {
			TotalCount int
			Edges      []struct{ Node struct{ TagSpool string } }
		}
	}
	begun := time.Now()
	err := s.post(ctx, `query($filter:SpoolLockFilter){spoolLocks(filter:$filter){totalCount edges{node{tagSpool ownerId ownerName note version expiresAt}}}}`,
		map[string]any{"filter": filter}, &answer)
	took := time.Since(begun)
	if err != nil {
		t.Fatal(err)
	}
	if prefix, ok := filter["tagPrefix"].(string); ok {
		for _, edge := range answer.SpoolLocks.Edges {
			if !strings.HasPrefix(edge.Node.TagSpool, prefix) {
				t.Errorf("%s is found by %s", edge.Node.TagSpool, prefix)
			}
		}
	}
	if filter == nil && answer.SpoolLocks.TotalCount < n || answer.SpoolLocks.TotalCount == 0 {
		t.Errorf("%v finds %d locks", filter, answer.SpoolLocks.TotalCount)
	}
	return took
}

func redisMemory(ctx context.Context, t *testing.T, server *redistest.Server) float64 {
	t.Helper()
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // a client of the moment
	var bytes float64
	for line := range strings.Lines(servicetest.Must[string](t)(plain.Info(ctx, "memory").Result())) {
		if _, err := fmt.Sscanf(line, "used_memory:%f", &bytes); err == nil {
			return bytes
		}
	}
	t.Fatal("Redis does not say how much memory it uses")
	return 0
}
