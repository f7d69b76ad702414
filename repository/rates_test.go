package repository_test

import (
	"fmt"
	"testing"
	"time"

	"spoollock/redisurl"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// A bucket is full at first, loses what is drawn by whomever, even more than it has, and
// is filled again in time. Redis forgets it when it is full.
func TestDraw(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	embedded := open(t, redisurl.EmbeddedText)
	for name, processes := range map[string][2]*repository.Redis{
		"embedded": {embedded, embedded}, // another one would have another Redis
		"real":     {open(t, server.URL), open(t, server.URL)},
	} {
		t.Run(name, func(t *testing.T) {
			draw := func(process, units, want int) {
				t.Helper()
				left, err := processes[process].Draw(t.Context(), map[string]int{"slow": units, "other": 0}, 1, 1000)
				// It gets one in a second, so some more may be left on a slow machine.
				if err != nil || left["slow"] < want || left["slow"] > want+100 || left["other"] != 1000 {
					t.Errorf("left are %v, %v; want %d", left, err, want)
				}
			}
			draw(0, 1, 999)
			draw(1, 500, 499)
			draw(0, 1000, -501)
			testwait.Until(t, "the bucket is full", func() bool {
				left, err := processes[0].Draw(t.Context(), map[string]int{"fast": 0}, 1000, 1000)
				if err != nil {
					t.Fatalf("left are %v, %v", left, err)
				}
				return left["fast"] == 1000
			})
		})
	}
	for _, damaged := range []string{"x", "nan", "inf", "-inf", "1e18", "-1e300", "99999999999999", "99999999999999 99999999999999", "0 99999999999999"} {
		if err := client.Set(t.Context(), "spool_rate:damaged", damaged, 0).Err(); err != nil {
			t.Fatal(err)
		}
		left, err := open(t, server.URL).Draw(t.Context(), map[string]int{"damaged": 1}, 1000, 1000)
		if err != nil || left["damaged"] < -10_000 || left["damaged"] > 999 {
			t.Errorf("of %s, left are %v, %v", damaged, left, err)
		}
		if lives, err := client.PTTL(t.Context(), "spool_rate:damaged").Result(); err != nil || lives > 11*time.Second {
			t.Errorf("%s stays for %v, %v", damaged, lives, err)
		}
	}
	if err := client.LPush(t.Context(), "spool_rate:list", "x").Err(); err != nil {
		t.Fatal(err)
	}
	if left, err := open(t, server.URL).Draw(t.Context(), map[string]int{"list": 1}, 1, 1000); err != nil || left["list"] != 999 {
		t.Errorf("of a list, left are %v, %v", left, err)
	}
	testwait.Until(t, "full buckets are gone", func() bool {
		if left, err := client.PTTL(t.Context(), "spool_rate:slow").Result(); err != nil || left < time.Second || left > 1501*time.Second {
			t.Fatalf("a bucket that is not full stays for %v, %v", left, err)
		}
		n, err := client.Exists(t.Context(), "spool_rate:fast", "spool_rate:other").Result()
		return err == nil && n == 0
	})
}

// drawEverywhere sees that the buckets of a Cluster can be on any of its masters.
func drawEverywhere(t *testing.T, store *repository.Redis) {
	t.Helper()
	drawn := map[string]int{}
	for i := range 50 {
		drawn[fmt.Sprint("identity:", i)] = 1
	}
	left, err := store.Draw(t.Context(), drawn, 1, 1000)
	if err != nil || len(left) != len(drawn) {
		t.Fatalf("left are %v, %v", left, err)
	}
	for name, units := range left {
		if units < 999 {
			t.Errorf("of %s, %d are left", name, units)
		}
	}
}

// A clock that is set neither empties a bucket nor fills it, unless time seems to have passed.
func TestDrawWhenTheClockIsSet(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Clock)
	store := open(t, server.URL)
	const perSecond, most = 10, 1000
	want := func(units, want int) {
		t.Helper()
		left, err := store.Draw(t.Context(), map[string]int{"bucket": units}, perSecond, most)
		// Some more may be left on a slow machine.
		if err != nil || left["bucket"] < want || left["bucket"] > want+most/4 {
			t.Errorf("left are %v, %v; want %d", left, err, want)
		}
	}
	want(500, 500)
	server.MoveClock(-time.Hour)
	want(0, 500) // also if nothing was drawn since
	want(100, 400)
	server.MoveClock(0)
	want(1, most-1)
	server.MoveClock(70 * 365 * 24 * time.Hour)
	want(most, 0)
	server.MoveClock(0)
	testwait.Until(t, "an empty bucket is filled again", func() bool {
		left, err := store.Draw(t.Context(), map[string]int{"bucket": 0}, perSecond, most)
		if err != nil || left["bucket"] < 0 {
			t.Fatalf("left are %v, %v", left, err)
		}
		return left["bucket"] > 0
	})
}
