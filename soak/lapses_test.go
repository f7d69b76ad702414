//go:build soak

package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor/floortest"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// lapseAim is how soon a lapse is to be told.
const lapseAim = time.Second

// heard is what the feed said of each spool.
type heard struct {
	mu      sync.Mutex
	expires map[string]int64 // ms
	delays  map[string][]time.Duration
}

// listen listens to the feed with a plain client until ctx is done. The messages are
// those of repository/spool.lua.
func (h *heard) listen(ctx context.Context, t *testing.T, plain *redis.Client) {
	t.Helper()
	feed := plain.Subscribe(ctx, "spool_floor2:0")
	t.Cleanup(func() { _ = feed.Close() })
	servicetest.Must[any](t)(feed.Receive(ctx)) // it is subscribed
	go func() {
		for {
			message, err := feed.ReceiveMessage(ctx)
			if err != nil {
				return
			}
			h.take(message.Payload, time.Now())
		}
	}()
}

func (h *heard) take(payload string, now time.Time) {
	key, line, _ := strings.Cut(payload, "\n")
	tag, ofSpool := strings.CutPrefix(key, "spool_lock:")
	if !ofSpool || len(line) < 70 {
		return // a beat
	}
	expires, err := strconv.ParseInt(line[40:55], 10, 64)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if expires > 0 {
		h.expires[tag] = expires
	} else {
		h.delays[tag] = append(h.delays[tag], now.Sub(time.UnixMilli(h.expires[tag])))
	}
}

// TestLapses has three processes tell of locks that lapse at random.
func TestLapses(t *testing.T) {
	ctx := scenario(t, "Lapses, told by three processes", 6*time.Minute)
	server := redistest.Start(t)
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // the test is over
	var services []*service
	for range 3 {
		s := launch(t, server.URL)
		testwait.Live(ctx, t, s.URL)
		services = append(services, s)
	}
	printf("%d locks, each for 1 to 20 seconds at random. Delay: from the expiry to the message on the feed.\n", *lapses)
	printf("| other keys | EXPIRED events | twice | messages | delay p50 | p99 | largest | |\n|---|---|---|---|---|---|---|---|")
	for _, others := range []int{0, *otherKeys} {
		pipe := plain.Pipeline()
		for i := range others {
			pipe.Set(ctx, fmt.Sprintf("other:%07d", i), "x", time.Hour)
		}
		if others > 0 {
			servicetest.Must[[]redis.Cmder](t)(pipe.Exec(ctx))
		}
		lapse(ctx, t, services, plain, others)
	}
}

func lapse(ctx context.Context, t *testing.T, services []*service, plain *redis.Client, others int) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &heard{expires: map[string]int64{}, delays: map[string][]time.Duration{}}
	h.listen(ctx, t, plain)
	tags := make([]string, *lapses)
	for i := range tags {
		tags[i] = fmt.Sprintf("MK-%d-%05d", others, i)
	}
	for i := 0; i < len(tags); i += 50 {
		var items []map[string]any
		for _, tag := range tags[i:min(i+50, len(tags))] {
			items = append(items, map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)", "ttlSeconds": 1 + rand.IntN(20)}) //nolint:gosec // no secret
		}
		var answer struct{ TomarSpools struct{ Failed int } }
		err := services[i/50%len(services)].post(ctx, `mutation($input:TomarSpoolsInput!){tomarSpools(input:$input){failed}}`,
			map[string]any{"input": map[string]any{"items": items}}, &answer)
		if err != nil || answer.TomarSpools.Failed > 0 {
			t.Fatalf("%d of a batch failed, %v", answer.TomarSpools.Failed, err)
		}
	}
	progress(t, "%d locks are taken beside %d other keys", len(tags), others)
	for _, s := range services {
		testwait.Within(ctx, t, "no lock is on the floor", func() bool { return s.Metrics()["spoollock_floor_locks"] == 0 })
	}
	told := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.delays)
	}
	testwait.Within(ctx, t, "each lapse is told", func() bool { return told() == len(tags) })
	// Read as it is in Redis: an operation would record what nobody had yet.
	events, twice := 0, 0
	for _, tag := range tags {
		expired := strings.Count(servicetest.Must[string](t)(floortest.Kinds(ctx, plain, tag)), "E")
		events += expired
		if expired > 1 {
			twice++
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var delays []time.Duration
	messages := 0
	for _, all := range h.delays {
		delays = append(delays, all[0])
		messages += len(all)
	}
	if events != len(tags) || twice > 0 || messages != len(tags) {
		t.Errorf("%d lapses are %d events, %d of them twice, and %d messages", len(tags), events, twice, messages)
	}
	p99 := percentile(delays, .99)
	printf("| %d | %d | %d | %d | %v | %v | %v | %s |", others, events, twice, messages, percentile(delays, .5), p99, percentile(delays, 1), aim(p99, lapseAim))
}
