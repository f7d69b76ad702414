package gqlhttp_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"spoollock/gqlhttp"
)

// What is no GraphQL request is refused with a status of its own and a code, and is
// not quoted.
func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{})
	const token = "93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11"
	post := func(body string, headers ...string) func() (*http.Response, string) {
		return func() (*http.Response, string) {
			if headers == nil {
				headers = []string{"Content-Type", "application/json"}
			}
			return a.do(http.MethodPost, "", body, headers...)
		}
	}
	method := func(method, query string) func() (*http.Response, string) {
		return func() (*http.Response, string) {
			return a.do(method, query, good, "Content-Type", "application/json")
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
		"a name twice":           {post(`{"query":"{a}","query":"{count}"}`), 400},
		"a variable twice":       {post(`{"query":"{a}","variables":{"a":1,"a":2}}`), 400},
		"broken UTF-8":           {post("{\"query\":\"{a}\xff\"}"), 400},
		"half a surrogate":       {post(`{"query":"{a} \ud800"}`), 400},
		"a comment":              {post(`{"query":"{a}" /* ` + token + ` */}`), 400},
		"a cut body":             {post(good[:15]), 400},
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
		"GET, a mutation":        {method(http.MethodGet, "?query="+url.QueryEscape(`mutation{add(n:1)}`)), 405},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			response, body := test.send()
			if response.StatusCode != test.status || !strings.HasPrefix(body, `{"errors":[{"message":"`) || strings.Contains(body, "8b6f5a1e") {
				t.Fatalf("the answer is %d %s", response.StatusCode, body)
			}
			if !strings.Contains(body, `"extensions":{"code":"BAD_REQUEST"}`) {
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
	if _, body := a.post(good); body != goodAnswer {
		t.Fatalf("something was changed: %s", body)
	}
}

// An upgrade is an offer: the request is answered without it.
func TestUpgradesAreNotTaken(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{})
	for _, upgrade := range []string{"h2c", "websocket", "x"} {
		response, body := a.post(good, "Connection", "Upgrade", "Upgrade", upgrade)
		if response.StatusCode != 200 || body != goodAnswer {
			t.Errorf("Upgrade: %s is answered %d %s", upgrade, response.StatusCode, body)
		}
	}
}

// A stranger who persists queries without end has the oldest forgotten.
func TestPersistedQueriesAreBounded(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{})
	persisted := func(i int, whole bool) string {
		query, field := fmt.Sprintf("query Q%d{count}", i), ""
		if whole {
			field = fmt.Sprintf(`"query":%q,`, query)
		}
		_, body := a.post(`{` + field + `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hash(query) + `"}}}`)
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
	if body := persisted(200, false); body != goodAnswer {
		t.Errorf("the youngest is answered %s", body)
	}
}

func TestBodySize(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{})
	padded := func(n int) string { return good + strings.Repeat(" ", n-len(good)) }
	if response, body := a.post(padded(65536)); response.StatusCode != http.StatusOK {
		t.Errorf("at the limit, the answer is %d %s", response.StatusCode, body)
	}
	response, body := a.post(padded(65537))
	if response.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(body, `"code":"BAD_REQUEST"`) {
		t.Errorf("above the limit, the answer is %d %s", response.StatusCode, body)
	}
}
