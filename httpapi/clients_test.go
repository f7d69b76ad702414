package httpapi_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/auth/authtest"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// The clients that people use, from npm, see what they should.
func TestClients(t *testing.T) {
	t.Parallel()
	needClients(t)
	a := newStreamAPI(t)
	close(a.trial.Release)
	done := make(chan error, 1)
	got := runClients(t, "clients.mjs", func() {
		go func() { done <- a.handler.Shutdown(t.Context()) }()
	}, a.server.URL+"/graphql")
	want := `graphql-ws { hello }: {"hello":"world"}, complete
graphql-ws mutation { touch }: {"touch":"done"}, complete
graphql-ws subscription($to: Int!) { count(to: $to) }: {"count":0}, {"count":1}, {"count":2}, complete
graphql-ws subscription { nothing }: error GRAPHQL_VALIDATION_FAILED
graphql-ws subscription($to: Int!) { count(to: $to) }: error BAD_USER_INPUT
graphql-ws subscription { refused }: error LOCK_EXPIRED
graphql-ws subscription { breaks }: {"breaks":0}, error INTERNAL_SERVER_ERROR
graphql-ws leaves after {"hangs":0}
graphql-ws goes on: {"hello":"world"}, complete
graphql-sse { hello }: {"hello":"world"}, complete
graphql-sse mutation { touch }: {"touch":"done"}, complete
graphql-sse subscription($to: Int!) { count(to: $to) }: {"count":0}, {"count":1}, {"count":2}, complete
graphql-sse subscription { nothing }: GRAPHQL_VALIDATION_FAILED, complete
graphql-sse subscription($to: Int!) { count(to: $to) }: BAD_USER_INPUT, complete
graphql-sse subscription { refused }: LOCK_EXPIRED, complete
graphql-sse subscription { breaks }: {"breaks":0}, INTERNAL_SERVER_ERROR, complete
graphql-sse leaves after {"hangs":0}
graphql-sse goes on: {"hello":"world"}, complete
side by side: 0 1 2 3 4 5 6 7 8 9
no JSON: 4400 Invalid message received
binary: 4400 Invalid message received
init with a text: 4400 Invalid message received
subscribe before init: 4401 Unauthorized
no subprotocol: 4406 Subprotocol not acceptable
no init: 4408 Connection initialisation timeout
the same id twice: 4409 Subscriber already exists
init twice: 4429 Too many initialisation requests
shut down
at the shutdown: {"hangs":0}, closed 1001 Shutting down
at the shutdown: {"hangs":0}, closed Connection closed while having active streams`
	if got != want {
		t.Fatalf("the clients see\n%s\nwant\n%s", got, want)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The same clients follow the floor, and go on by themselves when the service has been
// shut down and is there again.
func TestClientsOnTheFloor(t *testing.T) {
	t.Parallel()
	needClients(t)
	a := newAPI(t, redistest.Start(t).URL, func(c *httpapi.Config) { c.StreamLimits.PerNetwork = 4 })
	a.awaitReadiness(200, live)
	var handler atomic.Pointer[httpapi.Handler]
	handler.Store(httpapi.New(a.config))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.Load().ServeHTTP(w, r)
	}))
	defer server.Close()
	done := make(chan error, 1)
	got := runClients(t, "floor.mjs", func() {
		old := handler.Swap(httpapi.New(a.config))
		go func() { done <- old.Shutdown(t.Context()) }()
	}, server.URL+"/graphql")
	const want = `graphql-ws, a filter that is none: BAD_USER_INPUT
graphql-ws, a history of each spool: QUERY_TOO_COMPLEX
graphql-sse, a filter that is none: BAD_USER_INPUT
graphql-sse, a history of each spool: QUERY_TOO_COMPLEX
graphql-ws, one too many: RATE_LIMITED
graphql-sse, one too many: 429
graphql-ws sees the take
graphql-sse sees the take
graphql-ws sees the release
graphql-sse sees the release
shut down
graphql-ws ends: 1001 Shutting down
graphql-sse ends: Connection closed while having active streams
graphql-ws goes on after 2 snapshots
graphql-sse goes on after 2 snapshots`
	if got != want {
		t.Fatalf("the clients see\n%s\nwant\n%s", got, want)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The same clients go on by themselves when their credentials end, with the next one.
func TestClientsWithCredentials(t *testing.T) {
	t.Parallel()
	needClients(t)
	provider := authtest.New(t)
	a := newStreamAPI(t, func(c *httpapi.Config, _ *httptest.Server) { c.Identify = provider.JWT(t).Identify })
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		claims := authtest.Claims(known("93", lock.RoleViewer))
		claims["exp"] = time.Now().Add(5*time.Second - 30*time.Second).Unix() // there is a leeway of 30 s
		_, _ = io.WriteString(w, provider.Sign(nil, claims))
	}))
	defer tokens.Close()
	got := runClients(t, "credentials.mjs", func() {}, a.server.URL+"/graphql", tokens.URL)
	const want = `graphql-ws, nothing: 4401 Unauthorized
graphql-ws, a wrong one: 4401 Unauthorized
graphql-sse, nothing: 401
graphql-sse, a wrong one: 401
graphql-ws begins with {"hangs":0}
graphql-ws closed 4403 Credential has ended
graphql-ws begins with {"hangs":0}
graphql-ws closed 4403 Credential has ended
graphql-ws begins with {"hangs":0}
graphql-sse begins with {"hangs":0}
graphql-sse begins with {"hangs":0}
graphql-sse begins with {"hangs":0}
graphql-ws, one that has ended: 4401 Unauthorized
graphql-sse, one that has ended: 401`
	if got != want {
		t.Fatalf("the clients see\n%s\nwant\n%s", got, want)
	}
}

func needClients(t *testing.T) {
	t.Helper()
	redistest.NeedProgram(t, "node", "needs Node.js 20 or newer")
	_, err := os.Stat("clients/node_modules")
	redistest.Need(t, err, "needs make packages")
}

// runClients runs a script of the folder clients, and returns what it prints; at its line
// "shut down", shutDown is called.
func runClients(t *testing.T, script string, shutDown func(), args ...string) string {
	t.Helper()
	clients := exec.Command("node", append([]string{script}, args...)...)
	clients.Dir = "clients"
	clients.Stderr = t.Output()
	out, err := clients.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(testwait.Patience, func() { _ = clients.Process.Kill() })
	defer guard.Stop()
	var got []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		got = append(got, lines.Text())
		if lines.Text() == "shut down" {
			shutDown()
		}
	}
	if err := clients.Wait(); err != nil {
		t.Errorf("the clients end with %v", err)
	}
	return strings.Join(got, "\n")
}
