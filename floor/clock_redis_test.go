package floor_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// awaitRemaining waits until the view lists the tags, each with the time that Redis says remains,
// as of the time of Redis.
func (p *process) awaitRemaining(ctx context.Context, clientOf func(tag string) *redis.Client, tags ...string) {
	p.t.Helper()
	const near = 5 * time.Second
	said := ""
	defer func() {
		if p.t.Failed() {
			p.t.Log(said)
		}
	}()
	testwait.Until(p.t, fmt.Sprintf("the view tells what remains of %q", tags), func() bool {
		page, err := p.view.List(floor.Filter{}, 50, "")
		said = fmt.Sprintf("the view lists %+v, %v", page, err)
		if err != nil || len(page.Locks) != len(tags) {
			return false
		}
		asOfOne := false // of several servers, the one that is behind
		for i, l := range page.Locks {
			client := clientOf(tags[i])
			lives, err := client.PTTL(ctx, "spool_lock:"+tags[i]).Result()
			now, err2 := client.Time(ctx).Result()
			if err != nil || err2 != nil {
				p.t.Fatal(err, err2)
			}
			asOfOne = asOfOne || now.Sub(page.AsOf).Abs() < near
			if string(l.Tag) != tags[i] || (l.Remaining-lives).Abs() > near {
				return false
			}
		}
		return asOfOne
	})
}

// Beats that are under way for seconds are no clock that was set, and have nothing rebuilt.
func TestSlowBeats(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr, nil)
	start(t, server.URL, seldom) // its beats keep the feed of the other from silence
	p := start(t, proxy.URL, seldom)
	p.awaitLive()
	before := p.view.Status()
	awaitBeats := func(n int) {
		t.Helper()
		last := p.view.Status().AsOf
		testwait.Until(t, "beats come back", func() bool {
			if asOf := p.view.Status().AsOf; !asOf.Equal(last) {
				last = asOf
				n--
			}
			return n == 0
		})
	}
	awaitBeats(1)
	proxy.Delay(2500 * time.Millisecond)
	awaitBeats(4)
	proxy.Delay(0)
	awaitBeats(4)
	if after := p.view.Status(); after.ClocksSet != 0 || after.Rebuilds != before.Rebuilds {
		t.Errorf("clocks were set %d times, and there were %d rebuilds after %d", after.ClocksSet, after.Rebuilds, before.Rebuilds)
	}
}

// A Redis that hangs for seconds has the clock that it had.
func TestHangingRedisHasItsClock(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, seldom)
	for range 2 {
		p.awaitLive()
		server.Pause()
		testwait.Until(t, "the view is not live", func() bool { return !p.view.Status().Live })
		server.Resume()
	}
	p.awaitLive()
	asOf := p.view.Status().AsOf
	testwait.Until(t, "beats come back", func() bool { return p.view.Status().AsOf.After(asOf.Add(3 * time.Second)) })
	if n := p.view.Status().ClocksSet; n != 0 {
		t.Errorf("clocks were set %d times", n)
	}
}

// A Redis that comes back with another clock is believed, about another program's locks, too.
func TestRedisIsBackWithAnotherClock(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Clock, "--appendonly", "yes", "--appendfsync", "always")
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	if err := client.Set(ctx, "spool_lock: MK-1", "94:5d1f8c52-7a6e-4d0b-9b0e-0a4c1f3e2d11", 3*time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	p := start(t, server.URL, seldom)
	p.awaitLive()
	p.take("MK-2", 3*time.Hour)
	only := func(string) *redis.Client { return client }
	p.awaitRemaining(ctx, only, " MK-1", "MK-2")
	for _, offset := range []time.Duration{-time.Hour, time.Hour} {
		server.Kill()
		server.MoveClock(offset)
		server.Restart() //nolint:contextcheck // a server lives as long as the test
		testwait.Until(t, "Redis answers", func() bool { return client.Ping(ctx).Err() == nil })
		p.awaitRemaining(ctx, only, " MK-1", "MK-2")
	}
}

// The masters of a Cluster have clocks of their own, of which one is set.
func TestClockOfOneMasterIsSet(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, redistest.Clock, "--cluster-node-timeout", "60000")
	ctx := testwait.Context(t)
	p := start(t, cluster.URL, seldom)
	p.awaitLive()
	clients := map[string]*redis.Client{}
	var tags []string
	for i := range 9 {
		tag := fmt.Sprintf("MK-%d", i)
		p.take(tag, time.Hour)
		client := cluster.MasterOf("spool_lock:" + tag).Client()
		defer client.Close() //nolint:errcheck // the test is over
		tags, clients[tag] = append(tags, tag), client
	}
	of := func(tag string) *redis.Client { return clients[tag] }
	p.awaitRemaining(ctx, of, tags...)
	// By less than what the masters take for dead.
	for _, offset := range []time.Duration{20 * time.Second, -20 * time.Second, 0} {
		before := p.view.Status().ClocksSet
		cluster.MasterOf("spool_lock:MK-0").MoveClock(offset)
		testwait.Until(t, "the clock is known to be set", func() bool { return p.view.Status().ClocksSet > before })
		p.awaitRemaining(ctx, of, tags...)
	}
}

// A replica that takes over from a master of a Cluster brings its own clock.
func TestReplicaWithAnotherClockTakesOver(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, redistest.Clock, "--cluster-node-timeout", "60000")
	ctx := testwait.Context(t)
	p := start(t, cluster.URL, seldom)
	p.awaitLive()
	p.take("MK-0", time.Hour)
	master := cluster.MasterOf("spool_lock:MK-0")
	next := cluster.ReplicaOf(master)
	next.MoveClock(-20 * time.Second)
	client := next.Client()
	defer client.Close() //nolint:errcheck // the test is over
	if took := cluster.Failover(master); took != next {
		t.Fatalf("%s takes over, want %s", took.Addr, next.Addr)
	}
	p.awaitRemaining(ctx, func(string) *redis.Client { return client }, "MK-0")
}
