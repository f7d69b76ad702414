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

// What a request asks for as a whole is let through as a whole, or not at all, and not more
// often than its units allow. More than a full bucket is as much as a full one.
func TestUnits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{Name: "queries", PerIdentity: 50, PerAddress: 60})
		want := func(what string, ctx context.Context, units int, reason lock.Reason, after time.Duration) { //nolint:revive // it is called like AdmitUnits
			t.Helper()
			var refused *lock.RateLimitedError
			if err := limiter.AdmitUnits(ctx, units); err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			if (refused == nil) != (reason == "") || refused != nil && (refused.Reason != reason || refused.RetryAfter != after || refused.Kind != "queries") {
				t.Errorf("%s: %d units are told %+v, want %q after %v", what, units, refused, reason, after)
			}
		}
		ana, ben := caller("93", "10.0.0.1"), caller("94", "10.0.0.1")
		want("nothing", ana, 0, "", 0)
		want("at first", ana, 84, "", 0)
		want("at once", ana, 84, lock.ReasonIdentity, 1360*time.Millisecond)
		want("less", ana, 16, "", 0)
		want("nothing of an empty bucket", ana, 0, "", 0)
		want("another one of the address", ben, 21, lock.ReasonAddress, time.Second/60)
		want("what the address has left", ben, 20, "", 0)
		time.Sleep(2 * time.Second)
		want("more than a bucket has", ana, 1000, "", 0)
		want("which emptied it", ana, 1, lock.ReasonIdentity, 20*time.Millisecond)
		want("the program itself", context.Background(), 1000, "", 0)
		want("the program itself, again", context.Background(), 1000, "", 0)

		ctx, tally := ratelimit.WithTally(ana)
		want("a request's query", ctx, 50, lock.ReasonIdentity, time.Second)
		if wait, all := tally.Refused(); !all || wait != time.Second {
			t.Errorf("all of the request is refused: %t, for %v", all, wait)
		}
		ctx, tally = ratelimit.WithTally(caller("95", "10.0.0.2"))
		want("before the changes", ctx, 2, "", 0)
		if let, _ := admitted(ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1}), ctx, 3); let != 2 {
			t.Errorf("%d changes are let through", let)
		}
		if wait, all := tally.Refused(); all {
			t.Errorf("of a request of which something was done, all is refused for %v", wait)
		}
	})
}

// A request whose query is let through and whose changes are not is refused.
func TestUnitsAreNoChanges(t *testing.T) {
	t.Parallel()
	ctx, tally := ratelimit.WithTally(caller("93", "10.0.0.1"))
	changes := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1})
	for range 3 {
		_ = changes.Admit(caller("93", "10.0.0.1"))
	}
	if err := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1}).AdmitUnits(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if let, _ := admitted(changes, ctx, 1); let != 0 {
		t.Fatal("a change is let through")
	}
	if _, all := tally.Refused(); !all {
		t.Error("the request is not refused as a whole")
	}
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
