// Package servicetest builds programs, and runs and asks the service as it is deployed.
package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// Build builds the program in the folder into dir, and returns its path.
func Build(folder, dir string) (program string, err error) {
	if program, err = filepath.Abs(filepath.Join(dir, "program")); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-C", folder, "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return program, nil
}

// Service is the service in a process of its own. Requests may be sent while it is killed
// and started again.
type Service struct {
	URL string

	t       testing.TB
	command []string
	env     []string
	log     *redistest.Log
	cmd     *exec.Cmd
}

// Launch starts the service, waits until it listens on a free port, and stops it when the
// test ends. The log is its own, env is its whole environment as NAME=value, and command
// is the program and its arguments.
func Launch(t testing.TB, log *redistest.Log, env []string, command ...string) *Service {
	t.Helper()
	s := &Service{t: t, command: command, log: log, env: append([]string{"PORT=0"}, env...)}
	s.start()
	t.Cleanup(s.Stop)
	s.URL = log.Find(t, `graphql"?[=:]"?(http://[^ "]+)/graphql`)
	s.env = append(s.env, "PORT="+s.URL[strings.LastIndex(s.URL, ":")+1:])
	return s
}

func (s *Service) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.command[0], s.command[1:]...)
	s.cmd.Dir = s.t.TempDir()
	s.cmd.Env = s.env
	s.cmd.Stderr = s.log
	redistest.DieWithTest(s.cmd)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts the service again after [Service.Stop] or [Service.Kill], at the
// same address, and waits until it answers.
func (s *Service) Restart() {
	s.t.Helper()
	s.start()
	testwait.Until(s.t, "the service answers again", func() bool {
		response, err := client.Get(s.URL + "/healthz")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	})
}

// Stop ends the service by SIGTERM, which has to do. It may be called twice.
func (s *Service) Stop() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.Wait()
}

// Wait waits until the service has ended, which it does without an error after a signal
// to stop.
func (s *Service) Wait() {
	killed := time.AfterFunc(testwait.Patience, func() { _ = s.cmd.Process.Kill() })
	defer killed.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the service ends with %v", err)
	}
}

// Kill ends the service at once, as kill -9 does, and waits until it is gone.
func (s *Service) Kill() {
	s.Signal(syscall.SIGKILL)
	_ = s.cmd.Wait() // it was killed
}

// Signal sends the service a signal.
func (s *Service) Signal(signal syscall.Signal) {
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: testwait.Patience}

// Metrics are those without labels.
func (s *Service) Metrics() map[string]float64 {
	s.t.Helper()
	response := Must[*http.Response](s.t)(client.Get(s.URL + "/metrics"))
	defer response.Body.Close() //nolint:errcheck // it was read
	text := Must[[]byte](s.t)(io.ReadAll(response.Body))
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = v
		}
	}
	return values
}

// Memory is what is resident, in bytes (proc(5), statm).
func (s *Service) Memory() float64 {
	s.t.Helper()
	fields := strings.Fields(string(Must[[]byte](s.t)(os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid)))))
	return Must[float64](s.t)(strconv.ParseFloat(fields[1], 64)) * float64(os.Getpagesize())
}

// CPU is the time that all cores have spent on it (proc(5), stat): user and system,
// in hundredths of a second.
func (s *Service) CPU() time.Duration {
	s.t.Helper()
	return cpuOf(s.t, strconv.Itoa(s.cmd.Process.Pid))
}

// OwnCPU is that of the test.
func OwnCPU(t testing.TB) time.Duration {
	t.Helper()
	return cpuOf(t, "self")
}

func cpuOf(t testing.TB, process string) time.Duration {
	t.Helper()
	text := string(Must[[]byte](t)(os.ReadFile("/proc/" + process + "/stat")))
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	user, system := Must[int](t)(strconv.Atoi(fields[11])), Must[int](t)(strconv.Atoi(fields[12]))
	return time.Duration(user+system) * 10 * time.Millisecond
}

// Must fails the test on an error.
func Must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// RefusedError is an answer of the service with errors in it.
type RefusedError struct {
	Extensions json.RawMessage // of the first error
	text       string
}

func (e *RefusedError) Error() string { return e.text }

// Post is [PostAs] for nobody in particular.
func Post(ctx context.Context, url, query string, variables map[string]any, answer any) error {
	return PostAs(ctx, "", url, query, variables, answer)
}

// PostAs sends a document with its variables and a credential, unless that is empty, to
// the service at url, and decodes the data into answer. It returns *[RefusedError] where
// the service answers errors, and any other error where it does not answer.
func PostAs(ctx context.Context, credential, url, query string, variables map[string]any, answer any) error {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/graphql", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if credential != "" {
		request.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var decoded struct {
		Data   json.RawMessage
		Errors []struct{ Extensions json.RawMessage }
	}
	if err := json.Unmarshal(text, &decoded); err != nil {
		return errors.Join(fmt.Errorf("%s is answered %s", query, text), err)
	}
	if len(decoded.Errors) > 0 {
		return &RefusedError{Extensions: decoded.Errors[0].Extensions, text: fmt.Sprintf("%s is answered %s", query, text)}
	}
	return json.Unmarshal(decoded.Data, answer)
}
