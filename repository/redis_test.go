package repository_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/repository"
	"spoollock/repository/redistest"
)

// logged collects log records; it may be written and read at the same time.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !strings.Contains(l.String(), text) {
		if time.Now().After(deadline) {
			t.Fatalf("%q is not in the log:\n%s", text, l)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func openLogged(t *testing.T, url string) (*repository.Redis, *logged) {
	t.Helper()
	var log logged
	store, err := repository.Open(repository.Config{
		URL: url, MaxConnections: 5, Timeout: time.Second, Memory: memory,
	}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store, &log
}

func TestInspectSaysWhichRedis(t *testing.T) {
	t.Parallel()
	store, log := openLogged(t, redistest.Start(t).URL)
	if err := store.Inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	durable, durableLog := openLogged(t, redistest.Start(t, "--appendonly", "yes").URL)
	if err := durable.Inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(durableLog.String(), "WARN") {
		t.Errorf("a Redis as it should be is warned of:\n%s", durableLog)
	}
	for _, want := range []string{`msg="redis found"`, "version=7.", "mode=standalone", "maxmemory_policy=noeviction"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "evict locks") {
		t.Errorf("noeviction is warned of:\n%s", log)
	}
	if !strings.Contains(log.String(), `level=WARN msg="redis keeps no append-only file`) {
		t.Errorf("a Redis without an append-only file is not warned of:\n%s", log)
	}
}

func TestInspectWarnsOfEviction(t *testing.T) {
	t.Parallel()
	store, log := openLogged(t, redistest.Start(t, "--maxmemory-policy", "volatile-lru").URL)
	if err := store.Inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "level=WARN msg=\"redis may evict locks") {
		t.Errorf("volatile-lru is not warned of:\n%s", log)
	}
}

// oldRedis answers INFO as Redis 6.2 does, and everything else with an error. No
// such server can be had beside a current one.
func oldRedis(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close() //nolint:errcheck // the test is over
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					switch strings.ToUpper(lines.Text()) {
					case "INFO":
						info := "# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n"
						_, _ = fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(info), info)
					case "HELLO":
						_, _ = fmt.Fprint(conn, "-ERR unknown command\r\n")
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		conns.Wait()
	})
	return "redis://" + listener.Addr().String()
}

func TestTooOldRedisIsRefused(t *testing.T) {
	url := oldRedis(t)
	store, _ := openLogged(t, url)
	err := store.Watch(t.Context())
	if !errors.Is(err, repository.ErrTooOld) || !strings.Contains(err.Error(), "7.0 or newer") || !strings.Contains(err.Error(), "6.2.14") {
		t.Fatalf("Redis 6.2 gives %v", err)
	}
}

func TestWatchSaysOnceWhatChanges(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	store, log := openLogged(t, server.URL)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error)
	go func() { watched <- store.Watch(ctx) }()

	log.waitFor(t, "redis is away")
	server.Restart()
	log.waitFor(t, "redis is back")
	log.waitFor(t, "redis found")
	server.Pause()
	deadline := time.Now().Add(patience)
	for strings.Count(log.String(), "redis is away") != 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	server.Resume()
	for strings.Count(log.String(), "redis is back") != 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{"redis is away", "redis is back", "redis found"} {
		if n := strings.Count(log.String(), said); n != 2 {
			t.Fatalf("%q is said %d times, want 2:\n%s", said, n, log)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, _ := openLogged(t, server.URL)
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := store.Ping(t.Context()); err == nil {
		t.Fatal("a dead Redis answers")
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
	store, log := openLogged(t, "redis://:hunter2@"+server.Addr)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error)
	go func() { watched <- store.Watch(ctx) }()
	log.waitFor(t, "redis refuses the service")
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
	_, err := store.Read(t.Context(), "MK-1")
	var unavailable *lock.UnavailableError
	if err == nil || errors.As(err, &unavailable) {
		t.Fatalf("a wrong password gives %v", err)
	}
	if strings.Contains(log.String()+err.Error(), "hunter2") {
		t.Fatalf("the password shows: %v\n%s", err, log)
	}
}

func TestMalformedURLIsNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"redis://:hunter2@a:b:c", "hunter2", "http://:hunter2@a", "redis://:hunter2@a/x"} {
		_, err := repository.Open(repository.Config{URL: url}, redistest.Logger(t))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a malformed URL gives %v", err)
		}
	}
}

func TestEmbeddedIsReachable(t *testing.T) {
	t.Parallel()
	store, log := openLogged(t, repository.EmbeddedURL)
	if err := store.Watch(done(t)); err != nil {
		t.Fatal(err)
	}
	if err := store.Inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "redis_addr="+store.EmbeddedAddr()) {
		t.Fatalf("the address %s is not in the log:\n%s", store.EmbeddedAddr(), log)
	}
	host, _, err := net.SplitHostPort(store.EmbeddedAddr())
	if err != nil || host != "127.0.0.1" {
		t.Fatalf("the embedded Redis listens at %s", store.EmbeddedAddr())
	}
	conn, err := net.Dial("tcp", store.EmbeddedAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if _, err := conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || answer != "+PONG\r\n" {
		t.Fatalf("PING is answered %q, %v", answer, err)
	}
}

// done returns a context that is done.
func done(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
