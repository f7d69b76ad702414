package gqlhttp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"spoollock/gqlhttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is a guard against hanging, never a measurement.
const patience = 60 * time.Second

const (
	jsonType     = "application/json; charset=utf-8"
	responseType = "application/graphql-response+json; charset=utf-8"
	good         = `{"query":"{count}"}`
	goodAnswer   = `{"data":{"count":0}}`
)

// api is a handler that is served.
type api struct {
	t       *testing.T
	url     string
	client  *http.Client
	handler *gqlhttp.Handler
}

// serve serves the schema counter, or the one in config. At the end of the test,
// no stream may be open.
func serve(t *testing.T, config gqlhttp.Config) *api {
	t.Helper()
	if config.Schema == nil {
		config.Schema = newCounter()
	}
	handler := gqlhttp.New(config)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := handler.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
		counts := handler.Streams()
		counts.Refused = 0
		if counts != (gqlhttp.StreamCounts{}) {
			t.Errorf("left over are %+v", counts)
		}
	})
	return &api{t: t, url: server.URL, client: server.Client(), handler: handler}
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
	request, err := http.NewRequestWithContext(a.t.Context(), method, a.url+query, strings.NewReader(body))
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
