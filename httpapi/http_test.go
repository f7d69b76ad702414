package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"spoollock/httpapi"
	"spoollock/repository"
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

func TestNegotiation(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
	for accept, want := range map[string]string{
		"":                                  jsonType,
		"*/*":                               jsonType,
		"application/*":                     jsonType,
		"application/json":                  jsonType,
		"APPLICATION/JSON; Charset=UTF-8":   jsonType,
		"application/graphql-response+json": responseType,
		"application/graphql-response+json,application/json;q=0.9":     responseType,
		"application/json;q=0.9, application/graphql-response+json":    responseType,
		"application/json, application/graphql-response+json":          jsonType,
		"application/graphql-response+json, application/json":          responseType,
		"application/graphql-response+json;q=0.1, */*;q=0.5":           jsonType,
		"application/json;q=0, */*":                                    responseType,
		"text/html, application/xhtml+xml, */*;q=0.8":                  jsonType,
		"application/json;q=broken, application/graphql-response+json": responseType,
	} {
		response, body := a.do(http.MethodPost, "/graphql", good, "Content-Type", "application/json", "Accept", accept)
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != want || body != goodAnswer {
			t.Errorf("Accept %q is answered %d %s %s", accept, response.StatusCode, got, body)
		}
	}
	for _, accept := range []string{"text/html", "application/json;q=0", "application/json; charset=latin1", "multipart/mixed"} {
		response, body := a.do(http.MethodPost, "/graphql", good, "Content-Type", "application/json", "Accept", accept)
		if response.StatusCode != http.StatusNotAcceptable || !strings.Contains(body, `"code":"BAD_REQUEST"`) {
			t.Errorf("Accept %q is answered %d %s", accept, response.StatusCode, body)
		}
	}
}

// A document that is refused is told apart from an operation that failed by the
// status of the newer media type, and has no data in either.
func TestStatusOfWhatWasNotExecuted(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
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

// What is no GraphQL request is refused with a status of its own and a code, and is
// not quoted.
func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
	const token = "93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11"
	post := func(body string, headers ...string) func() (*http.Response, string) {
		return func() (*http.Response, string) {
			if headers == nil {
				headers = []string{"Content-Type", "application/json"}
			}
			return a.do(http.MethodPost, "/graphql", body, headers...)
		}
	}
	method := func(method, query string) func() (*http.Response, string) {
		return func() (*http.Response, string) {
			return a.do(method, "/graphql"+query, good, "Content-Type", "application/json")
		}
	}
	tests := map[string]struct {
		send   func() (*http.Response, string)
		status int
	}{
		"no body":                {post(""), 400},
		"no JSON":                {post(token), 400},
		"an array":               {post("[" + good + "]"), 400},
		"a text":                 {post(`"` + token + `"`), 400},
		"null":                   {post("null"), 400},
		"no query":               {post(`{"variables":{"a":"` + token + `"}}`), 400},
		"query null":             {post(`{"query":null}`), 400},
		"query a number":         {post(`{"query":7}`), 400},
		"operationName a list":   {post(`{"query":"{a}","operationName":["` + token + `"]}`), 400},
		"variables a text":       {post(`{"query":"{a}","variables":"` + token + `"}`), 400},
		"variables a list":       {post(`{"query":"{a}","variables":[1]}`), 400},
		"extensions a number":    {post(`{"query":"{a}","extensions":1}`), 400},
		"trailing bytes":         {post(good + "x"), 400},
		"two values":             {post(good + good), 400},
		"a name twice":           {post(`{"query":"{a}","query":"{lockLimits{batchSize}}"}`), 400},
		"a variable twice":       {post(`{"query":"{a}","variables":{"a":1,"a":2}}`), 400},
		"broken UTF-8":           {post("{\"query\":\"{a}\xff\"}"), 400},
		"half a surrogate":       {post(`{"query":"{a} \ud800"}`), 400},
		"a comment":              {post(`{"query":"{a}" /* ` + token + ` */}`), 400},
		"a cut body":             {post(good[:20]), 400},
		"nested beyond all":      {post(`{"query":"{a}","variables":{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}}`), 400},
		"a body too large":       {post(`{"query":"` + strings.Repeat(" ", 70000) + `"}`), 413},
		"no type":                {post(good, "Accept", "*/*"), 415},
		"a form":                 {post("query="+token, "Content-Type", "application/x-www-form-urlencoded"), 415},
		"text":                   {post(good, "Content-Type", "text/plain"), 415},
		"graphql":                {post("{a}", "Content-Type", "application/graphql"), 415},
		"a multipart form":       {post("--x", "Content-Type", "multipart/form-data; boundary=x"), 415},
		"Latin-1":                {post(good, "Content-Type", "application/json; charset=iso-8859-1"), 415},
		"packed":                 {post(good, "Content-Type", "application/json", "Content-Encoding", "gzip"), 415},
		"PUT":                    {method(http.MethodPut, ""), 405},
		"DELETE":                 {method(http.MethodDelete, ""), 405},
		"PATCH":                  {method(http.MethodPatch, ""), 405},
		"OPTIONS":                {method(http.MethodOptions, ""), 405},
		"GET without a query":    {method(http.MethodGet, ""), 400},
		"GET, a query twice":     {method(http.MethodGet, "?query={a}&query={b}"), 400},
		"GET, broken escapes":    {method(http.MethodGet, "?query=%zz"), 400},
		"GET, broken UTF-8":      {method(http.MethodGet, "?query=%ff"), 400},
		"GET, variables no JSON": {method(http.MethodGet, "?query={a}&variables="+token), 400},
		"GET, a mutation": {method(http.MethodGet, "?query="+url.QueryEscape(
			`mutation{tomarSpool(input:{tagSpool:"MK-1",workerId:93,workerNombre:"x"}){lockToken}}`)), 405},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			response, body := test.send()
			if response.StatusCode != test.status || !strings.HasPrefix(body, `{"errors":[{"message":"`) || strings.Contains(body, "8b6f5a1e") {
				t.Fatalf("the answer is %d %s", response.StatusCode, body)
			}
			if test.status != 200 && !strings.Contains(body, `"extensions":{"code":"BAD_REQUEST"}`) {
				t.Fatalf("the answer is %s", body)
			}
			if allow := response.Header.Get("Allow"); (test.status == 405) != (allow != "") {
				t.Fatalf("Allow is %q", allow)
			}
			if response.Header.Get("Content-Type") != jsonType || response.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("the headers are %v", response.Header)
			}
		})
	}
	if _, body := a.post(`{spool(tagSpool:"MK-1"){version}}`, nil); body != `{"data":{"spool":{"version":0}}}` {
		t.Fatalf("something was changed: %s", body)
	}
}

// An upgrade is an offer: the request is answered without it.
func TestUpgradesAreNotTaken(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
	for _, upgrade := range []string{"h2c", "websocket", "x"} {
		response, body := a.do(http.MethodPost, "/graphql", good, "Content-Type", "application/json",
			"Connection", "Upgrade", "Upgrade", upgrade)
		if response.StatusCode != 200 || body != goodAnswer {
			t.Errorf("Upgrade: %s is answered %d %s", upgrade, response.StatusCode, body)
		}
	}
}

// The time of a request runs out with an answer.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL, func(c *httpapi.Config) { c.RequestTimeout = time.Nanosecond })
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
	a := newAPI(t, repository.EmbeddedURL)
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
	a := newAPI(t, repository.EmbeddedURL)
	_, body := a.do(http.MethodPost, "/graphql", `{"query":"query($t:ID!){spool(tagSpool:$t){tagSpool}}","variables":{"t":123456789012345678901234567890}}`,
		"Content-Type", "application/json")
	if body != `{"data":{"spool":{"tagSpool":"123456789012345678901234567890"}}}` {
		t.Fatalf("the answer is %s", body)
	}
}

func TestNoMoreThanFiveErrors(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
	_, body := a.post(`{spool(tagSpool:"MK-1"){`+strings.Repeat("a b c d e f g h i j ", 3)+"}}", nil)
	if n := strings.Count(body, `"message"`); n != 5 {
		t.Fatalf("%d errors are answered: %s", n, body)
	}
}

func TestPersistedQueries(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
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

// A stranger who persists queries without end has the oldest forgotten.
func TestPersistedQueriesAreBounded(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
	persisted := func(i int, whole bool) string {
		query, field := fmt.Sprintf("{a%d:__typename}", i), ""
		if whole {
			field = fmt.Sprintf(`"query":%q,`, query)
		}
		_, body := a.do(http.MethodPost, "/graphql",
			`{`+field+`"extensions":{"persistedQuery":{"version":1,"sha256Hash":"`+hash(query)+`"}}}`, "Content-Type", "application/json")
		return body
	}
	for i := range 201 {
		if body := persisted(i, true); !strings.Contains(body, `"data"`) {
			t.Fatalf("a query is answered %s", body)
		}
	}
	if body := persisted(0, false); !strings.Contains(body, "PERSISTED_QUERY_NOT_FOUND") {
		t.Errorf("the oldest is answered %s", body)
	}
	if body := persisted(200, false); body != `{"data":{"a200":"Query"}}` {
		t.Errorf("the youngest is answered %s", body)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL, func(c *httpapi.Config) { c.AllowedHosts = []string{"spools.example"} })
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
	a := newAPI(t, repository.EmbeddedURL, func(c *httpapi.Config) { c.AllowedOrigins = []string{"https://board.example"} })
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
	a := newAPI(t, repository.EmbeddedURL, func(c *httpapi.Config) { c.Playground = true })
	for _, path := range []string{"/", "/healthz", "/graphql?query={__typename}", "/playground", "/nothing"} {
		response, _ := a.do(http.MethodGet, path, "")
		header := response.Header
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("X-Frame-Options") != "DENY" ||
			header.Get("Referrer-Policy") != "no-referrer" ||
			!strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'") || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s has the headers %v", path, header)
		}
	}
}

// A path that is not clean is nothing, rather than a redirect that repeats the query.
func TestPathsThatAreNotClean(t *testing.T) {
	t.Parallel()
	a := newAPI(t, repository.EmbeddedURL)
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
	a := newAPI(t, repository.EmbeddedURL)
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
