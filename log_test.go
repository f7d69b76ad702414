package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spoollock/config"
)

// A record waits for others, but not for long; a warning waits for nothing, and has those
// before it written, too.
func TestLogIsWrittenLater(t *testing.T) {
	t.Parallel()
	for _, text := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var written lines
			log, flush := newLogger(&written, config.Config{LogText: text})
			log = log.With("of", "all").WithGroup("some")
			want := func(moment string, records ...string) {
				t.Helper()
				synctest.Wait()
				if got := written.messages(records...); got != len(records) || strings.Count(written.String(), "\n") != got {
					t.Errorf("%s, there are %d of %q:\n%s", moment, got, records, written.String())
				}
			}
			log.Info("first")
			log.Info("second")
			want("at first")
			time.Sleep(logDelay)
			want("after the delay", "first", "second")
			log.Info("third")
			log.Warn("fourth")
			want("after a warning", "first", "second", "third", "fourth")
			log.Info("audit", "tag", "MK-1")
			time.Sleep(logDelay)
			want("after another delay", "first", "second", "third", "fourth", "audit")
			log.Info("sixth")
			want("before the end", "first", "second", "third", "fourth", "audit")
			flush()
			want("at the end", "first", "second", "third", "fourth", "audit", "sixth")
		})
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// messages counts the records that are there in this order.
func (l *lines) messages(records ...string) (n int) {
	rest := l.String()
	for _, record := range records {
		_, after, found := strings.Cut(rest, record)
		if !found {
			break
		}
		rest, n = after, n+1
	}
	return n
}

// What waits is bounded, and nothing is left out, however fast it comes and however slow it
// is taken.
func TestLogIsWhole(t *testing.T) {
	t.Parallel()
	var written lines
	buffer := &logBuffer{w: &written}
	var sent, most int
	for _, size := range []int{1, logSize - 1, 1, logSize, 10, logSize + 1, 100, logSize / 2, logSize / 2, 1} {
		if n, err := buffer.Write(bytes.Repeat([]byte{'x'}, size)); n != size || err != nil {
			t.Fatalf("of %d bytes %d are taken: %v", size, n, err)
		}
		sent += size
		most = max(most, sent-len(written.String()))
	}
	buffer.flush()
	if got := len(written.String()); got != sent || most > logSize {
		t.Errorf("of %d bytes %d are written, and up to %d waited", sent, got, most)
	}

	written = lines{}
	log, flush := newLogger(&written, config.Config{})
	var writers sync.WaitGroup
	const each = 2000
	for writer := range 4 {
		writers.Go(func() {
			for i := range each {
				level := slog.LevelInfo
				if i%100 == 0 {
					level = slog.LevelWarn
				}
				log.Log(t.Context(), level, "x", "record", fmt.Sprintf("%d.%d", writer, i))
			}
		})
	}
	writers.Wait()
	flush()
	next := make([]int, 4)
	for line := range strings.Lines(written.String()) {
		var writer, i int
		_, record, _ := strings.Cut(line, `"record":"`)
		if _, err := fmt.Sscanf(record, "%d.%d", &writer, &i); err != nil || next[writer] != i {
			t.Fatalf("%q comes where record %v is due: %v", line, next, err)
		}
		next[writer]++
	}
	for writer, n := range next {
		if n != each {
			t.Errorf("of writer %d there are %d records, want %d", writer, n, each)
		}
	}
}

// What a terminal does not show, or shows elsewhere, is escaped in both formats: the log of an
// audit reads as it is. JSON has the same text.
func TestLogEscapesWhatIsNotSeen(t *testing.T) {
	t.Parallel()
	invisible := []rune{
		0x7f, 0x80, 0x85, 0x9b, 0xa0, 0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x180e, 0x2000, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f,
		0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x202f, 0x2060, 0x2061, 0x2066, 0x2067, 0x2068, 0x2069, 0x206a, 0x206f,
		0x2800, 0x3000, 0x3164, 0xe000, 0xfe00, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0xfffb, 0x1bca0, 0x1d173, 0xe0001, 0xe0041, 0xe0100, 0xf0000,
	}
	const visible = "Ñandú 93 ф 管 نص 🔧 a\u0301 \\ \""
	for _, text := range []bool{true, false} {
		var out bytes.Buffer
		log, flush := newLogger(&out, config.Config{LogText: text})
		log.Info("audit", "reason", visible+string(invisible), "tag", "\u2800", "large", strings.Repeat("\u202e", logSize))
		flush()
		if got := strings.Count(out.String(), "\n"); got != 1 {
			t.Errorf("text %t: the record has %d lines", text, got)
		}
		for _, r := range invisible {
			if strings.ContainsRune(out.String(), r) {
				t.Errorf("text %t: %U is in the log as it is", text, r)
			}
		}
		for _, word := range strings.Fields(visible)[:6] {
			if !strings.Contains(out.String(), word) {
				t.Errorf("text %t: %q is not in the log", text, word)
			}
		}
		if text {
			continue
		}
		var record struct{ Reason, Tag string }
		if err := json.Unmarshal(out.Bytes(), &record); err != nil || record.Reason != visible+string(invisible) || record.Tag != "\u2800" {
			t.Errorf("the record is %+v, %v", record, err)
		}
	}
}
