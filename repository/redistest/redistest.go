// Package redistest starts real Redis servers for tests, breaks them, and opens stores on
// them.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/testwait"
)

// Server is a redis-server process on a free loopback port, with its data in a
// directory of the test's own. It is broken and mended by one goroutine at a time.
type Server struct {
	Addr    string
	URL     string
	TLSAddr string // empty without "--tls-port", FreePort
	Proxy   *Proxy // in front of a server of [Sentinels] or of a [Cluster], else nil

	t       testing.TB
	dir     string
	busAddr string        // of the Cluster's bus
	bus     *Proxy        // in front of it
	source  string        // the address that it connects from, where not the usual one
	args    []string      // besides the file
	env     []string      // besides the test's
	started func()        // called after each start
	control *redis.Client // closed where it does not run
	process *exec.Cmd
	exited  chan struct{}
}

// FreePort stands for a free port in an option of [Start]: "--tls-port", FreePort.
const FreePort = "free port"

// Start starts redis-server with the options given ("--appendonly", "yes", [Clock])
// and stops it when the test ends. Where there is no redis-server on PATH, it skips
// the test and says so; with CI=true it fails the test instead.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	s := &Server{t: t}
	s.start(options)
	return s
}

func (s *Server) start(options []string) {
	s.t.Helper()
	NeedProgram(s.t, "redis-server", remedy)
	s.dir = s.t.TempDir()
	options = s.takeClock(options)
	s.t.Cleanup(func() {
		if s.process != nil {
			s.Kill()
		}
	})
	// The port found free can be taken by another process before Redis has it.
	for range 5 {
		s.Addr = freeAddr(s.t)
		s.configure(options)
		if s.launch() {
			s.URL = "redis://" + s.Addr
			return
		}
	}
	s.t.Fatal("redis-server did not start")
}

// configure writes the options into a file of the server's own, for Sentinel and
// CONFIG REWRITE keep there what a server has become.
func (s *Server) configure(options []string) {
	s.t.Helper()
	_, port, _ := strings.Cut(s.Addr, ":")
	all := append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--loglevel", "warning",
	}, options...)
	var file strings.Builder
	for i, word := range all {
		if name, isName := strings.CutPrefix(word, "--"); isName {
			file.WriteString("\n" + name)
			continue
		}
		if word == FreePort {
			addr := freeAddr(s.t)
			_, word, _ = strings.Cut(addr, ":")
			if all[i-1] == "--cluster-port" {
				s.busAddr = addr
			} else {
				s.TLSAddr = addr
			}
		}
		fmt.Fprintf(&file, " %q", word)
	}
	if err := os.WriteFile(s.file(), []byte(file.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) file() string { return filepath.Join(s.dir, "redis.conf") }

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
	//nolint:gosec // the arguments are the tests' own
	process := exec.Command("redis-server", append([]string{s.file()}, s.args...)...)
	process.Env = append(os.Environ(), s.env...)
	DieWithTest(process)
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = process.Wait() // killed servers exit with an error, and are meant to
		forgetClock(process.Process.Pid)
		close(exited)
	}()
	s.process, s.exited = process, exited
	// A server that hangs is not waited for as long as by [Server.Client].
	s.control = redis.NewClient(&redis.Options{
		Addr: s.Addr, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second,
	})
	answers := false
	testwait.Poll(func() bool {
		select {
		case <-exited:
			return true
		default:
		}
		// If this server lost the race for the port, another one answers there.
		got, err := s.processID()
		answers = err == nil && got == strconv.Itoa(process.Process.Pid)
		return answers
	})
	if !answers {
		s.Kill()
		return false
	}
	if s.started != nil {
		s.started()
	}
	return true
}

func (s *Server) processID() (string, error) {
	// While a server loads its data, it says who it is and serves nothing.
	if err := s.control.Ping(context.Background()).Err(); err != nil {
		return "", err
	}
	info, err := s.control.InfoMap(context.Background(), "server").Result()
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

// info is the server's INFO of replication, and empty where it does not answer.
func (s *Server) info() map[string]string {
	return s.control.InfoMap(context.Background(), "replication").Val()["Replication"]
}

// follows reports whether the server is a replica that the master's writes reach.
func (s *Server) follows(master *Server) bool {
	info := s.info()
	return info["role"] == "slave" && info["master_port"] == master.Proxy.port() && info["master_link_status"] == "up"
}

// acceptsWrites asks by a write that changes nothing.
func (s *Server) acceptsWrites() bool {
	return s.control.Del(context.Background(), "redistest").Err() == nil
}

// others are the servers but one.
func others(servers []*Server, but *Server) []*Server {
	return slices.DeleteFunc(slices.Clone(servers), func(s *Server) bool { return s == but })
}

// Kill ends the server at once, as kill -9 does, and waits until it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	// A paused process dies of SIGKILL, too.
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	<-s.exited
	_ = s.control.Close()
	s.process = nil
}

// Restart starts the server again, at the same address, with the same data
// directory and what Redis itself wrote into its configuration.
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
