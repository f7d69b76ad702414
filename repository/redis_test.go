package repository_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// The caller's deadline holds where it is shorter than the store's own: the service
// divides one among its attempts.
func TestDeadlineOfTheContext(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, server.URL) // which waits for 10 s
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := locktest.OneAtATime{Store: store}.Read(ctx, "MK-1")
	if took := time.Since(begun); !lock.IsUnavailable(err) || took > 5*time.Second {
		t.Fatalf("after %v, a Redis that hangs gives %v", took, err)
	}
}

// The client dials once, as it sends a command once: only the service tries again.
func TestOneDialForOneAttempt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	store := open(t, server.URL)
	var dials atomic.Int64
	store.CountDials(&dials)
	if err := store.Ping(t.Context()); err == nil || dials.Load() != 1 {
		t.Fatalf("%d dials give %v, want 1", dials.Load(), err)
	}
}

func TestWrongPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.ConfigSet(t.Context(), "requirepass", "correct").Err(); err != nil {
		t.Fatal(err)
	}
	url := "redis://:hunter2@" + server.Addr
	log := watch(t, url, "redis refuses the service")
	store, _ := openLogged(t, url)
	_, err := locktest.OneAtATime{Store: store}.Read(t.Context(), "MK-1")
	var unavailable *lock.UnavailableError
	if err == nil || errors.As(err, &unavailable) {
		t.Fatalf("a wrong password gives %v", err)
	}
	if strings.Contains(log.String()+err.Error(), "hunter2") {
		t.Fatalf("the password shows: %v\n%s", err, log)
	}
}

func TestURLWithoutHosts(t *testing.T) {
	t.Parallel()
	if _, err := repository.Open(repository.Config{}, redistest.NewLog(t).Logger()); err == nil {
		t.Error("it is opened")
	}
}

// Once Redis has not answered time and again, operations fail without asking it; once it
// answers, they do not.
func TestCircuitOpensAndCloses(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	read := func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
		defer cancel()
		_, err := s.store.Read(ctx, s.tag)
		return err
	}
	s.server.Pause()
	testwait.Until(t, "the circuit opens", func() bool {
		err := read()
		return err != nil && strings.Contains(err.Error(), "is not asked")
	})
	s.server.Resume()
	testwait.Until(t, "the circuit closes", func() bool { return read() == nil })
}

// The pool is never larger than it may be, and who finds it empty waits.
func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	pool := redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), repository.Config{MaxConnections: 3})
	errs := make(chan error)
	for range 100 {
		go func() { errs <- pool.Ping(s.ctx) }()
	}
	for range 100 {
		s.must(<-errs)
	}
	received := s.client.InfoMap(s.ctx, "stats").Val()["Stats"]["total_connections_received"]
	// The server's own check at its start, the stand's two clients, and the three.
	var n int
	if _, err := fmt.Sscan(received, &n); err != nil || n > 6 {
		t.Fatalf("%q connections were made, want at most 6", received)
	}
}
