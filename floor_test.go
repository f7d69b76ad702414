package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor/floortest"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// process is the service as it is deployed.
type process struct {
	*servicetest.Service
	t *testing.T
}

// launch starts the program on the Redis at redisURL, waits until its view is live,
// and stops it when the test ends. The environment is given as names and values.
func launch(t *testing.T, redisURL string, env ...string) *process {
	t.Helper()
	env = append(env, "REDIS_URL="+redisURL, "AUTH_MODE=none", "LIMITS=off")
	service := servicetest.Launch(t, redistest.NewLog(t), env, program(t))
	testwait.Live(testwait.Context(t), t, service.URL)
	return &process{Service: service, t: t}
}

// metric is the value of a metric without labels.
func (p *process) metric(name string) float64 {
	p.t.Helper()
	metrics := p.Metrics()
	value, ok := metrics[name]
	if !ok {
		p.t.Fatalf("%s is not among the metrics: %v", name, metrics)
	}
	return value
}

func (p *process) awaitMetric(name string, want float64) {
	p.t.Helper()
	testwait.Until(p.t, fmt.Sprint(name, " is ", want), func() bool { return p.metric(name) == want })
}

// follow subscribes to the process's floor.
func (p *process) follow(ctx context.Context) *floortest.Client {
	p.t.Helper()
	subscriber, err := floortest.Dial(ctx, p.URL)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(subscriber.Close)
	return subscriber
}

type item map[string]any

// batch sends the items, of which there may be any number, through a batch mutation,
// and returns the tokens of its results. Every item is to succeed.
func (p *process) batch(mutation, inputType string, items []item) (tokens []string) {
	p.t.Helper()
	const most = 50
	for len(items) > 0 {
		part := items[:min(len(items), most)]
		items = items[len(part):]
		selection := "failed results{lockToken}"
		if mutation != "tomarSpools" {
			selection = "failed results{tagSpool}"
		}
		body, err := json.Marshal(map[string]any{
			"query":     "mutation($input:" + inputType + "!){batch:" + mutation + "(input:$input){" + selection + "}}",
			"variables": item{"input": item{"items": part}},
		})
		if err != nil {
			p.t.Fatal(err)
		}
		text := post(p.t, p.URL, string(body))
		var answer struct {
			Data struct {
				Batch struct {
					Failed  *int
					Results []struct{ LockToken string }
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Data.Batch.Failed == nil || *answer.Data.Batch.Failed != 0 {
			p.t.Fatalf("the batch is answered %s", text)
		}
		for _, result := range answer.Data.Batch.Results {
			tokens = append(tokens, result.LockToken)
		}
	}
	return tokens
}

// take takes spools, each with the same settings.
func (p *process) take(tags []string, ttlSeconds int, note string) (tokens []string) {
	p.t.Helper()
	items := make([]item, len(tags))
	for i, tag := range tags {
		items[i] = item{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)", "ttlSeconds": ttlSeconds, "note": note}
	}
	return p.batch("tomarSpools", "TomarSpoolsInput", items)
}

func (p *process) release(tags, tokens []string) {
	p.t.Helper()
	items := make([]item, len(tags))
	for i, tag := range tags {
		items[i] = item{"tagSpool": tag, "lockToken": tokens[i]}
	}
	p.batch("releaseSpools", "ReleaseSpoolsInput", items)
}

func tagsOf(prefix string, n int) []string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return tags
}

func truth(ctx context.Context, t *testing.T, plain *redis.Client) map[string]floortest.Held {
	t.Helper()
	held, err := floortest.Truth(ctx, plain, "")
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// converge reads messages until the subscriber shows what Redis has, and is not told
// that it is stale. It returns how many messages that took.
func converge(ctx context.Context, t *testing.T, subscriber *floortest.Client, plain *redis.Client) int {
	t.Helper()
	for received := 1; ; received++ {
		update, err := subscriber.Next(ctx)
		if err != nil {
			t.Fatalf("%v, with %d spools", err, len(subscriber.Held()))
		}
		if !update.Stale && maps.Equal(subscriber.Held(), truth(ctx, t, plain)) {
			return received
		}
	}
}

func plainClient(t *testing.T, server *redistest.Server) *redis.Client {
	t.Helper()
	plain := server.Client()
	t.Cleanup(func() { _ = plain.Close() })
	return plain
}

// A hundred subscribers cost Redis one connection, take none of the pool's two, and
// every one of them gets every change.
func TestManySubscribersOnASmallPool(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	plain := plainClient(t, server)
	p := launch(t, server.URL, "REDIS_MAX_CONNECTIONS=2")
	ctx := testwait.Context(t)
	var want atomic.Pointer[map[string]floortest.Held] // nil until everything is changed
	var following sync.WaitGroup
	for range 100 {
		subscriber := p.follow(ctx)
		following.Go(func() {
			for {
				if _, err := subscriber.Next(ctx); err != nil {
					t.Errorf("%v, with %d spools", err, len(subscriber.Held()))
					return
				}
				if want := want.Load(); want != nil && maps.Equal(subscriber.Held(), *want) {
					return
				}
			}
		})
	}
	p.awaitMetric("spoollock_floor_subscribers", 100)
	var changing sync.WaitGroup
	for worker := range 2 {
		changing.Go(func() {
			for i := range 30 {
				tags := tagsOf(fmt.Sprintf("MK-%d-%d", worker, i), 1)
				if tokens := p.take(tags, 3600, ""); i%3 == 0 {
					p.release(tags, tokens)
				}
			}
		})
	}
	changing.Wait()
	held := truth(ctx, t, plain)
	if len(held) != 40 {
		t.Errorf("%d spools are held, want 40", len(held))
	}
	want.Store(&held)
	following.Wait()
	feeds, err := plain.Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
	if err != nil || strings.Count(feeds, "\n") != 1 {
		t.Errorf("the connections that listen are\n%s, %v, want one", feeds, err)
	}
	if n := p.metric("spoollock_redis_connections"); n > 2 {
		t.Errorf("the pool has %v connections, of 2", n)
	}
	if n := p.metric("spoollock_redis_connection_timeouts_total"); n != 0 {
		t.Errorf("%v waits for a connection were in vain", n)
	}
}

// Takes go on while a process learns of many locks, and all of them are on its floor.
func TestFloorOfManyLocks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	plain := plainClient(t, server)
	const many = 5000
	ctx, pipe := testwait.Context(t), plain.Pipeline()
	for i := range many {
		pipe.Set(ctx, fmt.Sprintf("spool_lock:MANY-%04d", i), "94:5d1f8c52-7a6e-4d0b-9b0e-0a4c1f3e2d11", time.Hour)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	p := launch(t, server.URL)
	p.take(tagsOf("MK", 50), 3600, "")
	p.awaitMetric("spoollock_floor_locks", many+50)
}

// Three processes race to tell what lapses, beside many keys that are no locks, and each
// lapse is told once.
func TestLapsesInThreeProcesses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	plain := plainClient(t, server)
	ctx, others := testwait.Context(t), plain.Pipeline()
	for i := range 10_000 {
		others.Set(ctx, fmt.Sprintf("other:%05d", i), "x", time.Hour)
	}
	if _, err := others.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	var processes []*process
	for range 3 {
		processes = append(processes, launch(t, server.URL, "FLOOR_REBUILD_SECONDS=86400"))
	}
	var tags []string
	for i, p := range processes {
		own := tagsOf(fmt.Sprint("MK-", i), 200)
		p.take(own[:100], 1, "")
		p.take(own[100:], 2, "")
		tags = append(tags, own...)
	}
	for _, p := range processes {
		p.awaitMetric("spoollock_floor_locks", 0)
	}
	// Read as it is in Redis: an operation would record what nobody had yet.
	for _, tag := range tags {
		if kinds, err := floortest.Kinds(testwait.Context(t), plain, tag); err != nil || kinds != "ET" {
			t.Fatalf("the history of %s is %q, %v", tag, kinds, err)
		}
	}
}

// Whatever broke, and whatever happened meanwhile: when it is over, each subscriber
// shows what Redis has.
func TestSubscribersConvergeAfterFaults(t *testing.T) {
	t.Parallel()
	type broken struct {
		server    *redistest.Server
		proxy     *redistest.Proxy
		p, other  *process
		plain     *redis.Client
		untouched []string // taken before the fault
		tokens    []string
	}
	change := func(b broken) {
		b.other.release(b.untouched[:5], b.tokens[:5])
		b.other.take(tagsOf("MK-LATER", 5), 3600, "")
	}
	for name, fault := range map[string]func(context.Context, *testing.T, broken){
		"the connections to Redis are cut": func(_ context.Context, _ *testing.T, b broken) {
			b.proxy.Cut()
			change(b)
			b.p.awaitMetric("spoollock_floor_live", 0)
			b.proxy.Mend()
		},
		"Redis is killed": func(ctx context.Context, t *testing.T, b broken) {
			b.other.take(tagsOf("MK-SHORT", 5), 1, "")
			b.server.Kill()
			b.p.awaitMetric("spoollock_floor_live", 0)
			b.server.Restart() //nolint:contextcheck // a server lives as long as the test
			testwait.Until(t, "short locks have lapsed", func() bool { return len(truth(ctx, t, b.plain)) == 10 })
		},
		"the process is stopped": func(ctx context.Context, t *testing.T, b broken) {
			feed := b.plain.Subscribe(ctx, "spool_floor2:0")
			defer feed.Close() //nolint:errcheck // it was heard
			b.p.Signal(syscall.SIGSTOP)
			defer b.p.Signal(syscall.SIGCONT)
			change(b)
			// For longer than a view stays live without its own beats: the other process
			// sends one a second.
			for beats := 0; beats < 5; {
				message, err := feed.ReceiveMessage(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(message.Payload, "\n") {
					beats++
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			proxy := redistest.StartProxy(t, server.Addr, nil)
			b := broken{
				server: server, proxy: proxy, plain: plainClient(t, server),
				p: launch(t, proxy.URL), other: launch(t, server.URL), untouched: tagsOf("MK", 10),
			}
			ctx := testwait.Context(t)
			b.tokens = b.other.take(b.untouched, 3600, "")
			var subscribers []*floortest.Client
			for range 5 {
				subscriber := b.p.follow(ctx)
				converge(ctx, t, subscriber, b.plain)
				subscribers = append(subscribers, subscriber)
			}
			fault(ctx, t, b)
			for _, subscriber := range subscribers {
				converge(ctx, t, subscriber, b.plain)
			}
		})
	}
}

// One that does not read is sent what came to stand in the end, and not all that
// happened; who reads beside it misses nothing.
func TestSubscriberThatDoesNotRead(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	plain := plainClient(t, server)
	p := launch(t, server.URL)
	ctx := testwait.Context(t)
	slow, reads := p.follow(ctx), p.follow(ctx)
	converge(ctx, t, slow, plain)
	converge(ctx, t, reads, plain)
	tags := tagsOf("MK", 2000)
	note := strings.Repeat("n", 140)
	messages := func() float64 { return p.metric("spoollock_floor_messages_total") }
	for begun, stuck := time.Now(), false; !stuck; {
		if time.Since(begun) > testwait.Patience/2 {
			t.Fatal("the network takes everything")
		}
		before := messages()
		tokens := p.take(tags, 3600, note)
		received := converge(ctx, t, reads, plain)
		p.release(tags, tokens)
		received += converge(ctx, t, reads, plain)
		stuck = messages()-before == float64(received) // all of them to the one that reads
	}
	merged := p.metric("spoollock_floor_merged_changes_total")
	few := tags[:7]
	for range 3 {
		tokens := p.take(few, 3600, note)
		converge(ctx, t, reads, plain)
		p.release(few, tokens)
		converge(ctx, t, reads, plain)
	}
	p.take(few, 3600, note)
	converge(ctx, t, reads, plain)
	for {
		update, err := slow.Next(ctx)
		if err != nil {
			t.Logf("it did not read for 10 s, and is cut off: %v", err)
			converge(ctx, t, p.follow(ctx), plain)
			return
		}
		if !update.Stale && maps.Equal(slow.Held(), truth(ctx, t, plain)) {
			break
		}
	}
	// The one that reads was told of each change by itself.
	if p.metric("spoollock_floor_merged_changes_total") == merged {
		t.Error("nothing was merged for the one that did not read")
	}
}

// What another program does is on the floor at once when anybody asks for the spool,
// and otherwise by the next rebuild.
func TestForeignLocksReachSubscribers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	plain := plainClient(t, server)
	seldom, often := launch(t, server.URL, "FLOOR_REBUILD_SECONDS=86400"), launch(t, server.URL, "FLOOR_REBUILD_SECONDS=1")
	ctx := testwait.Context(t)
	subscriber, other := seldom.follow(ctx), often.follow(ctx)
	converge(ctx, t, subscriber, plain)
	touch := func() {
		post(t, seldom.URL, `{"query":"{spoolLock(tagSpool:\"MK-1\"){ownerId}}"}`)
	}
	for range 2 {
		if err := plain.SetNX(ctx, "spool_lock:MK-1", "94:5d1f8c52-7a6e-4d0b-9b0e-0a4c1f3e2d11", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		touch()
		converge(ctx, t, subscriber, plain)
		if err := plain.Del(ctx, "spool_lock:MK-1").Err(); err != nil {
			t.Fatal(err)
		}
		touch()
		converge(ctx, t, subscriber, plain)
	}
	for range 2 {
		if err := plain.SetNX(ctx, "spool_lock:MK-2", "95:5d1f8c52-7a6e-4d0b-9b0e-0a4c1f3e2d11", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		converge(ctx, t, other, plain)
		if err := plain.Del(ctx, "spool_lock:MK-2").Err(); err != nil {
			t.Fatal(err)
		}
		converge(ctx, t, other, plain)
	}
}
