package redistest

import (
	"log/slog"
	"testing"
)

// Logger returns a logger that writes every level to the test's output, where
// go test -v shows it.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
