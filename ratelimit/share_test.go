package ratelimit_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spoollock/ratelimit"
)

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

// Two limiters of different names live side by side: they share nothing, here or in
// Redis, and their messages say what each of them limits.
func TestLimitersOfTwoNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		redis := shared{full: map[string]time.Time{}}
		for name, want := range map[string]struct{ key, identity, address string }{
			"": {
				"identity:93",
				"the caller has asked for too many changes",
				"too many changes were asked for from the caller's address",
			},
			"queries": {
				"queries:identity:93",
				"the caller has asked for too many queries",
				"too many queries were asked for from the caller's address",
			},
		} {
			limiter := ratelimit.New(ratelimit.Config{Name: name, PerIdentity: 1, PerAddress: 1, DrawShared: redis.draw})
			runSharing(t, limiter, slog.New(slog.DiscardHandler))
			for ctx, message := range map[context.Context]string{caller("93", ""): want.identity, caller("", "10.0.0.1"): want.address} {
				if let, last := admitted(limiter, ctx, 3); let != 2 || last == nil || last.Error() != message {
					t.Errorf("%q: %d of 3 are let through, and the last one is told %q; want 2, and %q", name, let, last, message)
				}
			}
			time.Sleep(time.Second)
			redis.mu.Lock()
			if redis.full[want.key].IsZero() {
				t.Errorf("%q: %s is not shared, but %v", name, want.key, redis.full)
			}
			redis.mu.Unlock()
		}
	})
}
