package httpapi_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"spoollock/gqlhttp"
	"spoollock/testwait"
)

// stream posts a body and returns the answer under way.
func (a *streamAPI) stream(body string) *http.Response {
	a.t.Helper()
	request, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.server.URL+"/graphql", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	response, err := a.client.Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		a.t.Fatalf("%s is answered %s", body, response.Status)
	}
	return response
}

const (
	comment   = ":\n\n"
	completed = "event: complete\ndata:\n\n"
)

func event(data string) string { return "event: next\ndata: " + data + "\n\n" }

func TestEvents(t *testing.T) {
	t.Parallel()
	masking := `{"errors":[{"message":"Something went wrong on the server. Its log has the details under UUID.","extensions":{"code":"INTERNAL_SERVER_ERROR","errorId":"UUID"}}]}`
	a := newStreamAPI(t)
	close(a.trial.Release)
	for document, want := range map[string]string{
		`{hello}`:                   event(`{"data":{"hello":"world"}}`),
		`mutation{touch}`:           event(`{"data":{"touch":"done"}}`),
		`subscription{count(to:2)}`: event(`{"data":{"count":0}}`) + event(`{"data":{"count":1}}`),
		`subscription{count(to:0)}`: "",
		`{`:                         event(`{"errors":[{"message":"The document cannot be parsed at this place.","locations":[{"line":1,"column":2}],"extensions":{"code":"GRAPHQL_PARSE_FAILED"}}]}`),
		`subscription{nothing}`:     event(`{"errors":[{"message":"Cannot query field \"nothing\" on type \"Subscription\".","locations":[{"line":1,"column":14}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`),
		`subscription{refused}`:     event(`{"errors":[{"message":"The lock on spool MK-1 was released.","extensions":{"cause":"RELEASED","code":"LOCK_EXPIRED","tagSpool":"MK-1"}}]}`),
		`{panics}`:                  event(masking),
		`subscription{panics}`:      event(masking),
		`subscription{breaks}`:      event(`{"data":{"breaks":0}}`) + event(masking),
	} {
		response, body := a.do(http.MethodPost, "/graphql", fmt.Sprintf(`{"query":%q}`, document),
			"Content-Type", "application/json", "Accept", "text/event-stream")
		if response.StatusCode != 200 || masked(body) != comment+want+completed {
			t.Errorf("%s is answered %d\n%s", document, response.StatusCode, masked(body))
		}
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
		} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", document, name, got)
			}
		}
	}
	if got := a.logged(); got != 3 {
		t.Errorf("%d errors are logged:\n%s", got, a.log)
	}
}

// What is refused before the stream begins is answered in JSON.
func TestEventsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t)
	const subscription = `{"query":"subscription{hangs}"}`
	for name, test := range map[string]struct {
		method, body string
		headers      []string
		status       int
		code         string
	}{
		"no JSON":          {"POST", leaked, []string{"Content-Type", "application/json"}, 400, "BAD_REQUEST"},
		"no query":         {"POST", `{"variables":{"t":"` + leaked + `"}}`, []string{"Content-Type", "application/json"}, 400, "BAD_REQUEST"},
		"too large":        {"POST", `{"query":"` + strings.Repeat(" ", 70000) + `"}`, []string{"Content-Type", "application/json"}, 413, "BAD_REQUEST"},
		"text":             {"POST", subscription, []string{"Content-Type", "text/plain"}, 415, "BAD_REQUEST"},
		"by GET":           {"GET", "", nil, 406, "BAD_REQUEST"},
		"another page":     {"POST", subscription, []string{"Content-Type", "application/json", "Origin", "https://evil.example"}, 403, "FORBIDDEN"},
		"another host":     {"POST", subscription, []string{"Content-Type", "application/json", "Host", "evil.example"}, 403, "FORBIDDEN"},
		"JSON asked for":   {"POST", subscription, []string{"Content-Type", "application/json", "Accept", "application/json"}, 406, "BAD_REQUEST"},
		"anything will do": {"POST", subscription, []string{"Content-Type", "application/json", "Accept", "*/*"}, 406, "BAD_REQUEST"},
		"JSON preferred":   {"POST", subscription, []string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream;q=0.9"}, 406, "BAD_REQUEST"},
		"a multipart one":  {"POST", subscription, []string{"Content-Type", "application/json", "Accept", `multipart/mixed;subscriptionSpec="1.0", application/json`}, 406, "BAD_REQUEST"},
	} {
		if !strings.Contains(strings.Join(test.headers, " "), "Accept") {
			test.headers = append(test.headers, "Accept", "text/event-stream")
		}
		response, body := a.do(test.method, "/graphql?query=subscription{hangs}", test.body, test.headers...)
		if response.StatusCode != test.status || !strings.Contains(body, `"code":"`+test.code+`"`) || strings.Contains(body, "8b6f5a1e") ||
			response.Header.Get("Content-Type") != jsonType {
			t.Errorf("%s is answered %d %v %s", name, response.StatusCode, response.Header, body)
		}
	}
	for accept, want := range map[string]string{
		"text/event-stream, */*":                        "text/event-stream; charset=utf-8",
		"text/event-stream, application/json;q=0.9":     "text/event-stream; charset=utf-8",
		"application/json, text/event-stream":           jsonType,
		"text/event-stream;q=0, application/json;q=0.1": jsonType,
		"*/*": jsonType,
	} {
		response, body := a.do(http.MethodPost, "/graphql", `{"query":"{hello}"}`, "Content-Type", "application/json", "Accept", accept)
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != want {
			t.Errorf("Accept %q is answered %d %s %s", accept, response.StatusCode, got, body)
		}
	}
}

// At the shutdown a subscription ends without complete, so that the client comes
// back elsewhere; the answer is well-formed all the same, and a mutation under way
// is answered.
func TestEventsAtShutdown(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{KeepAlive: testwait.Patience}))
	subscription := a.stream(`{"query":"subscription{hangs}"}`)
	mutation := a.stream(`{"query":"mutation{touch}"}`)
	<-a.trial.Begun
	<-a.trial.Begun
	done := make(chan error, 1)
	go func() { done <- a.handler.Shutdown(t.Context()) }()
	if body, err := io.ReadAll(subscription.Body); err != nil || string(body) != comment+event(`{"data":{"hangs":0}}`) {
		t.Errorf("the subscription ends with %s, %v", body, err)
	}
	response, body := a.do(http.MethodPost, "/graphql", `{"query":"subscription{hangs}"}`, "Content-Type", "application/json", "Accept", "text/event-stream")
	if response.StatusCode != 503 || !strings.Contains(body, `"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryAfterSeconds":1,"retryable":true`) {
		t.Errorf("another stream is answered %d %s", response.StatusCode, body)
	}
	close(a.trial.Release)
	if body, err := io.ReadAll(mutation.Body); err != nil || string(body) != comment+event(`{"data":{"touch":"done"}}`)+completed {
		t.Errorf("the mutation ends with %s, %v", body, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
