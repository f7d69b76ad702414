package examples_test

import (
	"errors"
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

// A client that gets no answer to its take, and then that of a proxy, sends it again and
// has the spool.
func TestTomar(t *testing.T) {
	t.Parallel()
	program := build(t, "..")
	for language, command := range tomar {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			command := command(t)
			client := exec.Command(command[0], command[1:]...)
			client.Env = append(os.Environ(), "GRAPHQL_URL="+losesAnswers(t, graphql(service(t, program))))
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

// losesAnswers returns the URL of a proxy that hands all requests on, but closes the
// connection instead of answering the first, and answers the second by itself.
func losesAnswers(t *testing.T, graphqlURL string) string {
	t.Helper()
	target, err := url.Parse(graphqlURL)
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		ModifyResponse: func(*http.Response) error {
			switch requests.Add(1) {
			case 1:
				panic(http.ErrAbortHandler)
			case 2:
				return errors.New("lost")
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "<html>Bad gateway</html>", http.StatusBadGateway)
		},
	})
	t.Cleanup(proxy.Close)
	return proxy.URL + target.Path
}
