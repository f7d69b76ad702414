// Package redistest starts real Redis servers for tests, and breaks them.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is a guard against hanging, never a measurement.
const patience = 30 * time.Second

// Server is a redis-server process on a free loopback port, with its data in a
// directory of the test's own.
type Server struct {
	Addr    string
	URL     string
	TLSAddr string // empty without an option of the value FreePort

	t       testing.TB
	dir     string
	options []string
	process *exec.Cmd
	exited  chan struct{}
}

// FreePort stands for a free port in an option of [Start]: "--tls-port", FreePort.
const FreePort = "free port"

// Start starts redis-server with the options given ("--appendonly", "yes") and
// stops it when the test ends. Where there is no redis-server on PATH, it skips
// the test and says so; with CI=true it fails the test instead.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	NeedProgram(t, "redis-server", remedy)
	s := &Server{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		if s.process != nil {
			s.Kill()
		}
	})
	// The port found free can be taken by another process before Redis has it.
	for range 5 {
		s.Addr = freeAddr(t)
		s.options = slices.Clone(options)
		for i, option := range s.options {
			if option == FreePort {
				s.TLSAddr = freeAddr(t)
				_, s.options[i], _ = strings.Cut(s.TLSAddr, ":")
			}
		}
		if s.launch() {
			s.URL = "redis://" + s.Addr
			return s
		}
	}
	t.Fatal("redis-server did not start")
	return nil
}

// NeedProgram skips the test where the program is not on PATH, as [Need] does.
func NeedProgram(t testing.TB, program, remedy string) {
	t.Helper()
	_, err := exec.LookPath(program)
	Need(t, err, remedy)
}

// Need skips the test if something that it needs is missing, and says what helps;
// with CI=true it fails the test instead.
func Need(t testing.TB, missing error, remedy string) {
	t.Helper()
	switch {
	case missing == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s: %v", remedy, missing)
	default:
		t.Skipf("%s: %v", remedy, missing)
	}
}

// remedy is where to get what this package needs.
const remedy = "needs a real Redis, install redis-server 7"

func freeAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nothing was done with it
	return listener.Addr().String()
}

// launch reports whether the server runs and answers at s.Addr.
func (s *Server) launch() bool {
	s.t.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	args := append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--loglevel", "warning",
	}, s.options...)
	//nolint:gosec // the arguments are the tests' own
	process := exec.Command("redis-server", args...)
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = process.Wait() // killed servers exit with an error, and are meant to
		close(exited)
	}()
	s.process, s.exited = process, exited
	client := s.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		// A server that lost the race for the port has exited; the one that
		// answers there is somebody else's.
		if got, err := processID(client); err == nil && got == strconv.Itoa(process.Process.Pid) {
			return true
		}
		select {
		case <-exited:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.Kill()
	return false
}

func processID(client *redis.Client) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// While a server loads its data, it says who it is and serves nothing.
	if err := client.Ping(ctx).Err(); err != nil {
		return "", err
	}
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	return info["Server"]["process_id"], nil
}

// Client returns a plain client, as another program would use one. Close it, or
// let it end with the test's process.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DisableIdentity: true})
}

// Kill ends the server at once, as kill -9 does, and waits until it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	// A paused process dies of SIGKILL, too.
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	<-s.exited
	s.process = nil
}

// Restart starts the server again, at the same address and with the same data
// directory.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.launch() {
		s.t.Fatalf("redis-server did not start again at %s", s.Addr)
	}
}

// Pause makes the server hang (SIGSTOP): it keeps its connections and answers
// nothing.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on, with whatever had reached it meanwhile.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatal(fmt.Errorf("signal redis-server: %w", err))
	}
}
