package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"spoollock/lock"
	"spoollock/ratelimit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func caller(worker, address string) context.Context {
	c := lock.Caller{Worker: lock.Worker{ID: lock.WorkerID(worker)}}
	if address != "" {
		c.Address = netip.MustParseAddr(address)
	}
	return lock.WithCaller(context.Background(), c)
}

// admitted is how many of n are let through, and what the last one is told.
func admitted(limiter *ratelimit.Limiter, ctx context.Context, n int) (let int, last *lock.RateLimitedError) { //nolint:revive // it is called like Admit
	for range n {
		last = nil
		if err := limiter.Admit(ctx); err == nil {
			let++
		} else if !errors.As(err, &last) {
			panic(err)
		}
	}
	return let, last
}

// Who asks for too much is told when to come back, and gets what comes to them by then.
func TestRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 20, PerAddress: 200})
		want := func(what string, ctx context.Context, n, want int, reason lock.Reason, after time.Duration) { //nolint:revive // likewise
			t.Helper()
			let, last := admitted(limiter, ctx, n)
			if let != want || (last == nil) != (reason == "") || last != nil && (last.Reason != reason || last.RetryAfter != after) {
				t.Errorf("%s: %d of %d are let through, and the last one is told %+v; want %d", what, let, n, last, want)
			}
		}
		ana := caller("93", "10.0.0.1")
		want("at once", ana, 500, 40, lock.ReasonIdentity, 50*time.Millisecond)
		want("another one of the address", caller("94", "10.0.0.1"), 40, 40, "", 0)
		time.Sleep(25 * time.Millisecond)
		want("too early", ana, 1, 0, lock.ReasonIdentity, 25*time.Millisecond)
		time.Sleep(25 * time.Millisecond)
		want("a moment later", ana, 2, 1, lock.ReasonIdentity, 50*time.Millisecond)
		time.Sleep(time.Second)
		want("a second later", ana, 500, 20, lock.ReasonIdentity, 50*time.Millisecond)
		time.Sleep(time.Hour)
		want("an hour later", ana, 500, 40, lock.ReasonIdentity, 50*time.Millisecond)
		want("from another address", caller("93", "10.0.0.2"), 1, 0, lock.ReasonIdentity, 50*time.Millisecond)
		want("nobody knows who, of the same address", caller("", "10.0.0.1"), 500, 360, lock.ReasonAddress, 5*time.Millisecond)
		want("of another address", caller("", "10.0.0.2"), 500, 400, lock.ReasonAddress, 5*time.Millisecond)
		want("nobody knows who or from where", context.Background(), 1000, 1000, "", 0)
		// What an address refuses is not taken from the identity.
		want("an address that has none left", caller("95", "10.0.0.2"), 30, 0, lock.ReasonAddress, 5*time.Millisecond)
		want("from an address that has some", caller("95", "10.0.0.3"), 500, 40, lock.ReasonIdentity, 50*time.Millisecond)
	})
}

// A caller is remembered beside ten thousand others, and no more than those.
func TestManyIdentities(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1})
		_, _ = admitted(limiter, caller("93", ""), 2)
		others := func(from, to int) {
			for i := from; i < to; i++ {
				if let, _ := admitted(limiter, caller(fmt.Sprint("w", i), ""), 3); let != 2 {
					t.Fatalf("of the worker %d, %d are let through", i, let)
				}
			}
		}
		others(0, 9_999)
		if let, _ := admitted(limiter, caller("93", ""), 1); let != 0 {
			t.Error("the first one is forgotten too early")
		}
		others(9_999, 19_999)
		if let, _ := admitted(limiter, caller("93", ""), 1); let != 1 {
			t.Error("the first one is not forgotten")
		}
	})
}

func TestTally(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1})
		ctx, tally := ratelimit.WithTally(caller("93", ""))
		if wait, all := tally.Refused(); all {
			t.Errorf("of none, all are refused for %v", wait)
		}
		_, _ = admitted(limiter, ctx, 3)
		if wait, all := tally.Refused(); all {
			t.Errorf("of three, all are refused for %v", wait)
		}
		ctx, tally = ratelimit.WithTally(caller("93", ""))
		_, _ = admitted(limiter, ctx, 1)
		if wait, all := tally.Refused(); !all || wait != time.Second {
			t.Errorf("of one too many, all are refused: %t, for %v", all, wait)
		}
	})
}

// shared is a bucket of each name that all processes draw on.
type shared struct {
	mu   sync.Mutex
	full map[string]time.Time // when it will be
}

func (s *shared) draw(_ context.Context, drawn map[string]int, perSecond, most int) (map[string]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := map[string]int{}
	for name, units := range drawn {
		now := time.Now()
		if s.full[name].Before(now) {
			s.full[name] = now
		}
		s.full[name] = s.full[name].Add(time.Duration(units) * time.Second / time.Duration(perSecond))
		left[name] = most - int(s.full[name].Sub(now)*time.Duration(perSecond)/time.Second)
	}
	return left, nil
}

// runSharing has the limiter share until the end of the test.
func runSharing(t *testing.T, limiter *ratelimit.Limiter, log *slog.Logger) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go limiter.RunSharing(ctx, log)
}

// Two processes share what a caller may ask for: each can have a burst through at first,
// and what comes in the time is one's.
func TestSharedRates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const perSecond, seconds = 10, 60
		redis := shared{full: map[string]time.Time{}}
		var processes []*ratelimit.Limiter
		for range 2 {
			process := ratelimit.New(ratelimit.Config{PerIdentity: perSecond, PerAddress: perSecond, DrawShared: redis.draw})
			runSharing(t, process, slog.New(slog.DiscardHandler))
			processes = append(processes, process)
		}
		for _, who := range []context.Context{caller("93", ""), caller("", "10.0.0.1")} {
			let := 0
			for begun := time.Now(); time.Since(begun) < seconds*time.Second; time.Sleep(10 * time.Millisecond) {
				for _, process := range processes {
					n, _ := admitted(process, who, 5)
					let += n
				}
			}
			if most := 2*2*perSecond + perSecond*seconds; let < perSecond*seconds || let > most {
				t.Errorf("%d are let through, of %d to %d", let, perSecond*seconds, most)
			}
		}
	})
}

// While the rates cannot be shared, each process bounds its own, and says so once.
func TestRatesThatCannotBeShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Bool
		fails.Store(true)
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 10, PerAddress: 10, DrawShared: func(
			_ context.Context, drawn map[string]int, perSecond, most int,
		) (map[string]int, error) {
			if fails.Load() {
				return nil, errors.New("away")
			}
			left := map[string]int{}
			for name, units := range drawn {
				left[name] = most - units - 2*perSecond // others have drawn as well
			}
			return left, nil
		}})
		var records atomic.Int64
		runSharing(t, limiter, slog.New(counter{slog.DiscardHandler, &records}))
		for range 3 {
			if let, _ := admitted(limiter, caller("93", ""), 100); let != 20 {
				t.Errorf("%d are let through", let)
			}
			time.Sleep(2 * time.Second)
		}
		if records.Load() != 1 {
			t.Errorf("the log says so %d times", records.Load())
		}
		fails.Store(false)
		if let, _ := admitted(limiter, caller("93", ""), 100); let != 20 {
			t.Errorf("%d are let through", let)
		}
		time.Sleep(2 * time.Second) // it has 18 or so that others have drawn
		if let, last := admitted(limiter, caller("93", ""), 100); let != 0 || last.RetryAfter < 100*time.Millisecond {
			t.Errorf("%d are let through, and the last is told %v", let, last)
		}
	})
}

// A number in Redis that somebody damaged is no end of waiting, for nobody.
func TestDamagedShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 10, PerAddress: 10, DrawShared: func(
			context.Context, map[string]int, int, int,
		) (map[string]int, error) {
			return map[string]int{"identity:93": -1 << 62}, nil
		}})
		runSharing(t, limiter, slog.New(slog.DiscardHandler))
		_, _ = admitted(limiter, caller("93", ""), 1)
		time.Sleep(time.Second)
		if let, last := admitted(limiter, caller("93", ""), 1); let != 0 || last.RetryAfter > 21*time.Second {
			t.Errorf("%d are let through, and the last is told %+v", let, last)
		}
		if let, _ := admitted(limiter, caller("94", ""), 1); let != 1 {
			t.Error("another one waits, too")
		}
		time.Sleep(21 * time.Second)
		if let, _ := admitted(limiter, caller("93", ""), 1); let != 1 {
			t.Error("it is not let through when it should be")
		}
	})
}

// While some can be shared and some cannot, the log says so once in a while.
func TestRatesOfWhichSomeCannotBeShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 1000, PerAddress: 1000, DrawShared: func(
			_ context.Context, drawn map[string]int, _, _ int,
		) (map[string]int, error) {
			if drawn["identity:93"] > 0 {
				return nil, errors.New("away")
			}
			return nil, nil
		}})
		var records atomic.Int64
		runSharing(t, limiter, slog.New(counter{slog.DiscardHandler, &records}))
		for range 40 {
			_, _ = admitted(limiter, caller("93", "10.0.0.1"), 1)
			time.Sleep(250 * time.Millisecond)
		}
		if records.Load() != 1 {
			t.Errorf("in ten seconds, the log says so %d times", records.Load())
		}
	})
}

// Of IPv6, one subscriber has a whole network.
func TestNetworks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 10})
		for address, want := range map[string]int{"2001:db8::1": 20, "2001:db8:0:1::1": 20, "::ffff:10.0.0.1": 20} {
			if let, _ := admitted(limiter, caller("", address), 100); let != want {
				t.Errorf("of %s, %d are let through", address, let)
			}
		}
		if let, _ := admitted(limiter, caller("", "2001:db8::ffff"), 100); let != 0 {
			t.Errorf("of another address of a network, %d are let through", let)
		}
	})
}

// counter counts records.
type counter struct {
	slog.Handler
	records *atomic.Int64
}

func (c counter) Enabled(context.Context, slog.Level) bool { return true }

func (c counter) Handle(context.Context, slog.Record) error {
	c.records.Add(1)
	return nil
}
