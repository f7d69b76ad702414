package redistest

import (
	"bytes"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Log collects what is logged, and passes it on. It may be written and read at the
// same time.
type Log struct {
	out  io.Writer
	mu   sync.Mutex
	text bytes.Buffer
}

// NewLog returns an empty log of the test, which shows it in the output of go test -v.
func NewLog(t testing.TB) *Log { return NewLogTo(t.Output()) }

// NewLogTo returns an empty log that is passed on to out.
func NewLogTo(out io.Writer) *Log { return &Log{out: out} }

// Logger returns a logger that writes every level to the log.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write implements [io.Writer].
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	return l.out.Write(p)
}

// String is what was logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Find waits until the log has a match of the pattern, and returns its last group.
func (l *Log) Find(t testing.TB, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	deadline := time.Now().Add(patience)
	for {
		if found := expression.FindStringSubmatch(l.String()); found != nil {
			return found[len(found)-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not in the log:\n%s", pattern, l)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
