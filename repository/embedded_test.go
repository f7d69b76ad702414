package repository_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"spoollock/redisurl"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// No other program can connect to the embedded Redis.
func TestEmbeddedHasNoPort(t *testing.T) { //nolint:paralleltest // it would count the sockets of other tests
	before := listening(t)
	store := open(t, redisurl.EmbeddedText)
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := listening(t); !slices.Equal(after, before) {
		t.Errorf("the process listens at %q, and at %q before", after, before)
	}
}

// listening returns the sockets of this process that wait for connections.
func listening(t *testing.T) (sockets []string) {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	redistest.Need(t, err, "needs /proc, as Linux has it")
	own := map[string]bool{}
	for _, descriptor := range descriptors {
		target, _ := os.Readlink("/proc/self/fd/" + descriptor.Name()) // that of the directory has gone
		own[target] = true
	}
	for _, table := range []struct {
		file          string
		state, socket int // columns
		waits         string
	}{{"tcp", 3, 9, "0A"}, {"tcp6", 3, 9, "0A"}, {"unix", 5, 6, "01"}} {
		text, err := os.ReadFile("/proc/self/net/" + table.file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > table.socket && fields[table.state] == table.waits && own["socket:["+fields[table.socket]+"]"] {
				sockets = append(sockets, line)
			}
		}
	}
	return sockets
}

// Requests and answers of a pipeline that nothing reads meanwhile do not wait for each other.
func TestEmbeddedTakesLongPipelines(t *testing.T) {
	t.Parallel()
	client := open(t, redisurl.EmbeddedText).Client()
	ctx := testwait.Context(t)
	large := strings.Repeat("x", 64<<10)
	for range 3 {
		answers, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i := range 200 {
				pipe.GetSet(ctx, fmt.Sprint("key ", i%2), large)
			}
			return nil
		})
		if len(answers) != 200 || err != nil && !errors.Is(err, redis.Nil) {
			t.Fatalf("%d answers, %v", len(answers), err)
		}
		if got := answers[199].(*redis.StringCmd).Val(); got != large {
			t.Fatalf("the last answer has %d bytes", len(got))
		}
	}
}
