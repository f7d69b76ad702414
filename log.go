package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"spoollock/config"
	"spoollock/lock"
)

// A record waits at most logDelay, and logSize bytes of records at most. A write costs about
// as much as all else that a record does.
const (
	logDelay = 100 * time.Millisecond
	logSize  = 64 << 10
)

// newLogger returns a logger to w. What [lock.RecordAtOnce] names is written when the call
// returns, with all records before it. Others wait: flush writes them.
func newLogger(w io.Writer, cfg config.Config) (log *slog.Logger, flush func()) {
	buffer := &logBuffer{w: w}
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogText {
		return slog.New(logHandler{slog.NewTextHandler(buffer, options), buffer}), buffer.flush
	}
	return slog.New(logHandler{slog.NewJSONHandler(buffer, options), buffer}), buffer.flush
}

type logHandler struct {
	slog.Handler
	buffer *logBuffer
}

// Handle implements [slog.Handler].
func (h logHandler) Handle(ctx context.Context, record slog.Record) error {
	err := h.Handler.Handle(ctx, record)
	if lock.RecordAtOnce(record) {
		h.buffer.flush()
	}
	return err
}

// WithAttrs implements [slog.Handler].
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs), h.buffer}
}

// WithGroup implements [slog.Handler].
func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name), h.buffer}
}

// logBuffer holds what is written to it. While w takes it, the next writes wait: nothing is
// left out.
type logBuffer struct {
	w io.Writer

	mu      sync.Mutex
	pending []byte
	timer   *time.Timer // set when pending gets its first record
}

// Write implements [io.Writer]. It does not keep p, which is a record.
func (b *logBuffer) Write(p []byte) (int, error) {
	n := len(p)
	p = escapeInvisible(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending)+len(p) > logSize {
		b.writePending()
	}
	if len(p) > logSize {
		_, err := b.w.Write(p)
		return n, err
	}
	switch {
	case b.timer == nil:
		b.timer = time.AfterFunc(logDelay, b.flush)
	case len(b.pending) == 0:
		b.timer.Reset(logDelay)
	}
	b.pending = append(b.pending, p...)
	return n, nil
}

// escapeInvisible writes the characters of a record that are not to be seen, or that change
// the direction in which others are, as JSON escapes: a terminal would show another text than
// the record has.
func escapeInvisible(record []byte) []byte {
	if !bytes.ContainsFunc(record, invisible) {
		return record
	}
	var escaped []byte
	for _, r := range string(record) {
		switch {
		case !invisible(r):
			escaped = utf8.AppendRune(escaped, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
	}
	return escaped
}

func invisible(r rune) bool { return r != ' ' && r != '\n' && !lock.Visible(r) }

func (b *logBuffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writePending()
}

func (b *logBuffer) writePending() {
	if len(b.pending) > 0 {
		_, _ = b.w.Write(b.pending) // as package log/slog does without a buffer
		b.pending = b.pending[:0]
	}
}
