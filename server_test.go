package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"spoollock/auth"
	"spoollock/config"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// root is where the project is. The tests run elsewhere, so that a .env there
// means nothing to them.
var root, elsewhere string

func TestMain(m *testing.M) {
	var err error
	if root, err = os.Getwd(); err != nil {
		panic(err)
	}
	if elsewhere, err = os.MkdirTemp("", "spoollock"); err != nil {
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

// program builds the program, once for all tests, and returns its path.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) { return servicetest.Build(root, elsewhere) })

func environment(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// start runs the program in this process until the test ends, and returns its URL
// and its log.
func start(t *testing.T, env map[string]string, args ...string) (url string, log *redistest.Log) {
	t.Helper()
	url, log, stop, done := begin(t, env, args...)
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run ends with %v", err)
		}
	})
	return url, log
}

// begin is start for a test that stops the program itself, and sees from done how run ends.
func begin(t *testing.T, env map[string]string, args ...string) (url string, log *redistest.Log, stop func(), done <-chan error) {
	t.Helper()
	if env["PORT"] == "" {
		env["PORT"] = "0"
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	log = redistest.NewLog(t)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, environment(env), log) }()
	return log.Find(t, `graphql"?[=:]"?(http://[^ "]+)/graphql`), log, stop, ended
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testwait.Patience}

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

// firstEvent returns the data of the first event that a subscription is answered.
func firstEvent(t *testing.T, url, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graphql", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is left in the middle
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			return data
		}
	}
	t.Fatalf("there is no event, %v", lines.Err())
	return ""
}

func status(t *testing.T, url string) int {
	t.Helper()
	code, _ := get(t, url)
	return code
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

var (
	// What differs from run to run in the answers that the documents show.
	nearly   = regexp.MustCompile(`"remainingSeconds":\s*(3|4)\d{3}\b`)
	volatile = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z|\b1\d{12}\b`)
)

// Every request that the documents show is answered as they say: those of all documents
// one after the other on the embedded Redis, and those of each by itself on a real one.
func TestDocumentedRequests(t *testing.T) {
	t.Parallel()
	answers := func(t *testing.T, url string, d document) {
		t.Helper()
		testwait.Live(testwait.Context(t), t, url)
		for _, shown := range d.requests(t, "8080") {
			send := post
			if shown.stream {
				send = firstEvent
			}
			got, want := comparable(t, send(t, url, shown.body)), comparable(t, shown.answer)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s shows\n%s\nwhich is answered\n%v, want\n%v", d.name, shown.body, got, want)
			}
		}
	}
	var showing []document
	for _, d := range documents(t) {
		if len(d.requests(t, "8080")) > 0 {
			showing = append(showing, d)
		}
	}
	if len(showing) < 2 {
		t.Fatalf("only %d documents show requests", len(showing))
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		url, _ := start(t, map[string]string{}, "-dev")
		for _, d := range showing {
			answers(t, url, d)
		}
	})
	for _, d := range showing {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			url, _ := start(t, map[string]string{"REDIS_URL": redistest.Start(t).URL, "AUTH_MODE": "none"})
			answers(t, url, d)
		})
	}
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
	answer = nearly.ReplaceAllString(answer, `"remainingSeconds":"nearly ${1}000"`)
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
		"a value":  {[]string{"-dev=redis://:hunter2@a"}, "", "-h shows the usage"},
		"leftover": {[]string{"-dev", "redis://:hunter2@a"}, "", "-h shows the usage"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var printed bytes.Buffer
			err := run(t.Context(), test.args, environment(nil), &printed)
			if (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("error is %v, want %q", err, test.err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error shows a password: %v", err)
			}
			if !strings.HasPrefix(printed.String(), test.printed) {
				t.Fatalf("%q is printed, want %q", printed.String(), test.printed)
			}
		})
	}
}

func TestInvalidConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), nil, environment(map[string]string{"PORT": "x", "RATE_LIMIT": "no"}), io.Discard)
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{"PORT must be", "RATE_LIMIT must be", "AUTH_MODE must be set"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// What only the opening of Redis finds wrong is said with its variable, too.
func TestURLThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	_, err := wire(t.Context(), config.Config{}, false, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "see REDIS_URL") {
		t.Errorf("the error is %v", err)
	}
}

// Trusted documents are read as every file is: a byte order mark is left out, and what is no
// file does not hang the start.
func TestFilesOfTrustedDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	document := "query Limits {\r\n  lockLimits { maxTtlSeconds }\r\n}\r\n"
	if err := os.WriteFile(filepath.Join(dir, "limits.graphql"), []byte("\ufeff"+document), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "limits.graphql"), 0o666); err != nil { //nolint:gosec // that is what is warned of
		t.Fatal(err)
	}
	env := map[string]string{"AUTH_MODE": "none", "TRUSTED_DOCUMENTS": dir, "TRUSTED_DOCUMENTS_ONLY": "true"}
	url, log := start(t, env, "-dev")
	log.Find(t, "can be written by others")
	for _, text := range []string{document, strings.ReplaceAll(document, "\r\n", "\n")} {
		if got := post(t, url, fmt.Sprintf(`{"documentId":"sha256:%x"}`, sha256.Sum256([]byte(text)))); !strings.HasPrefix(got, `{"data":{"lockLimits":`) {
			t.Errorf("the document is answered %s", got)
		}
	}
	pipe := filepath.Join(dir, "pipe.graphql")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), []string{"-dev"}, environment(env), io.Discard) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("a start with a named pipe ends with %v", err)
		}
	case <-time.After(testwait.Patience / 2):
		t.Error("the start waits for a named pipe")
		if writer, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = writer.Close()
		}
	}
}

// Where the wiring fails half-way, it closes what it had opened: goleak sees to that.
func TestWiringThatFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"documents": {map[string]string{"AUTH_MODE": "none", "TRUSTED_DOCUMENTS": "none"}, "see TRUSTED_DOCUMENTS: "},
		"keys":      {map[string]string{"AUTH_MODE": "keys", "AUTH_KEYS_FILE": "none.json"}, "see AUTH_KEYS_FILE: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := run(t.Context(), []string{"-dev"}, environment(test.env), io.Discard); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
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
		log.Find(t, regexp.QuoteMeta(want))
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

// A real browser that can reach nothing but this machine opens the playground, reads that
// callers are anonymous, and the schema, takes a spool and is refused the second time, and sees
// on its floor what another takes.
func TestPlaygroundInABrowser(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	url, _ := start(t, map[string]string{}, "-dev")
	browse(t, "sees that callers are anonymous\nsees the schema\nsees \"lockToken\"\nsees \"SPOOL_OCCUPIED\"\nsees the take of another\n16 tabs\nsees nothing that was kept\n", "playground.mjs", url)
}

// Where it is known who calls, a credential that is typed into the playground's headers
// goes with its requests and its subscriptions.
func TestPlaygroundWithACredential(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	credential, err := auth.AddKey(file, auth.Key{
		Namespace: "boss", Name: "Boss", Scopes: []lock.Role{lock.RoleAdmin}, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	url, _ := start(t, map[string]string{"AUTH_MODE": "keys", "AUTH_KEYS_FILE": file}, "-dev")
	browse(t, "sees \"UNAUTHENTICATED\"\nsees \"lockToken\"\nsees the schema\nsees the take of another\nsees nothing that was kept\n", "credential.mjs", url, credential)
}

func needBrowser(t *testing.T) {
	t.Helper()
	redistest.NeedProgram(t, "node", "needs Node.js 20 or newer")
	redistest.NeedProgram(t, "chromium", "needs a browser, install chromium")
	_, err := os.Stat(filepath.Join(root, "web/browser/node_modules"))
	redistest.Need(t, err, "needs make packages")
}

// browse runs a script of the folder web/browser, which must print what is wanted.
func browse(t *testing.T, want, script string, args ...string) {
	t.Helper()
	browser := exec.Command("node", append([]string{script}, args...)...)
	browser.Dir = filepath.Join(root, "web/browser")
	out, err := browser.CombinedOutput()
	if err != nil || string(out) != want {
		t.Fatalf("the browser ends with %v and\n%s, want\n%s", err, out, want)
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
	server := redistest.Start(t, "--maxmemory-policy", "volatile-lru")
	server.Kill()
	url, log := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none"})
	log.Find(t, "redis is away")
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
	log.Find(t, "redis is back")
	log.Find(t, "redis found")
	if got := post(t, url, takeOne); !strings.Contains(got, `"lockToken":"93:`) {
		t.Fatalf("a take is answered %s", got)
	}
	if code, body := get(t, url+"/readyz"); code != 200 || !strings.Contains(body, `"eviction":"volatile-lru"`) {
		t.Fatalf("readiness is %d %s", code, body)
	}
}

// LOCK_REPLICAS_ACK reaches Redis: a take that no replica has is not confirmed, and does
// not stay.
func TestReplicasAck(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	redis := server.Client()
	defer redis.Close() //nolint:errcheck // a client of the moment
	url, log := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none", "LOCK_REPLICAS_ACK": "1"})
	if got := post(t, url, takeOne); !strings.Contains(got, `"code":"SERVICE_UNAVAILABLE","outcome":"UNKNOWN"`) {
		t.Fatalf("a take is answered %s", got)
	}
	log.Find(t, `unconfirmed take was taken back`)
	if n, err := redis.Exists(t.Context(), "spool_lock:MK-1").Result(); n != 0 || err != nil {
		t.Errorf("there are %d locks, %v", n, err)
	}
}

// warm sees to it that there are connections to Redis that nothing is using: a new one
// gets nowhere while Redis is stopped.
func warm(t *testing.T, url string) {
	t.Helper()
	var reads sync.WaitGroup
	for range 16 {
		reads.Go(func() { post(t, url, `{"query":"{spool(tagSpool:\"MK-0\"){version}}"}`) })
	}
	reads.Wait()
}

// Promise 9, on the program as it is deployed: what has begun is answered, and
// the exit status is 0.
func TestTermination(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			log := redistest.NewLog(t)
			proxy := redistest.StartProxy(t, server.Addr, passOn)
			service := servicetest.Launch(t, log, []string{
				"REDIS_URL=" + proxy.URL, "AUTH_MODE=none",
				"REDIS_OPERATION_TIMEOUT_MS=30000", "REQUEST_TIMEOUT_SECONDS=60", "SHUTDOWN_TIMEOUT_SECONDS=60",
			}, program(t))
			log.Find(t, "redis found")

			warm(t, service.URL)
			server.Pause()
			answer := make(chan string, 1)
			tag := fmt.Sprintf("MK-%d", signal)
			go func() { answer <- post(t, service.URL, strings.ReplaceAll(takeOne, "MK-1", tag)) }()
			testwait.Until(t, "the take is under way", func() bool { return proxy.Seen("spool_lock:" + tag) })
			service.Signal(signal)
			log.Find(t, "shutting down")
			server.Resume()
			if got := <-answer; !strings.Contains(got, `"lockToken":"93:`) {
				t.Errorf("the take under way is answered %s", got)
			}
			service.Wait()
			log.Find(t, "stopped")
		})
	}
}

// Streams end with the program: what has begun over them is answered, a WebSocket
// is closed with 1001.
func TestTerminationOfStreams(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr, passOn)
	url, log, stop, done := begin(t, map[string]string{
		"REDIS_URL": proxy.URL, "AUTH_MODE": "none",
		"REDIS_OPERATION_TIMEOUT_MS": "30000", "REQUEST_TIMEOUT_SECONDS": "60", "SHUTDOWN_TIMEOUT_SECONDS": "60",
	})
	log.Find(t, "redis found")
	within := testwait.Context(t)
	socket, _, err := websocket.Dial(within, url+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow() //nolint:errcheck // it is closed
	write := func(message string) {
		if err := socket.Write(within, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (string, error) {
		_, text, err := socket.Read(within)
		return string(text), err
	}
	write(`{"type":"connection_init"}`)
	if got, err := read(); err != nil || got != `{"type":"connection_ack"}` {
		t.Fatalf("the init is answered %s, %v", got, err)
	}

	warm(t, url)
	server.Pause()
	write(`{"type":"subscribe","id":"1","payload":` + takeOne + `}`)
	testwait.Until(t, "the take is under way", func() bool { return proxy.Seen("spool_lock:MK-1") })
	request, err := http.NewRequestWithContext(within, http.MethodPost, url+"/graphql", strings.NewReader(strings.ReplaceAll(takeOne, "MK-1", "MK-2")))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	events, err := client.Do(request) // it has begun, as the headers are here
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close() //nolint:errcheck // it is read
	stop()
	log.Find(t, "shutting down")
	server.Resume()
	if got, err := read(); err != nil || !strings.Contains(got, `"lockToken":"93:`) {
		t.Errorf("the take under way is answered %s, %v", got, err)
	}
	if got, err := read(); err != nil || got != `{"type":"complete","id":"1"}` {
		t.Errorf("it ends with %s, %v", got, err)
	}
	if got, err := read(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the socket ends with %s, %v", got, err)
	}
	if got, err := io.ReadAll(events.Body); err != nil || !strings.Contains(string(got), `"lockToken":"93:`) || !strings.HasSuffix(string(got), "event: complete\ndata:\n\n") {
		t.Errorf("the take under way by events is answered %s, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Errorf("run ends with %v", err)
	}
}

// A limit of 0 allows none, which is not the default.
func TestLimitsOfNone(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{
		"MAX_ALIASES": "{a:__typename}", "MAX_DIRECTIVES": "{__typename@include(if:true)}",
	} {
		url, _ := start(t, map[string]string{name: "0"}, "-dev")
		if got := post(t, url, `{"query":"`+document+`"}`); !strings.Contains(got, `"limit":0`) {
			t.Errorf("with %s=0, %s is answered %s", name, document, got)
		}
	}
}

// Each limit of streams is the variable's that is named after it.
func TestLimitsOfStreams(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"MAX_SUBSCRIPTIONS", "MAX_SUBSCRIPTIONS_PER_ADDRESS"} {
		t.Run(name, func(t *testing.T) {
			url, _ := start(t, map[string]string{name: "2"}, "-dev")
			for range 2 {
				if _, err := dialWebSocket(t, url); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := dialWebSocket(t, url); err == nil || !strings.Contains(err.Error(), "429") {
				t.Errorf("a third socket ends with %v", err)
			}
		})
	}
}

// An address has at most 100 WebSockets whose callers are not known yet, but for where
// none is.
func TestSocketsBeforeInit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	newCredential(t, file)
	opened := func(env map[string]string, most int) (open int, refused error) {
		url, _ := start(t, env, "-dev")
		for open < most {
			if _, err := dialWebSocket(t, url); err != nil {
				return open, err
			}
			open++
		}
		return open, nil
	}
	// A slow machine gets to the limit late, because sockets are closed without an init.
	if open, err := opened(map[string]string{"AUTH_MODE": "keys", "AUTH_KEYS_FILE": file}, 5000); open < 100 || err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("%d sockets are opened, and the next one ends with %v", open, err)
	} else if open > 100 {
		t.Logf("%d sockets are opened", open)
	}
	if open, err := opened(map[string]string{}, 150); err != nil {
		t.Errorf("with AUTH_MODE=none, %d sockets are opened, and the next one ends with %v", open, err)
	}
}

// What one WebSocket may have under way, and may send in a second, is no variable.
func TestLimitsOfASocket(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	url, log := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none"})
	log.Find(t, "redis found")
	server.Pause()
	defer server.Resume()
	within := testwait.Context(t)
	for want, test := range map[string]struct {
		message string
		sent    int
	}{
		"Too many operations": {`{"type":"subscribe","id":"%d","payload":` + takeOne + `}`, 51},
		"Too many messages":   {`{"type":"ping","payload":{"n":%d}}`, 1000}, // within a second or a few
	} {
		socket, err := dialWebSocket(t, url)
		if err != nil {
			t.Fatal(err)
		}
		err = socket.Write(within, websocket.MessageText, []byte(`{"type":"connection_init"}`))
		for i := 0; err == nil && i < test.sent; i++ {
			err = socket.Write(within, websocket.MessageText, fmt.Appendf(nil, test.message, i))
		}
		for websocket.CloseStatus(err) == -1 && within.Err() == nil { // also where a write found it closed
			_, _, err = socket.Read(within)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the socket ends with %v, want %s", err, want)
		}
	}
}

// dialWebSocket opens a WebSocket that is closed when the test ends.
func dialWebSocket(t *testing.T, url string) (*websocket.Conn, error) {
	t.Helper()
	socket, _, err := websocket.Dial(testwait.Context(t), url+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err == nil {
		t.Cleanup(func() { _ = socket.CloseNow() })
	}
	return socket, err
}

// Who may call is what the variables say.
func TestLimitsOfCallers(t *testing.T) {
	t.Parallel()
	url, log := start(t, map[string]string{
		"REDIS_URL": redistest.Start(t).URL, "AUTH_MODE": "none",
		"ALLOWED_HOSTS": "spools.example", "ALLOWED_ORIGINS": "https://board.example", "MAX_CONNECTIONS_PER_ADDRESS": "10",
	})
	for _, test := range []struct {
		host, origin string
		status       int
	}{
		{"spools.example", "", 200},
		{"evil.example", "", 403},
		{"spools.example", "https://board.example", 200},
		{"spools.example", "https://evil.example", 403},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graphql", strings.NewReader(`{"query":"{__typename}"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = test.host
		request.Header.Set("Content-Type", "application/json")
		if test.origin != "" {
			request.Header.Set("Origin", test.origin)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.status {
			t.Errorf("host %s and origin %q are answered %s", test.host, test.origin, response.Status)
		}
	}
	for range 11 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the test is over
	}
	log.Find(t, `as many connections as it may have.*limit"?[=:]10`)
}

// LIMITS=off lets through what is beyond all limits on how much callers may do, and says
// so. The bounds on bodies, tokens and depth stay what their variables say.
func TestLimitsOff(t *testing.T) {
	t.Parallel()
	url, log := start(t, map[string]string{
		"REDIS_URL": redistest.Start(t).URL, "AUTH_MODE": "none", "LIMITS": "off", "MAX_TOKENS": "5500", "MAX_BODY_BYTES": "200000",
	})
	log.Find(t, `"level":"WARN","msg":"LIMITS=off IS FOR LOAD TESTS ONLY`)
	testwait.Live(testwait.Context(t), t, url)
	for path, want := range map[string]string{"/readyz": `"limits":"off"`, "/": "LIMITS=off is for load tests only"} {
		if _, got := get(t, url+path); !strings.Contains(got, want) {
			t.Errorf("%s says %s, without %s", path, got, want)
		}
	}

	for i := range 41 { // as many for one worker, and fresh ones, and at once
		var items []string
		for j := range lock.MaxBatch {
			items = append(items, fmt.Sprintf(`{tagSpool:\"MK-%d-%d\",workerId:\"93\",workerNombre:\"MR(93)\"}`, i, j))
		}
		if got := post(t, url, `{"query":"mutation{tomarSpools(input:{items:[`+strings.Join(items, ",")+`]}){failed}}"}`); got != `{"data":{"tomarSpools":{"failed":0}}}` {
			t.Errorf("a batch is answered %.300s", got)
		}
	}
	var fields strings.Builder
	for i := range 200 {
		fmt.Fprintf(&fields, "a%d:spoolLocks(first:100)@include(if:true){edges{cursor node{tagSpool ownerId}}}", i)
	}
	document := `{"query":"{` + fields.String() + `}"` + strings.Repeat(" ", 1<<17) + `}`
	if got := post(t, url, document); strings.Contains(got, "error") || strings.Count(got, "edges") != 200 || len(got) < 1<<20 {
		t.Errorf("the document is answered %.300s, and more, %d bytes", got, len(got))
	}
	for bound, beyond := range map[string]string{
		"The body":  document + strings.Repeat(" ", 1<<17),
		"tokens":    `{"query":"{` + strings.Repeat("__typename ", 5500) + `}"}`,
		"depth 13,": `{"query":"{a` + strings.Repeat("{a", 12) + strings.Repeat("}", 13) + `"}`,
	} {
		if got := post(t, url, beyond); !strings.Contains(got, bound) {
			t.Errorf("what is beyond the bound on %s is answered %.300s", bound, got)
		}
	}
	within := testwait.Context(t)
	var socket *websocket.Conn
	for range 450 {
		var err error
		if socket, _, err = websocket.Dial(within, url+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}}); err != nil {
			t.Fatal(err)
		}
		defer socket.CloseNow() //nolint:errcheck // the test is over
	}
	message := `{"type":"connection_init"}`
	for i := range 250 {
		if err := socket.Write(within, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		message = fmt.Sprintf(`{"type":"subscribe","id":"%d","payload":{"query":"subscription{floorUpdates{snapshot}}"}}`, i)
	}
	for snapshots := 0; snapshots < 249; {
		_, text, err := socket.Read(within)
		if err != nil || bytes.Contains(text, []byte(`"error"`)) {
			t.Fatalf("after %d snapshots comes %s, %v", snapshots, text, err)
		}
		if bytes.Contains(text, []byte(`"snapshot":true`)) {
			snapshots++
		}
	}
}

// A client that never finishes its request has begun no operation, and does not
// hold up the stop.
func TestTerminationWithAHalfSentRequest(t *testing.T) {
	t.Parallel()
	url, _, stop, done := begin(t, map[string]string{"SHUTDOWN_TIMEOUT_SECONDS": "4"}, "-dev")
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	if _, err := fmt.Fprint(conn, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if got := post(t, url, takeOne); !strings.Contains(got, "lockToken") {
		t.Fatalf("a take beside it is answered %s", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatalf("run ends with %v", err)
	}
}

// A client that sends a byte now and then is cut off, and others are served
// meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	url, _ := start(t, map[string]string{"SHUTDOWN_TIMEOUT_SECONDS": "4"}, "-dev")
	addr := strings.TrimPrefix(url, "http://")
	const head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
	var cut sync.WaitGroup
	for _, begun := range []string{"", "POST /gr", head, head + "\r\n{"} {
		for range 20 {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			cut.Go(func() {
				defer conn.Close() //nolint:errcheck // it is cut off
				deadline := time.Now().Add(testwait.Patience)
				_, err := conn.Write([]byte(begun))
				for err == nil && time.Now().Before(deadline) {
					_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
					var answer [512]byte
					if _, err = conn.Read(answer[:]); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
						_, err = conn.Write([]byte(" "))
					}
				}
				if err == nil {
					t.Errorf("%q goes on for %v", begun, testwait.Patience)
				}
			})
		}
	}
	for i := range 20 {
		if got := post(t, url, strings.ReplaceAll(takeOne, "MK-1", fmt.Sprint("MK-", i))); !strings.Contains(got, "lockToken") {
			t.Fatalf("a take meanwhile is answered %s", got)
		}
	}
	cut.Wait()
}

// passOn drops no reply.
func passOn([]byte) bool { return false }

// A shutdown takes no longer than its own time and that of one operation, with a take
// under way, and its taking back after it. It says what it cut off.
func TestTerminationIsBounded(t *testing.T) {
	t.Parallel()
	const shutdown, operation = time.Second, 15 * time.Second
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr, passOn)
	url, log, stop, done := begin(t, map[string]string{
		"REDIS_URL": proxy.URL, "AUTH_MODE": "none",
		"REDIS_OPERATION_TIMEOUT_MS": fmt.Sprint(operation.Milliseconds()), "SHUTDOWN_TIMEOUT_SECONDS": fmt.Sprint(shutdown.Seconds()),
		"REDIS_RETRY_ATTEMPTS": "1", "REQUEST_TIMEOUT_SECONDS": "60",
	})
	log.Find(t, "redis found")
	if got := post(t, url, strings.ReplaceAll(takeOne, "MK-1", "MK-0")); !strings.Contains(got, "lockToken") {
		t.Fatalf("a take is answered %s", got)
	}
	warm(t, url)
	server.Pause()
	cut := make(chan error, 1)
	go func() {
		response, err := client.Post(url+"/graphql", "application/json", strings.NewReader(takeOne))
		if err == nil {
			err = response.Body.Close()
		}
		cut <- err
	}()
	testwait.Until(t, "the take is under way", func() bool { return proxy.Seen("spool_lock:MK-1") })
	begun := time.Now()
	stop()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "still running") {
		t.Errorf("run ends with %v", err)
	}
	if took := time.Since(begun); took > shutdown+operation+operation/2 {
		t.Errorf("it took %v", took)
	}
	if err := <-cut; err == nil {
		t.Error("the take under way was not cut off")
	}
	server.Resume()
}

// Every form of REDIS_URL reaches its Redis, and no part of it the log.
func TestRedisURLs(t *testing.T) {
	t.Parallel()
	ca, key, options := certificates(t)
	tlsServer := redistest.Start(t, append(options, "--tls-auth-clients", "no")...)
	strict := redistest.Start(t, append(options, "--tls-auth-clients", "yes")...)
	sentinels, cluster := redistest.StartSentinels(t), redistest.StartCluster(t)
	server := redistest.Start(t)
	admin := server.Client()
	defer admin.Close() //nolint:errcheck // a client of the moment
	for _, command := range [][]any{
		{"ACL", "SETUSER", "spools", "on", ">hunter2", "~*", "&*", "+@all"},
		{"CONFIG", "SET", "requirepass", "hunter2"},
	} {
		if err := admin.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	behind, sentinel, tlsSentinel := behindSentinels(t, options)
	tlsNodes := tlsCluster(t, options)
	watcher := []string{"REDIS_SENTINEL_USERNAME=watcher", "REDIS_SENTINEL_PASSWORD=hunter3"}
	_, tlsPort, err := net.SplitHostPort(tlsServer.TLSAddr)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		url   string
		env   []string
		ready bool
	}{
		"password":            {"redis://:hunter2@" + server.Addr, nil, true},
		"user and database":   {"redis://spools:hunter2@" + server.Addr + "/3", nil, true},
		"wrong password":      {"redis://:hunter2x@" + server.Addr, nil, false},
		"TLS":                 {"rediss://127.0.0.1:" + tlsPort, []string{"SSL_CERT_FILE=" + ca}, true},
		"TLS, CA of its own":  {"rediss://127.0.0.1:" + tlsPort, []string{"REDIS_TLS_CA_FILE=" + ca}, true},
		"TLS, not trusted":    {"rediss://127.0.0.1:" + tlsPort, nil, false},
		"TLS, another name":   {"rediss://localhost:" + tlsPort, []string{"REDIS_TLS_CA_FILE=" + ca}, false},
		"TLS, nobody known":   {"rediss://" + strict.TLSAddr, []string{"REDIS_TLS_CA_FILE=" + ca}, false},
		"TLS, both known":     {"rediss://" + strict.TLSAddr, []string{"REDIS_TLS_CA_FILE=" + ca, "REDIS_TLS_CERT_FILE=" + ca, "REDIS_TLS_KEY_FILE=" + key}, true},
		"Sentinels":           {sentinels.URL, nil, true},
		"Cluster":             {cluster.URL, nil, true},
		"all have users":      {"redis+sentinel://spools:hunter2@" + sentinel.Addr + "/spools/3", watcher, true},
		"no Sentinel's user":  {"redis+sentinel://spools:hunter2@" + sentinel.Addr + "/spools/3", watcher[1:], false},
		"no such password":    {"redis+sentinel://spools:hunter2@" + sentinel.Addr + "/spools/3", append(watcher[:1:1], "REDIS_SENTINEL_PASSWORD=hunter2"), false},
		"all have TLS":        {"rediss+sentinel://spools:hunter2@" + tlsSentinel.TLSAddr + "/spools/4", append(watcher[:2:2], "REDIS_TLS_CA_FILE="+ca), true},
		"untrusted Sentinel":  {"rediss+sentinel://spools:hunter2@" + tlsSentinel.TLSAddr + "/spools/4", watcher, false},
		"Cluster, TLS":        {"rediss+cluster://" + tlsNodes[0].TLSAddr, []string{"REDIS_TLS_CA_FILE=" + ca}, true},
		"untrusted Cluster":   {"rediss+cluster://" + tlsNodes[0].TLSAddr, nil, false},
		"a name without host": {"redis://redis.invalid:6379", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			log := redistest.NewLog(t)
			service := servicetest.Launch(t, log, append([]string{"REDIS_URL=" + test.url, "AUTH_MODE=none"}, test.env...), program(t))
			body := strings.ReplaceAll(takeOne, "MK-1", "MK-"+strings.ReplaceAll(name, " ", "-"))
			if test.ready {
				log.Find(t, "redis found")
				if got := post(t, service.URL, body); !strings.Contains(got, `"lockToken":"93:`) {
					t.Errorf("a take is answered %s", got)
				}
				testwait.Live(testwait.Context(t), t, service.URL) // of each node, and by the feed
			} else {
				log.Find(t, "redis is away|a master of the cluster is away|redis refuses")
				if got := post(t, service.URL, body); !strings.Contains(got, `"data":{"tomarSpool":null}`) {
					t.Errorf("a take is answered %s", got)
				}
				if got := status(t, service.URL+"/readyz"); got != 503 {
					t.Errorf("readiness is %d", got)
				}
			}
			service.Stop()
			for _, secret := range append(regexp.MustCompile(`:\d+`).FindAllString(test.url, -1), "hunter2", "hunter3", "redis.invalid") {
				if strings.Contains(log.String(), secret) {
					t.Errorf("%q is in the log:\n%s", secret, log)
				}
			}
		})
	}
	if n := admin.Do(t.Context(), "INFO", "keyspace").String(); !strings.Contains(n, "db3:keys=2") {
		t.Errorf("the lock and its state are not in database 3: %s", n)
	}
	for _, sentinel := range []*redistest.Server{sentinel, tlsSentinel} {
		// A refused subscription shows in a failover only.
		refused := fmt.Sprint(do(t, sentinel, "ACL", "LOG"))
		if regexp.MustCompile(`reason:(command|channel) [^\]]*username:watcher`).MatchString(refused) {
			t.Errorf("a Sentinel's user lacks rights: %s", refused)
		}
	}
	master := behind.Client()
	defer master.Close() //nolint:errcheck // a client of the moment
	if n := master.Do(t.Context(), "INFO", "keyspace").String(); !strings.Contains(n, "db3:keys=2") || !strings.Contains(n, "db4:keys=2") {
		t.Errorf("behind Sentinel, the locks are not in databases 3 and 4: %s", n)
	}
}

// behindSentinels starts a Redis where only the user spools may touch keys, with the
// password hunter2, and two Sentinels that say where it is to nobody but the user
// watcher, who has hunter3 and the rights that .env.example says. The second one, and
// the address that it says, speak TLS.
func behindSentinels(t *testing.T, options []string) (server, sentinel, tlsSentinel *redistest.Server) {
	t.Helper()
	example, err := os.ReadFile(filepath.Join(root, ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	rights := regexp.MustCompile(`(?m)^# +(-@all .*)$`).FindSubmatch(example)
	if rights == nil {
		t.Fatal(".env.example does not say the rights of a Sentinel's user")
	}
	watcher := []any{"ACL", "SETUSER", "watcher", "on", ">hunter3", "resetchannels"}
	for word := range strings.FieldsSeq(string(rights[1])) {
		watcher = append(watcher, word)
	}
	options = slices.Concat(options, []string{"--tls-auth-clients", "no"})
	server = redistest.Start(t, options...)
	do(t, server, "ACL", "SETUSER", "spools", "on", ">hunter2", "~*", "&*", "+@all")
	do(t, server, "ACL", "SETUSER", "default", "resetkeys")
	start := func(addr, replication string) *redistest.Server {
		_, port, _ := strings.Cut(addr, ":")
		sentinel := redistest.StartSentinel(t, slices.Concat(options, []string{
			"--tls-replication", replication, "--sentinel monitor", "spools", "127.0.0.1", port, "1",
		})...)
		do(t, sentinel, watcher...)
		do(t, sentinel, "ACL", "SETUSER", "default", "-@all", "+acl")
		return sentinel
	}
	return server, start(server.Addr, "no"), start(server.TLSAddr, "yes")
}

// tlsCluster starts a Cluster of two nodes that speak TLS.
func tlsCluster(t *testing.T, options []string) (nodes []*redistest.Server) {
	t.Helper()
	for i, slots := range [][]any{{0, 8191}, {8192, 16383}} {
		node := redistest.Start(t, slices.Concat(options, []string{
			"--tls-auth-clients", "no", "--tls-cluster", "yes",
			"--cluster-enabled", "yes", "--cluster-port", redistest.FreePort, "--cluster-announce-ip", "127.0.0.1",
		})...)
		do(t, node, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		do(t, node, append([]any{"CLUSTER", "ADDSLOTSRANGE"}, slots...)...)
		nodes = append(nodes, node)
	}
	_, port, _ := strings.Cut(nodes[1].TLSAddr, ":")
	_, bus, _ := strings.Cut(strings.Fields(do(t, nodes[1], "CLUSTER", "NODES").(string))[1], "@")
	do(t, nodes[0], "CLUSTER", "MEET", "127.0.0.1", port, strings.TrimRight(bus, ","))
	for _, node := range nodes {
		testwait.Until(t, "the Cluster is complete", func() bool {
			return strings.Contains(do(t, node, "CLUSTER", "INFO").(string), "cluster_state:ok")
		})
	}
	return nodes
}

func do(t *testing.T, server *redistest.Server, command ...any) any {
	t.Helper()
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	answer, err := client.Do(t.Context(), command...).Result()
	if err != nil {
		t.Fatalf("%v: %v", command[:2], err)
	}
	return answer
}

// certificates makes a certificate authority and a certificate for 127.0.0.1, and
// returns their file, that of the key, and the options for a Redis with them.
func certificates(t *testing.T) (caFile, keyFile string, options []string) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	caFile, keyFile = file("cert.pem", "CERTIFICATE", certificate), file("key.pem", "PRIVATE KEY", key)
	return caFile, keyFile, []string{
		"--tls-port", redistest.FreePort, "--tls-cert-file", caFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", caFile,
	}
}
