//go:build faults

package faults_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/faults"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
)

// system is the Redis of a run, what can break, and the processes of ours in front.
type system struct {
	urls     []string // of Redis, for each process of ours
	env      []string // of these
	services []*servicetest.Service
	plain    []*redis.Client // of every server that may have locks
	foreign  carry           // nil: no other program
	bounds   faults.Bounds
	breaks   []fault
	mayLose  bool // locks that were acknowledged, in a failover
}

// fault breaks something; heal mends it, and returns when the servers are right again.
type fault struct {
	name    string
	inDoubt bool // a failover may come of it
	begin   func() (heal func())
}

// seeded is a source of chances that come again with the seed.
func seeded(seed, stream int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(seed), uint64(stream))) //nolint:gosec // no secrets are made of it
}

// nemesis breaks one thing after the other.
type nemesis struct {
	breaks []fault
	random *rand.Rand
	log    io.Writer

	left   []fault // before all of them come again
	struck map[string]int
	doubts [][2]int64 // ns, between which a failover may have lost something
}

// strike breaks something for a while, after another while.
func (n *nemesis) strike(ctx context.Context) {
	during(ctx, time.Duration(200+n.random.IntN(800))*time.Millisecond)
	if len(n.left) == 0 {
		n.left = slices.Clone(n.breaks)
		n.random.Shuffle(len(n.left), func(i, j int) { n.left[i], n.left[j] = n.left[j], n.left[i] })
	}
	fault := n.left[0]
	n.left = n.left[1:]
	n.struck[fault.name]++
	begun := time.Now()
	_, _ = fmt.Fprintf(n.log, "%s %s\n", begun.Format(time.RFC3339Nano), fault.name)
	heal := fault.begin()
	during(ctx, time.Duration(300+n.random.IntN(1700))*time.Millisecond)
	heal()
	healed := time.Now()
	_, _ = fmt.Fprintf(n.log, "%s healed: %s\n", healed.Format(time.RFC3339Nano), fault.name)
	if fault.inDoubt {
		// Before it, something was answered that was yet to be replicated.
		n.doubts = append(n.doubts, [2]int64{begun.Add(-time.Second).UnixNano(), healed.Add(time.Second).UnixNano()})
	}
}

// mark marks what is in doubt.
func (n *nemesis) mark(history []*faults.Operation) {
	for _, o := range history {
		o.InDoubt = slices.ContainsFunc(n.doubts, func(doubt [2]int64) bool { return o.Call < doubt[1] && doubt[0] < o.Return })
	}
}

// setups build a system without its services.
var setups = map[string]func(t *testing.T, random *rand.Rand) *system{
	"clock":      clock,
	"standalone": func(t *testing.T, random *rand.Rand) *system { s, _ := standalone(t, random); return s },
}

// operationTimeout is the deadline of our processes' operations.
const operationTimeout = time.Second

// launch starts the processes of ours, and adds what can happen to them, but for the
// first. What they log goes to the writer.
func (s *system) launch(ctx context.Context, t *testing.T, random *rand.Rand, log io.Writer) {
	t.Helper()
	env := append([]string{fmt.Sprintf("REDIS_OPERATION_TIMEOUT_MS=%d", operationTimeout.Milliseconds()), "FLOOR_REBUILD_SECONDS=2"}, s.env...)
	for _, url := range s.urls {
		s.services = append(s.services, servicetest.Launch(ctx, t, binary, url, redistest.NewLogTo(log), env...))
	}
	for _, service := range s.services {
		service.AwaitLive(ctx)
	}
	one := func() *servicetest.Service { return s.services[1+random.IntN(len(s.services)-1)] }
	s.breaks = append(s.breaks,
		fault{"a process of ours is killed", false, func() func() {
			service := one()
			service.Kill()
			return func() { service.Restart(ctx) }
		}},
		fault{"a process of ours is stopped", false, func() func() {
			service := one()
			service.Signal(syscall.SIGSTOP)
			return func() { service.Signal(syscall.SIGCONT) }
		}},
	)
}

// breakConnections adds what can happen between us and Redis.
func (s *system) breakConnections(random *rand.Rand, proxies []*redistest.Proxy) {
	one := func() *redistest.Proxy { return proxies[random.IntN(len(proxies))] }
	s.breaks = append(s.breaks,
		fault{"connections are cut", false, func() func() {
			proxy := one()
			proxy.Cut()
			return proxy.Mend
		}},
		fault{"requests are late", false, func() func() {
			proxy := one()
			proxy.Delay(time.Duration(50+random.IntN(800)) * time.Millisecond)
			return func() { proxy.Delay(0) }
		}},
		fault{"replies are dropped", false, func() func() {
			var replies atomic.Int64
			nth := 2 + random.Int64N(20)
			for _, proxy := range proxies {
				proxy.DropReplies(func([]byte) bool { return replies.Add(1)%nth == 0 })
			}
			return func() {
				for _, proxy := range proxies {
					proxy.DropReplies(nil)
				}
			}
		}},
	)
}

// standalone is one Redis that writes everything to its disk before it answers.
func standalone(t *testing.T, random *rand.Rand, options ...string) (*system, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t, append([]string{"--appendonly", "yes", "--appendfsync", "always"}, options...)...)
	plain := server.Client()
	s := &system{plain: []*redis.Client{plain}, foreign: foreign(func(string) *redis.Client { return plain })}
	var proxies []*redistest.Proxy
	for range 3 {
		proxy := redistest.StartProxy(t, server.Addr, nil)
		proxies, s.urls = append(proxies, proxy), append(s.urls, proxy.URL)
	}
	s.breakConnections(random, proxies)
	s.breaks = append(s.breaks,
		fault{"Redis is killed", false, func() func() {
			server.Kill()
			return server.Restart
		}},
		fault{"Redis is stopped", false, func() func() {
			server.Pause()
			return server.Resume
		}},
	)
	return s, server
}

// clock is a standalone Redis whose clock is set while it runs, and put right again.
func clock(t *testing.T, random *rand.Rand) *system {
	t.Helper()
	s, server := standalone(t, random, redistest.Clock)
	const most = 3000 // ms
	s.bounds = faults.Bounds{Ahead: most, Behind: most}
	s.breaks = append(s.breaks, fault{"the clock jumps", false, func() func() {
		server.MoveClock(time.Duration(random.IntN(2*most)-most) * time.Millisecond)
		return func() { server.MoveClock(0) }
	}})
	return s
}
