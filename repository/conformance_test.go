package repository_test

import (
	"log/slog"
	"testing"
	"time"

	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
)

func TestConformanceRedis(t *testing.T) {
	t.Parallel()
	locktest.Run(t, open(t, redistest.Start(t).URL))
}

func TestConformanceEmbedded(t *testing.T) {
	t.Parallel()
	locktest.Run(t, open(t, repository.EmbeddedURL))
}

func open(t testing.TB, url string) *repository.Redis {
	t.Helper()
	store, err := repository.Open(repository.Config{
		URL:            url,
		MaxConnections: 50,
		Timeout:        10 * time.Second,
		Memory:         30 * 24 * time.Hour,
	}, slog.New(slog.DiscardHandler))
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
