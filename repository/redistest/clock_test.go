package redistest_test

import (
	"testing"
	"time"

	"spoollock/repository/redistest"
)

func TestAClockMoves(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Clock, "--appendonly", "yes")
	client := connect(t, server)
	must(t, client.Set(t.Context(), "lapses", 1, time.Hour).Err())
	must(t, client.Set(t.Context(), "stays", 1, 3*time.Hour).Err())
	wantTTL := func(key string, want time.Duration) {
		t.Helper()
		ttl, err := client.PTTL(t.Context(), key).Result()
		must(t, err)
		if (ttl - want).Abs() > time.Minute {
			t.Errorf("%s has %v to live, want %v", key, ttl, want)
		}
	}
	server.MoveClock(-90*time.Minute - 250*time.Millisecond)
	wantTTL("lapses", 150*time.Minute)
	server.MoveClock(2 * time.Hour)
	wantTTL("lapses", -2)
	wantTTL("stays", time.Hour)
	server.Kill()
	server.Restart()
	wantTTL("stays", time.Hour)
	server.MoveClock(0)
	wantTTL("stays", 3*time.Hour)
}
