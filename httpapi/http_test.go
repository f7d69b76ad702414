package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"spoollock/httpapi"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
)

const (
	jsonType     = "application/json; charset=utf-8"
	responseType = "application/graphql-response+json; charset=utf-8"
	good         = `{"query":"{lockLimits{batchSize}}"}`
	goodAnswer   = `{"data":{"lockLimits":{"batchSize":50}}}`
)

// do sends a request with the headers given as names and values.
func (a *api) do(method, path, body string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	request, err := http.NewRequest(method, a.server.URL+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
			continue
		}
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := a.client.Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return response, string(text)
}

// The audit of the specification's working draft, on the embedded Redis and on a
// real one.
func TestAudit(t *testing.T) {
	t.Parallel()
	redistest.NeedProgram(t, "node", "needs Node.js 20 or newer")
	_, err := os.Stat("audit/node_modules")
	redistest.Need(t, err, "needs make packages")
	onEachRedis(t, func(t *testing.T, a *api) {
		audit := exec.Command("node", "audit.mjs", a.server.URL+"/graphql")
		audit.Dir = "audit"
		out, err := audit.CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "61 of 61\n") {
			t.Fatalf("the audit says %v\n%s", err, out)
		}
	}, func(c *httpapi.Config) { c.Introspection = true }) // the audit asks for a type
}

// A document that is refused is told apart from an operation that failed by the
// status of the newer media type, and has no data in either.
func TestStatusOfWhatWasNotExecuted(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	for name, body := range map[string]string{
		"parse":     `{"query":"{"}`,
		"validate":  `{"query":"{nothing}"}`,
		"coerce":    `{"query":"query($t:ID!){spool(tagSpool:$t){id}}","variables":{"t":true}}`,
		"complex":   `{"query":"{` + strings.Repeat(`x:__typename `, 501) + `}"}`,
		"defer":     `{"query":"{...@defer{lockLimits{batchSize}}}"}`,
		"operation": `{"query":"query A{lockLimits{batchSize}} query B{lockLimits{batchSize}}"}`,
	} {
		for accept, want := range map[string]int{"application/json": 200, "application/graphql-response+json": 400} {
			response, answer := a.do(http.MethodPost, "/graphql", body, "Content-Type", "application/json", "Accept", accept)
			if response.StatusCode != want || !strings.HasPrefix(answer, `{"errors":[`) || strings.Contains(answer, `"data"`) {
				t.Errorf("%s under %s is answered %d %s", name, accept, response.StatusCode, answer)
			}
		}
	}
	failing := `{"query":"{spool(tagSpool:\"\"){id}}"}`
	for _, accept := range []string{"application/json", "application/graphql-response+json"} {
		if response, answer := a.do(http.MethodPost, "/graphql", failing, "Content-Type", "application/json", "Accept", accept); response.StatusCode != 200 || !strings.Contains(answer, `"data":{"spool":null}`) {
			t.Errorf("an operation that failed is answered %d %s", response.StatusCode, answer)
		}
	}
}

// The time of a request runs out with an answer.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.RequestTimeout = time.Nanosecond })
	response, body := a.do(http.MethodPost, "/graphql", good, "Content-Type", "application/json")
	if response.StatusCode != 200 || !strings.Contains(body, `"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED"`) {
		t.Fatalf("the answer is %d %s", response.StatusCode, body)
	}
}

// A panic outside of all resolvers is masked as theirs are, and logged.
func TestPanicOfAnExecution(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t)
	for i, accept := range []string{"application/json", "application/graphql-response+json"} {
		response, body := a.do(http.MethodPost, "/graphql", `{"query":"{panics}"}`, "Content-Type", "application/json", "Accept", accept)
		if response.StatusCode != 500 || response.Header.Get("Content-Type") != accept+"; charset=utf-8" ||
			!strings.Contains(masked(body), `"extensions":{"code":"INTERNAL_SERVER_ERROR","errorId":"UUID"}}]}`) || a.logged() != i+1 {
			t.Errorf("as %s, the answer is %s %v %s", accept, response.Status, response.Header, body)
		}
	}
}

// Names that a client made up are quoted back in part at most, values never.
func TestNamesAreNotEchoedAtLength(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	if _, body := a.post("{"+strings.Repeat("x", 10000)+"}", nil); len(body) > 1000 {
		t.Errorf("the answer has %d bytes", len(body))
	}
	_, body := a.do(http.MethodPost, "/graphql", `{"query":"{__typename}","operationName":"93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11"}`, "Content-Type", "application/json")
	if !strings.Contains(body, "GRAPHQL_VALIDATION_FAILED") || strings.Contains(body, "8b6f5a1e") {
		t.Errorf("an operation that is not there is answered %s", body)
	}
}

// Numbers arrive as they were written: 2^53+1 is not taken for 2^53.
func TestNumbersAreNotRounded(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	_, body := a.do(http.MethodPost, "/graphql", `{"query":"query($t:ID!){spool(tagSpool:$t){tagSpool}}","variables":{"t":123456789012345678901234567890}}`,
		"Content-Type", "application/json")
	if body != `{"data":{"spool":{"tagSpool":"123456789012345678901234567890"}}}` {
		t.Fatalf("the answer is %s", body)
	}
}

func TestNoMoreThanFiveErrors(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	_, body := a.post(`{spool(tagSpool:"MK-1"){`+strings.Repeat("a b c d e f g h i j ", 3)+"}}", nil)
	if n := strings.Count(body, `"message"`); n != 5 {
		t.Fatalf("%d errors are answered: %s", n, body)
	}
}

func TestPersistedQueries(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	sum := sha256.Sum256([]byte(`{lockLimits{batchSize}}`))
	hash := hex.EncodeToString(sum[:])
	extensions := `{"persistedQuery":{"version":1,"sha256Hash":"` + hash + `"}}`
	byHash := func() (*http.Response, string) {
		return a.do(http.MethodPost, "/graphql", `{"extensions":`+extensions+`}`, "Content-Type", "application/json")
	}
	if response, body := byHash(); response.StatusCode != 200 || !strings.Contains(body, `"code":"PERSISTED_QUERY_NOT_FOUND"`) {
		t.Fatalf("an unknown hash is answered %d %s", response.StatusCode, body)
	}
	_, body := a.do(http.MethodPost, "/graphql", good[:len(good)-1]+`,"extensions":`+extensions+`}`, "Content-Type", "application/json")
	if body != goodAnswer {
		t.Fatalf("the query with its hash is answered %s", body)
	}
	if _, body = byHash(); body != goodAnswer {
		t.Fatalf("the hash is answered %s", body)
	}
	if _, body = a.do(http.MethodGet, "/graphql?extensions="+url.QueryEscape(extensions), ""); body != goodAnswer {
		t.Fatalf("the hash by GET is answered %s", body)
	}
	response, body := a.do(http.MethodPost, "/graphql", `{"query":"{__typename}","extensions":`+extensions+`}`, "Content-Type", "application/json")
	if response.StatusCode != 400 || !strings.Contains(body, "BAD_REQUEST") {
		t.Fatalf("another query with the hash is answered %d %s", response.StatusCode, body)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.AllowedHosts = []string{"spools.example"} })
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8080": 200, "localhost.:80": 200, "127.0.0.1:80": 200, "10.1.2.3": 200,
		"[::1]:8080": 200, "[::1]": 200, "spools.example": 200, "Spools.Example:443": 200,
		"evil.example": 403, "spools.example.evil": 403, "localhost.evil": 403, "x.spools.example": 403, "127.0.0.1.evil": 403,
	} {
		response, body := a.do(http.MethodPost, "/graphql", good, "Content-Type", "application/json", "Host", host)
		if response.StatusCode != want || (want == 403) != strings.Contains(body, `"code":"FORBIDDEN"`) {
			t.Errorf("Host %s is answered %d %s", host, response.StatusCode, body)
		}
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.AllowedOrigins = []string{"https://board.example"} })
	own := a.server.URL
	for name, test := range map[string]struct {
		headers []string
		status  int
		allowed string
	}{
		"no page":              {nil, 200, ""},
		"our own page":         {[]string{"Origin", own}, 200, ""},
		"our own page, fetch":  {[]string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, 200, ""},
		"an allowed page":      {[]string{"Origin", "https://board.example", "Sec-Fetch-Site", "cross-site"}, 200, "https://board.example"},
		"another page":         {[]string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, ""},
		"an old browser's":     {[]string{"Origin", "https://evil.example"}, 403, ""},
		"a page without one":   {[]string{"Origin", "null", "Sec-Fetch-Site", "cross-site"}, 403, ""},
		"http for https":       {[]string{"Origin", "http://board.example", "Sec-Fetch-Site", "cross-site"}, 403, ""},
		"a name that contains": {[]string{"Origin", "https://board.example.evil", "Sec-Fetch-Site", "cross-site"}, 403, ""},
	} {
		response, body := a.do(http.MethodPost, "/graphql", good, append([]string{"Content-Type", "application/json"}, test.headers...)...)
		if response.StatusCode != test.status || response.Header.Get("Access-Control-Allow-Origin") != test.allowed {
			t.Errorf("%s is answered %d %v %s", name, response.StatusCode, response.Header, body)
		}
	}
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"}
	response, _ := a.do(http.MethodOptions, "/graphql", "", append(preflight, "Origin", "https://board.example")...)
	if response.StatusCode != 204 || response.Header.Get("Access-Control-Allow-Methods") != "POST" {
		t.Errorf("a preflight is answered %d %v", response.StatusCode, response.Header)
	}
	response, _ = a.do(http.MethodOptions, "/graphql", "", append(preflight, "Origin", "https://evil.example")...)
	if response.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another page's preflight is answered %v", response.Header)
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.Playground = true })
	for _, path := range []string{"/", "/healthz", "/graphql?query={__typename}", "/playground", "/nothing"} {
		response, _ := a.do(http.MethodGet, path, "")
		header := response.Header
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("X-Frame-Options") != "DENY" ||
			header.Get("Referrer-Policy") != "no-referrer" ||
			!strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'") || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s has the headers %v", path, header)
		}
	}
	// The answer to a POST is no page, but a browser must not take it for one either.
	response, _ := a.do(http.MethodPost, "/graphql", `{"query":"{__typename}"}`, "Content-Type", "application/json")
	if header := response.Header; response.StatusCode != 200 || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a POST is answered %d with the headers %v", response.StatusCode, header)
	}
}

// A path that is not clean is nothing, rather than a redirect that repeats the query.
func TestPathsThatAreNotClean(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	for _, path := range []string{"//", "//graphql", "/./graphql", "/x/../graphql", "/graphql//"} {
		response, body := a.do(http.MethodGet, path+"?query="+leaked, "")
		if response.StatusCode != 404 || strings.Contains(body, leaked) {
			t.Errorf("%s is answered %s %s", path, response.Status, body)
		}
	}
}

// The schema as it is served is the one in the repository.
func TestSchemaAsServed(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	_, served := a.do(http.MethodGet, "/schema.graphql", "")
	const golden = "testdata/schema.graphql"
	if os.Getenv("UPDATE_GOLDEN") == "true" {
		if err := os.WriteFile(golden, []byte(served), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if served != string(want) {
		t.Fatalf("the schema served is not %s, write it anew with UPDATE_GOLDEN=true", golden)
	}
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
