package files

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

// Interval is how often a file is read again: a change counts within a second.
const Interval = 500 * time.Millisecond

// Latest is what a source holds that changes: a file, or what a server answers. While the
// source cannot be read or used, what was last good stays in use.
//
// One goroutine at a time offers content; any may ask for the Status.
type Latest struct {
	// Use takes content into use, or returns why it cannot be used. It is called for
	// content that differs from what was last good. Its error must not quote secrets.
	Use func(content []byte) error

	// Secret, if set, reports whether what is in use holds secrets.
	Secret func() bool

	// What the log says when other content has come into use, and when the source cannot
	// be read or used.
	Changed, Failed string

	Log *slog.Logger

	exposed string // what the log last said of the file's mode

	mu      sync.Mutex
	content []byte
	good    time.Time
	err     error
}

// Status returns when the source was last good, zero if it never was, and why it is not
// now.
func (l *Latest) Status() (good time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good, l.err
}

// Load reads a file and takes it into use. Unlike the others, it says nothing in the log of
// its error.
func (l *Latest) Load(name string) error {
	content, err := l.read(name)
	_, err = l.try(content, err)
	return err
}

// Watch reads a file again and again, until ctx is done.
func (l *Latest) Watch(ctx context.Context, name string) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.Reload(name)
		}
	}
}

// Reload offers what a file holds.
func (l *Latest) Reload(name string) { l.Offer(l.read(name)) }

// Offer takes content into use if it differs, or notes why there is none. The log says each
// change once.
func (l *Latest) Offer(content []byte, err error) {
	_, before := l.Status()
	changed, err := l.try(content, err)
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		l.Log.Error(l.Failed, "error", err)
	case err == nil && (changed || before != nil):
		l.Log.Info(l.Changed)
	}
}

func (l *Latest) try(content []byte, err error) (changed bool, failed error) {
	changed = err == nil && (l.content == nil || !bytes.Equal(content, l.content))
	if changed {
		err = l.Use(content)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err = err; err == nil {
		l.content, l.good = content, time.Now()
	}
	return changed, err
}

// read reads a file. The log warns once of what others may do with it and should not.
func (l *Latest) read(name string) ([]byte, error) {
	content, mode, err := read(name)
	if err != nil {
		return nil, err
	}
	found := exposure(mode, l.Secret != nil && l.Secret())
	if found != "" && found != l.exposed {
		l.Log.Warn(found, "file", name)
	}
	l.exposed = found
	return content, nil
}
