package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"spoollock/repository/redistest"
)

// root is where the project is. The tests run elsewhere, so that a .env there
// means nothing to them.
var root string

func TestMain(m *testing.M) {
	var err error
	if root, err = os.Getwd(); err != nil {
		panic(err)
	}
	elsewhere, err := os.MkdirTemp("", "spoollock")
	if err != nil {
		panic(err)
	}
	if err := os.Chdir(elsewhere); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(elsewhere)
		os.Exit(code)
	}))
}

// patience is a guard against hanging, never a measurement.
const patience = 60 * time.Second

// logged collects what a process says; it may be written and read at the same
// time.
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

// find waits for the pattern and returns its first group.
func (l *logged) find(t *testing.T, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	deadline := time.Now().Add(patience)
	for {
		if found := expression.FindStringSubmatch(l.String()); found != nil {
			return found[len(found)-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not in the log:\n%s", pattern, l)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func environment(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// start runs the program in this process until the test ends, and returns its URL
// and its log.
func start(t *testing.T, env map[string]string, args ...string) (url string, log *logged) {
	t.Helper()
	if env["PORT"] == "" {
		env["PORT"] = "0"
	}
	ctx, stop := context.WithCancel(context.Background())
	log = &logged{}
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, environment(env), io.MultiWriter(log, t.Output())) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run ends with %v", err)
		}
	})
	return log.find(t, `graphql"?[=:]"?(http://[^ "]+)/graphql`), log
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func post(t *testing.T, url, body string) string {
	t.Helper()
	response, err := client.Post(url+"/graphql", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func status(t *testing.T, url string) int {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // nobody reads it
	return response.StatusCode
}

var (
	request = regexp.MustCompile("(?s)```sh\ncurl -s localhost:8080(\\S+) -H 'Content-Type: application/json' -d '([^']*)'\n```\n(.*?)```json\n(.*?)```")

	// What differs from run to run in the answers of the README.
	volatile = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z|\b1\d{12}\b`)
)

// Every request of the README is answered as it says, on the embedded Redis and
// on a real one.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	requests := request.FindAllStringSubmatch(string(readme), -1)
	if curls := strings.Count(string(readme), "\ncurl "); curls != len(requests) || curls == 0 {
		t.Fatalf("the README has %d requests, %d of them with an answer", curls, len(requests))
	}
	answers := func(t *testing.T, url string) {
		for _, request := range requests {
			got, want := comparable(t, post(t, url, request[2])), comparable(t, request[4])
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s\nis answered\n%v, want\n%v", request[2], got, want)
			}
		}
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		url, _ := start(t, map[string]string{}, "-dev")
		answers(t, url)
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		url, _ := start(t, map[string]string{"REDIS_URL": redistest.Start(t).URL, "AUTH_MODE": "none"})
		answers(t, url)
	})
}

// comparable decodes an answer without what differs from run to run.
func comparable(t *testing.T, answer string) any {
	t.Helper()
	var decoded any
	answer = volatile.ReplaceAllStringFunc(answer, func(found string) string {
		if strings.Contains(found, "T") {
			return "MOMENT"
		}
		return "1"
	})
	answer = strings.ReplaceAll(answer, `"remainingSeconds":3599`, `"remainingSeconds":3600`)
	answer = strings.ReplaceAll(answer, `"remainingSeconds":4199`, `"remainingSeconds":4200`)
	if err := json.Unmarshal([]byte(answer), &decoded); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	return decoded
}

func TestFlags(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args    []string
		printed string
		err     string
	}{
		"help":     {[]string{"-h"}, "Usage: spoollock", ""},
		"version":  {[]string{"-version"}, "spoollock ", ""},
		"unknown":  {[]string{"-nonsense"}, "", "-h shows the usage"},
		"leftover": {[]string{"-dev", "now"}, "", `unexpected argument "now"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var printed bytes.Buffer
			err := run(t.Context(), test.args, environment(nil), &printed)
			if (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("error is %v, want %q", err, test.err)
			}
			if !strings.HasPrefix(printed.String(), test.printed) {
				t.Fatalf("%q is printed, want %q", printed.String(), test.printed)
			}
		})
	}
}

func TestInvalidConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), nil, environment(map[string]string{"PORT": "x", "TRUSTED_PROXIES": "10.0.0.1"}), io.Discard)
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{"PORT must be", "not supported yet: TRUSTED_PROXIES", "AUTH_MODE must be set"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestTakenPortIsSaidWithTheRemedy(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // the test is over
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), []string{"-dev"}, environment(map[string]string{"PORT": port}), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "set PORT to a free one") {
		t.Fatalf("error is %v", err)
	}
}

func TestDevSaysSoLoudly(t *testing.T) {
	t.Parallel()
	url, log := start(t, map[string]string{}, "-dev")
	for _, want := range []string{
		`level=WARN msg="-dev IS FOR TRIALS`, `level=WARN msg="AUTH_MODE is none`, `level=WARN msg="embedded redis`, "playground=" + url,
	} {
		log.find(t, regexp.QuoteMeta(want))
	}
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("it listens at %s", url)
	}
	if got := post(t, url, `{"query":"{__schema{queryType{name}}}"}`); got != `{"data":{"__schema":{"queryType":{"name":"Query"}}}}` {
		t.Fatalf("introspection is answered %s", got)
	}
	if got := status(t, url+"/playground"); got != 200 {
		t.Fatalf("the playground is %d", got)
	}
}

func TestProductionShowsNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	url, _ := start(t, map[string]string{"REDIS_URL": redistest.Start(t).URL, "AUTH_MODE": "none"})
	if got := status(t, url+"/playground"); got != 404 {
		t.Fatalf("the playground is %d", got)
	}
	if got := post(t, url, `{"query":"{__schema{queryType{name}}}"}`); !strings.Contains(got, "GRAPHQL_VALIDATION_FAILED") {
		t.Fatalf("introspection is answered %s", got)
	}
}

const takeOne = `{"query":"mutation{tomarSpool(input:{tagSpool:\"MK-1\",workerId:93,workerNombre:\"MR(93)\"}){lockToken}}"}`

// Redis away at the start: it starts, says so, is not ready, and recovers by
// itself.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	url, log := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none"})
	log.find(t, "redis is away")
	if got := status(t, url+"/readyz"); got != 503 {
		t.Fatalf("readiness is %d", got)
	}
	if got := status(t, url+"/healthz"); got != 200 {
		t.Fatalf("health is %d", got)
	}
	if got := post(t, url, takeOne); !strings.Contains(got, `"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryable":true`) {
		t.Fatalf("a take is answered %s", got)
	}
	server.Restart()
	log.find(t, "redis is back")
	log.find(t, "redis found")
	if got := post(t, url, takeOne); !strings.Contains(got, `"lockToken":"93:`) {
		t.Fatalf("a take is answered %s", got)
	}
	if got := status(t, url+"/readyz"); got != 200 {
		t.Fatalf("readiness is %d", got)
	}
}

// Promise 9, on the program as it is deployed: what has begun is answered, and
// the exit status is 0.
func TestTermination(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	binary := filepath.Join(t.TempDir(), "spoollock")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			var log logged
			process := exec.Command(binary)
			process.Dir = t.TempDir()
			proxy := redistest.StartProxy(t, server.Addr, passOn)
			process.Env = []string{"REDIS_URL=" + proxy.URL, "AUTH_MODE=none", "PORT=0"}
			process.Stderr = io.MultiWriter(&log, t.Output())
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			url := log.find(t, `"graphql":"(http://[^"]+)/graphql"`)
			log.find(t, "redis found")

			server.Pause()
			answer := make(chan string, 1)
			tag := fmt.Sprintf("MK-%d", signal)
			go func() { answer <- post(t, url, strings.ReplaceAll(takeOne, "MK-1", tag)) }()
			waitFor(t, "the take is under way", func() bool { return proxy.Seen("spool_lock:" + tag) })
			if err := process.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			log.find(t, "shutting down")
			server.Resume()
			if got := <-answer; !strings.Contains(got, `"lockToken":"93:`) {
				t.Errorf("the take under way is answered %s", got)
			}
			if err := process.Wait(); err != nil {
				t.Errorf("it ends with %v", err)
			}
			log.find(t, "stopped")
		})
	}
}

// passOn drops no reply.
func passOn([]byte) bool { return false }

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not seen in %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A shutdown does not wait for ever, and says what it cut off.
func TestTerminationIsBounded(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr, passOn)
	ctx, stop := context.WithCancel(context.Background())
	var log logged
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, nil, environment(map[string]string{
			"REDIS_URL": proxy.URL, "AUTH_MODE": "none", "PORT": "0",
			"REDIS_OPERATION_TIMEOUT_MS": "5000", "SHUTDOWN_TIMEOUT_SECONDS": "1",
		}), io.MultiWriter(&log, t.Output()))
	}()
	url := log.find(t, `"graphql":"(http://[^"]+)/graphql"`)
	log.find(t, "redis found")
	if got := post(t, url, strings.ReplaceAll(takeOne, "MK-1", "MK-0")); !strings.Contains(got, "lockToken") {
		t.Fatalf("a take is answered %s", got)
	}
	server.Pause()
	cut := make(chan error, 1)
	go func() {
		response, err := client.Post(url+"/graphql", "application/json", strings.NewReader(takeOne))
		if err == nil {
			err = response.Body.Close()
		}
		cut <- err
	}()
	waitFor(t, "the take is under way", func() bool { return proxy.Seen("spool_lock:MK-1") })
	stop()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "still running") {
		t.Errorf("run ends with %v", err)
	}
	if err := <-cut; err == nil {
		t.Error("the take under way was not cut off")
	}
	server.Resume()
}
