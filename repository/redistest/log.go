package redistest

import (
	"bytes"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"testing"

	"spoollock/testwait"
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
	var found []string
	if !testwait.Poll(func() bool {
		found = expression.FindStringSubmatch(l.String())
		return found != nil
	}) {
		t.Fatalf("%s is not in the log:\n%s", pattern, l)
	}
	return found[len(found)-1]
}
