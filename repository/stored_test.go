package repository_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"spoollock/floor"
	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/redisurl"
	"spoollock/repository"
)

// stored is a STATE of spool.lua, in its parts.
type stored struct{ ends, mark, line, counts, block, older, lists string }

// parseStored fails the test for what is no STATE.
func parseStored(t testing.TB, text string) (s stored) {
	t.Helper()
	cut := func(text, at string) (string, string) {
		before, after, found := strings.Cut(text, at)
		if !found {
			t.Fatalf("there is no %q in %q", at, text)
		}
		return before, after
	}
	if len(text) < 15 {
		t.Fatalf("the state is %q", text)
	}
	s.ends = text[:15]
	s.mark, text = cut(text[15:], "\n")
	s.line, text = cut(text, "\n")
	size := 13
	if len(text) < size {
		t.Fatalf("there are no counts in %q", text)
	}
	s.counts, text = text[:size], text[size:]
	if s.mark != "" {
		size = 28
		if len(text) < size {
			t.Fatalf("there is no block in %q", text)
		}
		size += (int(text[26]-'A') + int(text[27]-'A')) * 40
		if len(text) <= size {
			t.Fatalf("the block is cut: %q", text)
		}
		s.block, text = text[:size], text[size:]
	}
	s.older, s.lists = cut(text, "\n\n")
	if s.older != "" && s.older[0] != '\n' {
		t.Fatalf("%q is behind the block", s.older)
	}
	return s
}

func (s stored) String() string {
	return s.ends + s.mark + "\n" + s.line + "\n" + s.counts + s.block + s.older + "\n\n" + s.lists
}

// count is one of the counts.
func (s stored) count(t testing.TB, offset, digits int) int {
	t.Helper()
	n, err := strconv.Atoi(s.counts[offset : offset+digits])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The offsets of the numbers in a LINE.
const (
	lineAt       = 1
	lineVersion  = 16
	lineNumber   = 31
	lineExpires  = 40
	lineAcquired = 55
	lineExtras   = 70
)

// put returns the text with the other one in the place of what is at the offset.
func put(text string, offset int, other string) string {
	return text[:offset] + other + text[offset+len(other):]
}

// addTo returns the text with n added to the digits at the offset. What is zero, or no number,
// stays.
func addTo(text string, offset, digits int, n int64) string {
	number, err := strconv.ParseInt(text[offset:offset+digits], 10, 64)
	if err != nil || number <= 0 {
		return text
	}
	return put(text, offset, fmt.Sprintf("%0*d", digits, number+n))
}

var heldVersion = regexp.MustCompile(`"held":\d+`)

// moveLine moves the times and versions of a LINE.
func moveLine(line string, by time.Duration) string {
	for _, offset := range []int{lineAt, lineVersion, lineExpires, lineAcquired} {
		line = addTo(line, offset, 15, by.Milliseconds())
	}
	return heldVersion.ReplaceAllStringFunc(line, func(held string) string {
		return addTo(held, len(`"held":`), len(held)-len(`"held":`), by.Milliseconds())
	})
}

// moveLines is moveLine for several, each after its \n.
func moveLines(lines string, by time.Duration) string {
	moved := strings.Split(lines, "\n")
	for i := range moved {
		if moved[i] != "" {
			moved[i] = moveLine(moved[i], by)
		}
	}
	return strings.Join(moved, "\n")
}

// move moves all times and versions, by whole seconds.
func (s stored) move(t testing.TB, by time.Duration) stored {
	t.Helper()
	s.ends, s.line, s.older = addTo(s.ends, 0, 15, by.Milliseconds()), moveLine(s.line, by), moveLines(s.older, by)
	if s.block != "" {
		s.block = addTo(s.block, 11, 15, by.Milliseconds())
		for i := 28; i < len(s.block); i += 40 {
			s.block = addTo(addTo(s.block, i+10, 15, by.Milliseconds()), i+25, 15, by.Milliseconds())
		}
	}
	tokens := s.count(t, 0, 1) + s.count(t, 1, 1)
	lists := []byte(s.lists)
	for i := range tokens {
		moveToken(lists[i*15:][:15], by)
	}
	s.lists = string(lists)
	for i := range s.count(t, 2, 1) {
		s.lists = addTo(s.lists, tokens*15+i*25+10, 15, by.Milliseconds())
	}
	return s
}

// moveToken moves when a token ended.
func moveToken(entry []byte, by time.Duration) {
	when := entry[10:14]
	binary.BigEndian.PutUint32(when, binary.BigEndian.Uint32(when)+uint32(int64(by.Seconds()))) //nolint:gosec // as the scripts write them
}

// stored is the state of the spool as it is in Redis.
func (s *stand) stored() stored {
	s.t.Helper()
	text, err := s.client.Get(s.ctx, s.stateKey()).Result()
	s.must(err)
	return parseStored(s.t, text)
}

// store puts a state into Redis for as long as it lived there, or without an end.
func (s *stand) put(state stored) {
	s.t.Helper()
	if s.client.Exists(s.ctx, s.stateKey()).Val() == 1 {
		s.must(s.client.Set(s.ctx, s.stateKey(), state.String(), -1).Err()) // KEEPTTL
		return
	}
	s.must(s.client.Set(s.ctx, s.stateKey(), state.String(), 0).Err())
}

// edit changes the state in Redis.
func (s *stand) edit(change func(*stored)) {
	s.t.Helper()
	state := s.stored()
	change(&state)
	s.put(state)
}

// lines are the events that Redis has of the spool as LINEs, newest first.
func (s *stand) lines() []string {
	s.t.Helper()
	state := s.stored()
	text := s.client.Get(s.ctx, s.historyKey()).Val() + state.older
	if state.mark != "" { // else LINE is among the older ones, too
		text += "\n" + state.line
	}
	lines := strings.Split(strings.TrimPrefix(text, "\n"), "\n")
	slices.Reverse(lines)
	return lines
}

// onBothServers runs the test on a real Redis, where there is one, and on the embedded one.
func onBothServers(t *testing.T, test func(s *stand)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(newStand(t))
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(newEmbeddedStand(t))
	})
}

// newEmbeddedStand is a stand on the embedded Redis, without a server.
func newEmbeddedStand(t testing.TB) *stand {
	t.Helper()
	store := open(t, redisurl.EmbeddedText)
	return newStandOn(t, locktest.OneAtATime{Store: store}, store.Client())
}

// channel is where the scripts publish.
const channel = "spool_floor2:0"

// listen hears what is published of the spool. The function that it returns waits for the
// message of an expiry, and returns all before it and itself, without the key.
func (s *stand) listen() (until func(expires time.Time) []string) {
	s.t.Helper()
	feed := s.client.Subscribe(s.ctx, channel)
	_, err := feed.Receive(s.ctx)
	s.must(err)
	return func(expires time.Time) (lines []string) {
		s.t.Helper()
		defer feed.Close() //nolint:errcheck // all was heard
		for {
			message, err := feed.ReceiveMessage(s.ctx)
			s.must(err)
			line, ofSpool := strings.CutPrefix(message.Payload, s.lockKey()+"\n")
			if !ofSpool {
				continue
			}
			lines = append(lines, line)
			if line[lineExpires:lineAcquired] == fmt.Sprintf("%015d", expires.UnixMilli()) {
				return lines
			}
		}
	}
}

// hear calls heard with what the store hears of the floor, until stop is called.
func (s *stand) hear(heard func(floor.Message)) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	subscribed, done := make(chan struct{}), make(chan struct{})
	confirm := sync.OnceFunc(func() { close(subscribed) })
	go func() {
		defer close(done)
		for ctx.Err() == nil { // it is cut where nothing is published
			_ = s.store.Store.(*repository.Redis).Listen(ctx, confirm, func(lock.Spool) bool { return false }, func(message floor.Message) {
				if message.Beat == "" {
					heard(message)
				}
			})
		}
	}()
	select {
	case <-subscribed:
	case <-s.ctx.Done():
		s.t.Error("the feed is not there")
	}
	return func() {
		cancel()
		<-done
	}
}
