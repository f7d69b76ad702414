package repository

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// busyLane is one whose commands stay where they are until next is called.
func busyLane() *lane { return &lane{timeout: time.Hour, inFlight: maxInFlight} }

func (l *lane) fill(kind kind, n int) []*command {
	commands := make([]*command, n)
	waiter := &batch{over: make(chan struct{})}
	waiter.left.Store(int32(n)) //nolint:gosec // a few
	for i := range commands {
		commands[i] = newCommand(context.Background(), "eval", "", nil, nil)
		commands[i].batch, commands[i].deadline = waiter, time.Now().Add(time.Hour)
	}
	l.add(kind, commands)
	return commands
}

// nextOf takes the next pipeline, which is over at once.
func (l *lane) nextOf() (class int, commands []*command) {
	class, commands = l.next()
	l.rebuilding = false
	return class, commands
}

// Each class that waits gets at least one pipeline in eight, and the first of them the others.
func TestClassesTakeTurns(t *testing.T) {
	t.Parallel()
	for name, waiting := range map[string]map[kind]int{
		"changes, reads and rebuilds": {change: 0, clientRead: 1, rebuildRead: 2},
		"changes and reads":           {change: 0, clientRead: 1},
		"changes and rebuilds":        {change: 0, rebuildRead: 2},
		"reads and rebuilds":          {clientRead: 1, rebuildRead: 2},
	} {
		l := busyLane()
		var turns []int
		for range 80 {
			for kind := range waiting {
				l.fill(kind, maxPipeline-len(l.waiting[kind]))
			}
			class, commands := l.nextOf()
			if len(commands) != maxPipeline {
				t.Fatalf("%s: a pipeline has %d commands", name, len(commands))
			}
			turns = append(turns, class)
		}
		first := len(classes)
		for _, class := range waiting {
			first = min(first, class)
			for begin := range len(turns) - 8 {
				if !slices.Contains(turns[begin:begin+8], class) {
					t.Errorf("%s: the turns are %v, without %d in eight of them", name, turns, class)
					break
				}
			}
		}
		others := len(waiting) - 1
		if n := len(slices.DeleteFunc(turns, func(class int) bool { return class != first })); n < 80-80/6*others {
			t.Errorf("%s: the first class has %d of 80 turns", name, n)
		}
	}
}

func TestOrderOfAClass(t *testing.T) {
	t.Parallel()
	l := busyLane()
	reads := l.fill(clientRead, maxPipeline)
	checks := l.fill(expiryCheck, 3)
	_, commands := l.nextOf()
	if !slices.Equal(commands, slices.Concat(checks, reads[:maxPipeline-3])) {
		t.Error("expiry checks do not go first")
	}
	if _, commands = l.nextOf(); !slices.Equal(commands, reads[maxPipeline-3:]) {
		t.Error("what did not fit does not go next")
	}
}

// Reads go along with changes where there is room, and rebuilds do not.
func TestRoomIsFilled(t *testing.T) {
	t.Parallel()
	l := busyLane()
	changes, reads := l.fill(change, 2), l.fill(clientRead, maxPipeline)
	l.fill(rebuildRead, 1)
	if _, commands := l.nextOf(); !slices.Equal(commands, slices.Concat(changes, reads[:maxPipeline-2])) {
		t.Errorf("a pipeline has %d commands", len(commands))
	}
	if _, commands := l.nextOf(); !slices.Equal(commands, reads[maxPipeline-2:]) {
		t.Errorf("the next one has %d commands", len(commands))
	}
}

func TestOneRebuildInFlight(t *testing.T) {
	t.Parallel()
	l := busyLane()
	l.fill(rebuildRead, 2*maxPipeline)
	if class, commands := l.next(); class != rebuilds || len(commands) != maxPipeline {
		t.Fatalf("the first pipeline is of class %d, with %d commands", class, len(commands))
	}
	l.fill(change, 1)
	if class, _ := l.next(); class != 0 {
		t.Fatalf("next to a rebuild, a pipeline is of class %d", class)
	}
	if _, commands := l.next(); commands != nil || l.inFlight != maxInFlight-1 {
		t.Fatalf("next to a rebuild, one of %d commands is sent", len(commands))
	}
}

// failingConn fails to write once it is told to.
type failingConn struct {
	net.Conn
	fails *atomic.Bool
}

func (c failingConn) Write(b []byte) (int, error) {
	if c.fails.Load() {
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return c.Conn.Write(b)
}

// Of what could not be written, as of what could not be read, nothing is known: a part may
// have been written.
func TestFailedWriteIsUnknown(t *testing.T) {
	t.Parallel()
	server, err := startEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	defer server.stop()
	var fails atomic.Bool
	client := redis.NewClient(&redis.Options{
		MaxRetries: -1, DisableIdentity: true,
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := server.dial(ctx, network, "")
			return failingConn{conn, &fails}, err
		},
	})
	defer client.Close() //nolint:errcheck // nothing of it matters
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	fails.Store(true)
	l := &lane{node: client, timeout: time.Minute}
	c := newCommand(t.Context(), "eval", "return 1", nil, nil)
	l.run(t.Context(), change, []*command{c})
	if c.state.Load() != answered || c.Err() == nil {
		t.Fatalf("the state is %d, with error %v", c.state.Load(), c.Err())
	}
	var unavailable *lock.UnavailableError
	if err := classify("MK-1", c.Err(), true); !errors.As(err, &unavailable) || unavailable.Outcome != lock.OutcomeUnknown {
		t.Errorf("it counts as %v", err)
	}
}
