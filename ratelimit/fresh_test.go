package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"spoollock/lock"
	"spoollock/ratelimit"
)

// takeFresh takes n fresh spools, one after the other, and returns how many are let through
// and what the last one is told.
func takeFresh(spools *ratelimit.FreshSpools, ctx context.Context, n int) (let int, last *lock.RateLimitedError) { //nolint:revive // it is called like Begin
	for range n {
		end, err := spools.Begin(ctx)
		if last = nil; err != nil && !errors.As(err, &last) {
			panic(err)
		}
		if end(last == nil); last == nil {
			let++
		}
	}
	return let, last
}

// A caller can take 2,000 fresh spools in whichever 24 hours.
func TestFreshSpools(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		spools := ratelimit.NewFreshSpools(ratelimit.FreshSpoolsPerDay)
		ana := caller("93", "10.0.0.1")
		want := func(what string, ctx context.Context, n, want int, reason lock.Reason, after time.Duration) { //nolint:revive // likewise
			t.Helper()
			let, last := takeFresh(spools, ctx, n)
			if let != want || (last == nil) != (reason == "") || last != nil && (last.Reason != reason || last.RetryAfter != after) {
				t.Errorf("%s: %d of %d are let through, and the last one is told %+v; want %d", what, let, n, last, want)
			}
		}
		time.Sleep(90 * time.Minute)
		want("in the second hour", ana, 1500, 1500, "", 0)
		time.Sleep(20 * time.Hour)
		want("20 hours later", ana, 501, 500, lock.ReasonIdentity, 4*time.Hour+30*time.Minute)
		want("from another address", caller("93", "10.0.0.2"), 1, 0, lock.ReasonIdentity, 4*time.Hour+30*time.Minute)
		want("another one", caller("94", "10.0.0.1"), 2001, 2000, lock.ReasonIdentity, 24*time.Hour+30*time.Minute)
		want("anonymous", caller("", "10.0.0.1"), 2001, 2000, lock.ReasonAddress, 24*time.Hour+30*time.Minute)
		want("of another address", caller("", "10.0.0.2"), 2000, 2000, "", 0)
		want("the program itself", context.Background(), 3000, 3000, "", 0)
		time.Sleep(4*time.Hour + 30*time.Minute - time.Nanosecond)
		want("24 hours later, but in the same hour", ana, 1, 0, lock.ReasonIdentity, time.Nanosecond)
		time.Sleep(time.Nanosecond)
		want("then", ana, 1501, 1500, lock.ReasonIdentity, 20*time.Hour)
		time.Sleep(1000 * time.Hour)
		want("weeks later", ana, 2001, 2000, lock.ReasonIdentity, 25*time.Hour)
	})
}

// The rule holds for each stretch of 24 hours, however the takes are spread.
func TestFreshSpoolsInEachDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 10
		spools := ratelimit.NewFreshSpools(limit)
		var taken []time.Time
		for begun := time.Now(); time.Since(begun) < 200*time.Hour; time.Sleep(7 * time.Minute) {
			let, last := takeFresh(spools, caller("93", ""), 1)
			if let == 1 {
				taken = append(taken, time.Now())
				if first := len(taken) - limit - 1; first >= 0 && time.Since(taken[first]) < 24*time.Hour {
					t.Fatalf("the last %d are of %v", limit+1, time.Since(taken[first]))
				}
			} else if last.RetryAfter <= 0 || last.RetryAfter > 25*time.Hour {
				t.Fatalf("the wait is %v", last.RetryAfter)
			}
		}
		if len(taken) < 8*limit {
			t.Errorf("%d were taken", len(taken))
		}
	})
}

// What is under way counts, and no longer if its spool was known before.
func TestFreshSpoolsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		spools := ratelimit.NewFreshSpools(5)
		ana := caller("93", "")
		var ends []func(bool)
		for i := range 8 {
			end, err := spools.Begin(ana)
			if limited := (*lock.RateLimitedError)(nil); errors.As(err, &limited) != (i >= 5) || limited != nil && limited.RetryAfter != time.Second {
				t.Errorf("the take %d is told %v", i, err)
			}
			ends = append(ends, end)
		}
		for i, end := range ends {
			end(i == 0)
		}
		if let, _ := takeFresh(spools, ana, 10); let != 4 {
			t.Errorf("%d are let through", let)
		}
		// One beyond the limit counts too, if it was fresh after all.
		time.Sleep(25 * time.Hour)
		_, _ = takeFresh(spools, ana, 5)
		end, err := spools.Begin(ana)
		if end(true); err == nil {
			t.Error("one beyond the limit is let through")
		}
		time.Sleep(24 * time.Hour)
		_, last := takeFresh(spools, ana, 1)
		if last == nil {
			t.Error("one is let through within 24 hours of six")
		}
	})
}

// A take counts from its end on, so that 24 hours are over for the spool, too.
func TestFreshSpoolOfALongTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		spools := ratelimit.NewFreshSpools(1)
		ana := caller("93", "")
		end, err := spools.Begin(ana)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		end(true)
		if _, last := takeFresh(spools, ana, 1); last == nil || last.RetryAfter != 25*time.Hour {
			t.Errorf("the next one is told %+v", last)
		}
	})
}

// A caller is remembered next to ten thousand others.
func TestFreshSpoolsOfMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		spools := ratelimit.NewFreshSpools(1)
		for range 2 {
			for i := range 10_000 {
				_, _ = takeFresh(spools, caller(fmt.Sprint("w", i), ""), 1)
			}
		}
		if let, _ := takeFresh(spools, caller("w0", ""), 1); let != 0 {
			t.Error("the first one is forgotten too early")
		}
		_, _ = takeFresh(spools, caller("another", ""), 1)
		if let, _ := takeFresh(spools, caller("w1", ""), 1); let != 1 {
			t.Error("the one that came least recently is not forgotten")
		}
	})
}
