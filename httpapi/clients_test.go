package httpapi_test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"spoollock/repository/redistest"
)

// The clients that people use, from npm, see what they should.
func TestClients(t *testing.T) {
	t.Parallel()
	redistest.NeedProgram(t, "node", "needs Node.js 20 or newer")
	_, err := os.Stat("clients/node_modules")
	redistest.Need(t, err, "needs make packages")
	a := newStreamAPI(t)
	close(a.trial.release)
	clients := exec.Command("node", "clients.mjs", a.server.URL+"/graphql")
	clients.Dir = "clients"
	clients.Stderr = t.Output()
	out, err := clients.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := clients.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(patience, func() { _ = clients.Process.Kill() })
	defer guard.Stop()
	done := make(chan error, 1)
	var got []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		got = append(got, lines.Text())
		if lines.Text() == "shut down" {
			go func() { done <- a.handler.Shutdown(t.Context()) }()
		}
	}
	if err := clients.Wait(); err != nil {
		t.Errorf("the clients end with %v", err)
	}
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
	if text := strings.Join(got, "\n"); text != want {
		t.Fatalf("the clients see\n%s\nwant\n%s", text, want)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
