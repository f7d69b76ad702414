package examples_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"spoollock/repository/redistest"
)

// The ways to start the client of examples/tomar, by language.
var tomar = map[string]func(t *testing.T) []string{
	"Go": func(t *testing.T) []string { return []string{build(t, "./tomar")} },
	"Python": func(t *testing.T) []string {
		redistest.NeedProgram(t, "python3", "needs Python 3")
		return []string{"python3", "tomar/tomar.py"}
	},
}

// A client that gets no answer to its first take sends it again and has the spool.
func TestTomar(t *testing.T) {
	t.Parallel()
	program := build(t, "..")
	for language, command := range tomar {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			command := command(t)
			client := exec.Command(command[0], command[1:]...)
			client.Env = append(os.Environ(), "GRAPHQL_URL="+losesFirstAnswer(t, service(t, program)))
			client.Stderr = t.Output()
			out, err := client.Output()
			const want = "MK-1335-CW-25238-014 is ours until MOMENT\n" +
				"MK-1335-CW-25238-014 is held by MR(93) until MOMENT\n" +
				"MK-1335-CW-25238-014 RELEASED\n"
			if got := moment.ReplaceAllString(string(out), "MOMENT"); err != nil || got != want {
				t.Fatalf("the client prints\n%s%v, want\n%s", got, err, want)
			}
		})
	}
}

// losesFirstAnswer returns the URL of a proxy that closes the connection instead of
// answering the first request, which it has handed on.
func losesFirstAnswer(t *testing.T, graphqlURL string) string {
	t.Helper()
	target, err := url.Parse(graphqlURL)
	if err != nil {
		t.Fatal(err)
	}
	var answered atomic.Bool
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		ModifyResponse: func(*http.Response) error {
			if !answered.Swap(true) {
				panic(http.ErrAbortHandler)
			}
			return nil
		},
	})
	t.Cleanup(proxy.Close)
	return proxy.URL + target.Path
}
