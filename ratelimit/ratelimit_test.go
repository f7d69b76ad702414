package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"spoollock/lock"
	"spoollock/ratelimit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func caller(worker, address string) context.Context {
	c := lock.Caller{Worker: lock.Worker{ID: lock.WorkerID(worker)}, Address: lock.ParseAddress(address)}
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
		want("the program itself", context.Background(), 1000, 1000, "", 0)
		// What an address refuses is not taken from the identity.
		want("an address that has none left", caller("95", "10.0.0.2"), 30, 0, lock.ReasonAddress, 5*time.Millisecond)
		want("from an address that has some", caller("95", "10.0.0.3"), 500, 40, lock.ReasonIdentity, 50*time.Millisecond)
	})
}

// A caller is remembered beside ten thousand others, and no more than those.
func TestManyIdentities(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1 << 20})
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

// Callers whose addresses are unknown are those of one address.
func TestUnknownAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: 100, PerAddress: 10})
		let, last := admitted(limiter, caller("", "garbage"), 100)
		if let != 20 || last == nil || last.Reason != lock.ReasonAddress {
			t.Errorf("%d are let through, and the last one is told %+v", let, last)
		}
		if let, _ := admitted(limiter, caller("93", "unix:"), 100); let != 0 {
			t.Errorf("of another one, %d are let through", let)
		}
		if let, _ := admitted(limiter, caller("93", "10.0.0.1"), 100); let != 20 {
			t.Errorf("of an address, %d are let through", let)
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
