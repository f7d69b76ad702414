package repository_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"spoollock/floor"
	"spoollock/lock/locktest"
	"spoollock/redisurl"
	"spoollock/repository"
)

// stored is a STATE of spool.lua, in its parts.
type stored struct{ ends, mark, line, block, older, lists string }

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
	s.block, text = cut(text, "\n")
	if older, lists, found := strings.Cut("\n"+text, "\n\n"); found {
		s.older, s.lists = strings.TrimPrefix(older+"\n", "\n"), lists
	}
	return s
}

func (s stored) String() string {
	return s.ends + s.mark + "\n" + s.line + "\n" + s.block + "\n" + s.older + "\n" + s.lists
}

// count is one of the counts at the head of the lists.
func (s stored) count(t testing.TB, offset, digits int) int {
	t.Helper()
	n, err := strconv.Atoi(s.lists[offset : offset+digits])
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

// addTo returns the text with n added to the digits at the offset, of the base 10 or 16. What
// is zero, or no number, stays.
func addTo(text string, offset, digits, base int, n int64) string {
	number, err := strconv.ParseInt(text[offset:offset+digits], base, 64)
	if err != nil || number <= 0 {
		return text
	}
	return put(text, offset, fmt.Sprintf(map[int]string{10: "%0*d", 16: "%0*x"}[base], digits, number+n))
}

var heldVersion = regexp.MustCompile(`"held":\d+`)

// moveLine moves the times and versions of a LINE.
func moveLine(line string, by time.Duration) string {
	for _, offset := range []int{lineAt, lineVersion, lineExpires, lineAcquired} {
		line = addTo(line, offset, 15, 10, by.Milliseconds())
	}
	return heldVersion.ReplaceAllStringFunc(line, func(held string) string {
		return addTo(held, len(`"held":`), len(held)-len(`"held":`), 10, by.Milliseconds())
	})
}

// moveLines is moveLine for several, each with its \n.
func moveLines(lines string, by time.Duration) string {
	var moved strings.Builder
	for line := range strings.Lines(lines) {
		moved.WriteString(moveLine(line, by))
	}
	return moved.String()
}

// move moves all times and versions, by whole seconds.
func (s stored) move(t testing.TB, by time.Duration) stored {
	t.Helper()
	s.ends, s.line, s.older = addTo(s.ends, 0, 15, 10, by.Milliseconds()), moveLine(s.line, by), moveLines(s.older, by)
	if len(s.block) > 36 {
		s.block = addTo(s.block, 21, 15, 10, by.Milliseconds())
		for i := 36; i+40 <= len(s.block); i += 40 {
			if s.block[i] == ';' {
				i++
			}
			s.block = addTo(addTo(s.block, i+20, 8, 16, int64(by.Seconds())), i+28, 12, 16, by.Milliseconds())
		}
	}
	tokens := s.count(t, 0, 3) + s.count(t, 3, 3)
	lists := []byte(s.lists)
	for i := range tokens {
		when := lists[15+i*15+10:][:4]
		seconds := int64(when[0])<<24 | int64(when[1])<<16 | int64(when[2])<<8 | int64(when[3])
		seconds += int64(by.Seconds())
		copy(when, []byte{byte(seconds >> 24), byte(seconds >> 16), byte(seconds >> 8), byte(seconds)}) //nolint:gosec // as the scripts write them
	}
	s.lists = string(lists)
	for i := range s.count(t, 6, 1) {
		s.lists = addTo(s.lists, 15+tokens*15+i*25+10, 15, 10, by.Milliseconds())
	}
	return s
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
	text := state.older + strings.Join(s.client.LRange(s.ctx, s.historyKey(), 0, -1).Val(), "")
	if state.mark != "" { // else LINE is among the older ones, too
		text = state.line + "\n" + text
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
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
			_ = s.store.Store.(*repository.Redis).Listen(ctx, confirm, func(message floor.Message) {
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
