package gqlhttp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"go.uber.org/goleak"

	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is a guard against hanging, never a measurement.
const patience = 60 * time.Second

const (
	hello  = `{"id":"1","type":"subscribe","payload":{"query":"{hello}"}}`
	helped = `{"type":"next","id":"1","payload":{"data":{"hello":"world"}}}`
	leaked = "93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11" // a secret, which nothing may repeat

	completed = "event: complete\ndata:\n\n"

	jsonType     = "application/json; charset=utf-8"
	responseType = "application/graphql-response+json; charset=utf-8"
	good         = `{"query":"{count}"}`
	goodAnswer   = `{"data":{"count":0}}`
)

// api is a handler that is served.
type api struct {
	t       *testing.T
	server  *httptest.Server
	client  *http.Client
	handler *gqlhttp.Handler

	// Of serveTrial.
	trial   *gqlhttptest.Trial
	uncoded *atomic.Int64 // errors without a code
}

// serve serves the schema counter, or the one in config. At the end of the test,
// no stream may be open.
func serve(t *testing.T, config gqlhttp.Config, change ...func(*gqlhttp.Config, *httptest.Server)) *api {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	for _, change := range change {
		change(&config, server)
	}
	if config.Schema == nil {
		config.Schema = newCounter()
	}
	handler := gqlhttp.New(config)
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = handler.Shutdown(ctx)
		server.Close()
		counts := handler.Streams()
		counts.Refused = 0
		if counts != (gqlhttp.StreamCounts{}) {
			t.Errorf("left over are %+v", counts)
		}
	})
	return &api{t: t, server: server, client: server.Client(), handler: handler}
}

// serveTrial serves the schema of trials.
func serveTrial(t *testing.T, change ...func(*gqlhttp.Config, *httptest.Server)) *api {
	t.Helper()
	trial, uncoded := gqlhttptest.NewTrial(), &atomic.Int64{}
	t.Cleanup(func() { // once the server is closed
		if n := trial.Running.Load(); n != 0 {
			t.Errorf("%d operations still run", n)
		}
	})
	a := serve(t, gqlhttp.Config{
		Schema: trial,
		Presenter: func(ctx context.Context, err error) *gqlerror.Error {
			presented := graphql.DefaultErrorPresenter(ctx, err)
			if presented.Extensions["code"] == nil {
				uncoded.Add(1)
			}
			return presented
		},
		RequestTimeout: patience,
		StreamLimits:   gqlhttp.StreamLimits{MessagesPerSecond: 1000},
	}, change...)
	a.trial, a.uncoded = trial, uncoded
	return a
}

// withTimes returns a change of the patience.
func withTimes(times gqlhttp.StreamTimes) func(*gqlhttp.Config, *httptest.Server) {
	return func(c *gqlhttp.Config, _ *httptest.Server) { c.StreamTimes = times }
}

func withStreamLimits(change func(*gqlhttp.StreamLimits)) func(*gqlhttp.Config, *httptest.Server) {
	return func(c *gqlhttp.Config, _ *httptest.Server) { change(&c.StreamLimits) }
}

// of returns the server for a subtest.
func (a *api) of(t *testing.T) *api {
	sub := *a
	sub.t = t
	return &sub
}

// dial opens a WebSocket with the headers given as names and values.
func (a *api) dial(headers ...string) (*gqlhttptest.Socket, *http.Response, error) {
	a.t.Helper()
	return gqlhttptest.Dial(a.t, a.server.URL+"/graphql", headers...)
}

// open opens a WebSocket and sends messages.
func (a *api) open(messages ...string) *gqlhttptest.Socket {
	a.t.Helper()
	s, _, err := a.dial()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, message := range messages {
		s.Send(message)
	}
	return s
}

// acknowledged opens a WebSocket that is acknowledged.
func (a *api) acknowledged(messages ...string) *gqlhttptest.Socket {
	a.t.Helper()
	s := a.open(gqlhttptest.InitMessage)
	s.Want(`{"type":"connection_ack"}`)
	for _, message := range messages {
		s.Send(message)
	}
	return s
}

// stream posts a body and returns the events under way.
func (a *api) stream(body string) *http.Response {
	a.t.Helper()
	response := a.begin(http.MethodPost, "/graphql", body, "Content-Type", "application/json", "Accept", "text/event-stream")
	if response.StatusCode != http.StatusOK {
		a.t.Fatalf("%s is answered %s", body, response.Status)
	}
	return response
}

// do sends a request with the headers given as names and values.
func (a *api) do(method, query, body string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	response := a.begin(method, query, body, headers...)
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return response, string(text)
}

// begin is do without reading the answer.
func (a *api) begin(method, query, body string, headers ...string) *http.Response {
	a.t.Helper()
	request, err := http.NewRequestWithContext(a.t.Context(), method, a.server.URL+query, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := a.client.Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// post sends a body of JSON.
func (a *api) post(body string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	return a.do(http.MethodPost, "", body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

func (a *api) waitFor(what string, condition func() bool) {
	a.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			a.t.Fatalf("not seen in %v: %s; open are %+v", patience, what, a.handler.Streams())
		}
		time.Sleep(2 * time.Millisecond)
	}
}
