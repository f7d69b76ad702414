package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor/floortest"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// near is how far what is said about time may be from the truth: much less than the clock is
// moved by, and more than the machine is late.
const near = 10 * time.Second

// listedFloor is what spoolLocks says.
type listedFloor struct {
	AsOf  time.Time
	Edges []struct {
		Node struct {
			TagSpool         string
			RemainingSeconds int
		}
	}
}

func listFloor(t *testing.T, url string) (listed listedFloor) {
	t.Helper()
	testwait.Until(t, "the floor is listed", func() bool {
		text := post(t, url, `{"query":"{spoolLocks{asOf edges{node{tagSpool remainingSeconds}}}}"}`)
		var answer struct {
			Data struct{ SpoolLocks *listedFloor }
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("the list is %s", text)
		}
		if answer.Data.SpoolLocks == nil {
			return false
		}
		listed = *answer.Data.SpoolLocks
		return true
	})
	return listed
}

// wantFloor sees that the list says what Redis does, by Redis' clock.
func wantFloor(ctx context.Context, t *testing.T, url string, plain *redis.Client) {
	t.Helper()
	listed := listFloor(t, url)
	now, err := plain.Time(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	if now.Sub(listed.AsOf).Abs() > near {
		t.Errorf("the list is as of %v at %v", listed.AsOf, now)
	}
	if held := truth(ctx, t, plain); len(listed.Edges) != len(held) {
		t.Errorf("the list has %+v, want %v", listed.Edges, held)
	}
	for _, edge := range listed.Edges {
		lives, err := plain.PTTL(ctx, "spool_lock:"+edge.Node.TagSpool).Result()
		if err != nil {
			t.Fatal(err)
		}
		said := time.Duration(edge.Node.RemainingSeconds) * time.Second
		if most := time.Duration(1<<31-1) * time.Second; lives > most { // of an Int
			lives = most
		}
		if (said - lives).Abs() > near {
			t.Errorf("%s has %v left, want %v", edge.Node.TagSpool, said, lives)
		}
	}
}

// awaitSnapshot reads until a snapshot has begun since the clock was moved that shows what Redis
// has, as of its time.
func awaitSnapshot(ctx context.Context, t *testing.T, subscriber *floortest.Client, plain *redis.Client) {
	t.Helper()
	for begun := false; ; {
		update, err := subscriber.Next(ctx)
		if err != nil {
			t.Fatalf("%v; a snapshot has come: %t", err, begun)
		}
		now, err := plain.Time(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		begun = begun || update.Snapshot && now.Sub(update.AsOf).Abs() < near
		if begun && !update.Stale && maps.Equal(subscriber.Held(), truth(ctx, t, plain)) {
			return
		}
	}
}

// When Redis' clock is set, and when it is set right again, the floor follows: its time, what is
// held, for how long, and how many locks a worker has. Subscribers begin anew.
func TestRedisClockIsSet(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for name, test := range map[string]struct {
		by         time.Duration
		takesAgain bool // a lock of the worker has expired
	}{
		"an hour forward":  {time.Hour, true},
		"70 years forward": {70 * year, true},
		"an hour back":     {-time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Clock)
			plain := plainClient(t, server)
			url, _ := start(t, map[string]string{
				"REDIS_URL": server.URL, "AUTH_MODE": "none", "MAX_LOCKS_PER_WORKER": "2", "FLOOR_REBUILD_SECONDS": "86400",
			})
			ctx := testwait.Context(t)
			testwait.Live(ctx, t, url)
			take := func(tag string, ttlSeconds int) (taken bool) {
				t.Helper()
				got := post(t, url, fmt.Sprintf(`{"query":"mutation{tomarSpool(input:{tagSpool:\"%s\",workerId:\"93\",workerNombre:\"MR(93)\",ttlSeconds:%d}){replayed}}"}`, tag, ttlSeconds))
				if taken = strings.Contains(got, `"replayed":false`); !taken && !strings.Contains(got, `"LOCK_LIMIT_REACHED"`) {
					t.Fatalf("the take of %s is answered %s", tag, got)
				}
				return taken
			}
			if !take("MK-SHORT", 1800) || !take("MK-LONG", 7200) || take("MK-3", 7200) {
				t.Fatal("a worker does not have two locks")
			}
			subscriber, err := floortest.Dial(ctx, url)
			if err != nil {
				t.Fatal(err)
			}
			defer subscriber.Close()
			converge(ctx, t, subscriber, plain)

			server.MoveClock(test.by)
			awaitSnapshot(ctx, t, subscriber, plain)
			wantFloor(ctx, t, url, plain)
			if taken := take("MK-3", 7200); taken != test.takesAgain {
				t.Errorf("a further spool is taken: %t", taken)
			}

			server.MoveClock(0)
			awaitSnapshot(ctx, t, subscriber, plain)
			wantFloor(ctx, t, url, plain)
			if _, metrics := get(t, url+"/metrics"); !strings.Contains(metrics, "\nspoollock_floor_clocks_set_total 2\n") {
				t.Errorf("the metrics do not count the clock as set twice:\n%s", metrics)
			}
		})
	}
}
