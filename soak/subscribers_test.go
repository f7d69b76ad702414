//go:build soak

package soak_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor/floortest"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// reachAim is how soon a change is to have reached all subscribers.
const reachAim = 250 * time.Millisecond

// sampled is how many of a crowd keep their sets; the others only look for versions,
// as decoding everything would take the cores from the service.
const sampled = 20

// crowd is many subscribers. A spool's version is the time of its change by Redis'
// clock, in milliseconds, so each version that comes tells how long it took.
type crowd struct {
	size    int
	sockets context.CancelFunc
	ended   sync.WaitGroup
	failed  atomic.Pointer[error]

	begun    atomic.Int64 // subscribers with a first message
	counting atomic.Pointer[count]
}

// count is what arrives of the changes since a moment.
type count struct {
	from      int64          // version
	made      []atomic.Int32 // changes, by the millisecond since from
	arrived   []atomic.Int32
	slowest   []atomic.Int32 // arrival of each, ms
	histogram []atomic.Int64 // of all arrivals, by ms
	total     atomic.Int64
}

func newCount(longest time.Duration) *count {
	n := longest.Milliseconds()
	return &count{
		from: time.Now().UnixMilli(), made: make([]atomic.Int32, n), arrived: make([]atomic.Int32, n),
		slowest: make([]atomic.Int32, n), histogram: make([]atomic.Int64, 100_000),
	}
}

func (c *count) changed(version int64) { c.made[version-c.from].Add(1) }

func (c *count) arrive(version int64, now time.Time) {
	place := version - c.from
	if place < 0 || place >= int64(len(c.made)) {
		return
	}
	late := max(0, now.UnixMilli()-version)
	c.histogram[min(late, int64(len(c.histogram)-1))].Add(1)
	c.arrived[place].Add(1)
	c.total.Add(1)
	for {
		slowest := c.slowest[place].Load()
		if late <= int64(slowest) || c.slowest[place].CompareAndSwap(slowest, int32(min(late, math.MaxInt32))) {
			return
		}
	}
}

// missing is how many arrivals there were not.
func (c *count) missing(subscribers int) (missing int) {
	for i := range c.made {
		missing += max(0, int(c.made[i].Load())*subscribers-int(c.arrived[i].Load()))
	}
	return missing
}

// toAll is how long each change took to reach the last subscriber.
func (c *count) toAll() (took []time.Duration) {
	for i := range c.made {
		for range c.made[i].Load() {
			took = append(took, time.Duration(c.slowest[i].Load())*time.Millisecond)
		}
	}
	return took
}

// toEach is a percentile over all arrivals.
func (c *count) toEach(p float64) time.Duration {
	left := int64(p * float64(c.total.Load()))
	for ms := range c.histogram {
		if left -= c.histogram[ms].Load(); left < 0 {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return 0
}

// gather connects a crowd, and waits until each has its first message.
func gather(ctx context.Context, t *testing.T, s *service, n int) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{size: n, sockets: cancel}
	t.Cleanup(c.leave)
	var dialing sync.WaitGroup
	places := make(chan struct{}, 20)
	begun := time.Now()
	for i := range n {
		places <- struct{}{}
		dialing.Go(func() {
			defer func() { <-places }()
			subscriber, err := floortest.Dial(ctx, s.URL)
			if err != nil {
				c.failed.Store(&err)
				return
			}
			c.ended.Go(func() {
				defer subscriber.Close()
				if err := c.listen(ctx, subscriber); ctx.Err() == nil {
					c.failed.Store(&err)
				}
			})
		})
		if i%1000 == 999 {
			progress(t, "%d subscribers", i+1)
		}
	}
	dialing.Wait()
	testwait.Within(ctx, t, "each subscriber has its first message", func() bool {
		c.check(t)
		return c.begun.Load() == int64(n)
	})
	progress(t, "%d subscribers are there, after %v", n, time.Since(begun).Round(time.Millisecond))
	return c
}

func (c *crowd) check(t *testing.T) {
	t.Helper()
	if err := c.failed.Load(); err != nil {
		t.Fatalf("a subscriber ends with %v", *err)
	}
}

func (c *crowd) leave() {
	c.sockets()
	c.ended.Wait()
}

var versionField = []byte(`"version":`)

func (c *crowd) listen(ctx context.Context, subscriber *floortest.Client) error {
	for begun := false; ; begun = true {
		text, err := subscriber.Receive(ctx)
		if err != nil {
			return err
		}
		if !begun {
			c.begun.Add(1)
		}
		counting := c.counting.Load()
		if counting == nil || bytes.Contains(text[:min(len(text), 120)], []byte(`"snapshot":true`)) {
			continue
		}
		now := time.Now()
		for {
			at := bytes.Index(text, versionField)
			if at < 0 {
				break
			}
			text = text[at+len(versionField):]
			version := int64(0)
			for len(text) > 0 && '0' <= text[0] && text[0] <= '9' {
				version = version*10 + int64(text[0]-'0')
				text = text[1:]
			}
			counting.arrive(version, now)
		}
	}
}

// phase is what was measured while spools were changed.
type phase struct {
	loaded
	reached                     *count
	missing                     int
	trips, waits, timeouts      float64
	messages, merged, snapshots float64
	cpu, ownCPU                 float64 // cores of the service, and of this process: the load and the subscribers
	memory                      float64 // bytes, at the end
	takeP50, takeP99, toAllP99  time.Duration
}

// measure changes spools for a while, and then waits until everything has arrived, or
// nothing does any more. There may be no crowd.
func measure(ctx context.Context, t *testing.T, s *service, c *crowd, prefix, note string, rate int, d time.Duration) phase {
	t.Helper()
	var p phase
	p.reached = newCount(d + 2*testwait.Patience)
	size := 0
	if c != nil {
		size = c.size
		c.counting.Store(p.reached)
	}
	before, cpu, ownCPU := s.Metrics(), s.CPU(), servicetest.OwnCPU(t)
	stop := load{service: s, prefix: prefix, rate: rate, keep: 50, note: note, changed: p.reached.changed}.start(ctx)
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		during(ctx, min(20*time.Second, time.Until(end)))
		progress(t, "%d changes a second, %v to go", rate, time.Until(end).Round(time.Second))
	}
	p.loaded = stop()
	p.check(t)
	after := s.Metrics()
	p.cpu = (s.CPU() - cpu).Seconds() / p.lasted.Seconds()
	p.ownCPU = (servicetest.OwnCPU(t) - ownCPU).Seconds() / p.lasted.Seconds()
	for last, since := int64(-1), time.Now(); size > 0 && p.reached.missing(size) > 0 && time.Since(since) < 10*time.Second; during(ctx, 20*time.Millisecond) {
		if now := p.reached.total.Load(); now != last {
			last, since = now, time.Now()
		}
	}
	p.memory = s.Memory()
	difference := func(name string) float64 { return after[name] - before[name] }
	p.trips = difference("spoollock_redis_round_trips_total")
	p.waits = difference("spoollock_redis_connection_waits_total")
	p.timeouts = difference("spoollock_redis_connection_timeouts_total")
	p.messages = difference("spoollock_floor_messages_total")
	p.merged = difference("spoollock_floor_merged_changes_total")
	p.snapshots = difference("spoollock_floor_dropped_subscribers_total")
	p.takeP50, p.takeP99 = percentile(p.takes, .5), percentile(p.takes, .99)
	p.toAllP99 = percentile(p.reached.toAll(), .99)
	p.missing = p.reached.missing(size)
	if c != nil {
		c.check(t)
	}
	// A change that is merged away is told by the later one of its spool, and one
	// before a snapshot by that.
	if float64(p.missing) > p.merged && p.snapshots == 0 {
		t.Errorf("%d changes did not arrive at a subscriber, %v were merged", p.missing, p.merged)
	}
	if p.timeouts > 0 {
		t.Errorf("%v waits for a connection were in vain", p.timeouts)
	}
	return p
}

const pool = 5 // connections

// checkConnections sees to it that subscribers cost Redis one connection in all.
func checkConnections(ctx context.Context, t *testing.T, s *service, plain *redis.Client) (feeds int64) {
	t.Helper()
	feeds = servicetest.Must[map[string]int64](t)(plain.PubSubNumSub(ctx, "spool_floor2:0").Result())["spool_floor2:0"]
	if feeds != 1 {
		t.Errorf("%d connections listen to the feed", feeds)
	}
	if n := s.Metrics()["spoollock_redis_connections"]; n > pool {
		t.Errorf("the pool has %v connections, of %d", n, pool)
	}
	return feeds
}

const note = "weld 3 of 5"

// TestSubscribers has many subscribers follow the floor while it changes.
func TestSubscribers(t *testing.T) {
	ctx := scenario(t, "Many subscribers on a small pool", *loadTime+*stepTime+5*time.Minute)
	server := redistest.Start(t)
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // the test is over
	s := launch(t, server.URL, "REDIS_MAX_CONNECTIONS=5")
	testwait.Live(ctx, t, s.URL)
	measure(ctx, t, s, nil, "WARM", note, *rate, min(*stepTime, 5*time.Second))
	alone := measure(ctx, t, s, nil, "ALONE", note, *rate, *stepTime)
	c := gather(ctx, t, s, *subscribers)
	sample := follow(ctx, t, s, sampled)
	with := measure(ctx, t, s, c, "MK", note, *rate, *loadTime)
	feeds := checkConnections(ctx, t, s, plain)
	converge(ctx, t, sample, plain, "", time.Now())

	n := float64(c.size + sampled)
	printf("`REDIS_MAX_CONNECTIONS=%d`, messages merged over at most 100 ms. A change counts from", pool)
	printf("Redis' time of it, its version, to its arrival at the subscriber. Every change was")
	printf("answered and arrived; %d more subscribers kept their sets, which were Redis' in the end.\n", sampled)
	printf("| | no subscribers | %d subscribers |\n|---|---|---|", c.size)
	row := func(name, format string, of func(phase) any) {
		printf("| "+name+" | "+format+" | "+format+" |", of(alone), of(with))
	}
	row("changes", "%v", func(p phase) any { return p.changes })
	row("changes a second", "%.1f", func(p phase) any { return p.rate() })
	row("failed operations", "%v", func(p phase) any { return len(p.failures) })
	row("take, p50", "%v", func(p phase) any { return p.takeP50 })
	row("take, p99", "%v", func(p phase) any { return p.takeP99 })
	row("waits for a connection", "%v", func(p phase) any { return p.waits })
	row("such waits in vain", "%v", func(p phase) any { return p.timeouts })
	row("round trips to Redis a second", "%.1f", func(p phase) any { return p.trips / p.lasted.Seconds() })
	row("messages to subscribers a second", "%.0f", func(p phase) any { return p.messages / p.lasted.Seconds() })
	row("cores of the service", "%.2f", func(p phase) any { return p.cpu })
	row("cores of load and subscribers", "%.2f", func(p phase) any { return p.ownCPU })
	row("memory of the service, MB", "%.0f", func(p phase) any { return p.memory / megabyte })
	printf("\nConnections of Redis that listen to the feed: %d.", feeds)
	printf("Of one subscriber: %.0f KB of memory, %.2f ms of CPU a second.\n", (with.memory-alone.memory)/n/1024, (with.cpu-alone.cpu)/n*1000)
	printf("Arrivals: p50 %v, p99 %v. A change has reached all: p50 %v, p99 %v, %s.", with.reached.toEach(.5), with.reached.toEach(.99),
		percentile(with.reached.toAll(), .5), with.toAllP99, aim(with.toAllP99, reachAim))
}

// TestManySubscribers finds the rate that the machine carries with more subscribers. It
// begins low: far beyond the limit, neither the service nor the subscribers get to run.
func TestManySubscribers(t *testing.T) {
	rates := []int{1, 2, 3, 5, 10, 20, *rate}
	ctx := scenario(t, "As many as the machine carries", time.Duration(len(rates)+1)*(*stepTime+time.Minute)+2*time.Minute)
	server := redistest.Start(t)
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // the test is over
	s := launch(t, server.URL, "REDIS_MAX_CONNECTIONS=5")
	testwait.Live(ctx, t, s.URL)
	alone := measure(ctx, t, s, nil, "ALONE", note, *rate, *stepTime)
	c := gather(ctx, t, s, *many)
	sample := follow(ctx, t, s, sampled)
	n := float64(c.size + sampled)
	printf("%d subscribers. The load is raised until a change takes more than %v to reach all of them.\n", c.size, reachAim)
	printf("| changes a second | take p50, p99 | in vain | messages a second | arrivals p50, p99 | reached all p50, p99 | merged | cores of the service | of load and subscribers | memory, MB |\n|---|---|---|---|---|---|---|---|---|---|")
	line := func(name string, p phase) {
		printf("| %s%.1f | %v, %v | %v | %.0f | %v, %v | %v, %v | %v | %.2f | %.2f | %.0f |", name, p.rate(), p.takeP50, p.takeP99, p.timeouts, p.messages/p.lasted.Seconds(),
			p.reached.toEach(.5), p.reached.toEach(.99), percentile(p.reached.toAll(), .5), p.toAllP99, p.merged, p.cpu, p.ownCPU, p.memory/megabyte)
	}
	line("no subscribers, ", alone)
	limit, last := 0, phase{}
	for _, r := range rates {
		p := measure(ctx, t, s, c, fmt.Sprintf("MK-%d", r), note, r, *stepTime)
		converge(ctx, t, sample, plain, "", time.Now())
		line("", p)
		last = p
		if p.toAllP99 > reachAim {
			break
		}
		limit = r
	}
	printf("\nOf one subscriber, in the end: %.0f KB of memory, %.2f ms of CPU a second.", (last.memory-alone.memory)/n/1024, (last.cpu-alone.cpu)/n*1000)
	feeds := checkConnections(ctx, t, s, plain)
	printf("\nConnections of Redis that listen to the feed: %d.", feeds)
	if limit == 0 {
		printf("No rate met the aim of %v.", reachAim)
	} else {
		printf("The aim of %v is met up to %d changes a second.", reachAim, limit)
	}
}
