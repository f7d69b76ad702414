package redistest

import (
	"cmp"
	"log/slog"
	"testing"
	"time"

	"spoollock/redisurl"
	"spoollock/repository"
)

// Open opens a store on the Redis at url, which is a text as in REDIS_URL, and closes it
// when the test ends. What config leaves out is 50 connections, a timeout of 10 s and a
// memory of 30 days.
func Open(t testing.TB, url string, log *slog.Logger, config repository.Config) *repository.Redis {
	t.Helper()
	var err error
	if config.URL, err = redisurl.Parse(url); err != nil {
		t.Fatal(err)
	}
	config.MaxConnections = cmp.Or(config.MaxConnections, 50)
	config.Timeout = cmp.Or(config.Timeout, 10*time.Second)
	config.Memory = cmp.Or(config.Memory, 30*24*time.Hour)
	store, err := repository.Open(config, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
