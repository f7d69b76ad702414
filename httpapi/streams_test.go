package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/auth"
	"spoollock/gqlhttp"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
)

// trial is a schema whose operations do what a transport has to cope with.
type trial struct {
	schema *ast.Schema

	begun   chan string   // the fields that wait, as they begin to
	release chan struct{} // closed: they need not wait any more
	running atomic.Int64  // that have begun and are not over
	pulled  atomic.Int64  // responses of flood
}

const trialSDL = `
type Query {
  hello(to: String): String!
  "Waits for the release."
  slow: String!
  "Likewise, whether anybody is still there or not."
  stubborn: String!
  panics: String!
}
type Mutation {
  "Waits for the release."
  touch: String!
}
type Subscription {
  "The numbers below to, then the end."
  count(to: Int!): Int!
  "Cannot begin."
  refused: Int!
  "One number, and then a panic."
  breaks: Int!
  "Panics at the start."
  panics: Int!
  "One number, and then nothing until it is ended."
  hangs: Int!
  "64 KB each time it is asked, for ever."
  flood: String!
}`

func newTrial() *trial {
	return &trial{
		schema: gqlparser.MustLoadSchema(&ast.Source{Input: trialSDL}),
		begun:  make(chan string, 1000), release: make(chan struct{}),
	}
}

func (s *trial) Schema() *ast.Schema { return s.schema }

func (s *trial) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

// wait waits for the release, and reports false if the operation is over before.
func (s *trial) wait(ctx context.Context, field string, release <-chan struct{}) bool {
	s.running.Add(1)
	defer s.running.Add(-1)
	s.begun <- field
	select {
	case <-release:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *trial) Exec(ctx context.Context) graphql.ResponseHandler {
	operation := graphql.GetOperationContext(ctx)
	field := operation.Operation.SelectionSet[0].(*ast.Field)
	responded := 0
	respond := func(value any) *graphql.Response {
		responded++
		data, err := json.Marshal(map[string]any{field.Name: value})
		if err != nil {
			panic(err)
		}
		return &graphql.Response{Data: data}
	}
	switch string(operation.Operation.Operation) + " " + field.Name {
	case "query hello":
		return graphql.OneShot(respond("world"))
	case "query slow", "mutation touch":
		return func(ctx context.Context) *graphql.Response {
			if responded > 0 || !s.wait(ctx, field.Name, s.release) {
				return nil
			}
			return respond("done")
		}
	case "query stubborn":
		return func(ctx context.Context) *graphql.Response {
			s.wait(context.WithoutCancel(ctx), field.Name, s.release)
			return respond("done")
		}
	case "subscription count":
		to, _ := field.ArgumentMap(operation.Variables)["to"].(int64)
		return func(context.Context) *graphql.Response {
			if responded == int(to) {
				return nil
			}
			return respond(responded)
		}
	case "subscription refused":
		graphql.AddError(ctx, &lock.ExpiredError{Tag: "MK-1", Cause: lock.EndReleased})
		return nil
	case "subscription breaks":
		return func(context.Context) *graphql.Response {
			if responded == 1 {
				panic("a trial of panics")
			}
			return respond(0)
		}
	case "subscription hangs":
		return func(ctx context.Context) *graphql.Response {
			if responded == 1 {
				s.wait(ctx, field.Name, nil)
				return nil
			}
			return respond(0)
		}
	case "subscription flood":
		return func(context.Context) *graphql.Response {
			s.pulled.Add(1)
			return respond(strings.Repeat("x", 64<<10))
		}
	default:
		panic("a trial of panics")
	}
}

// streamAPI is a server of the trial schema.
type streamAPI struct {
	*api
	handler *httpapi.Handler
	trial   *trial
}

// newStreamAPI starts a server. At the end of the test it must have nothing left
// over.
func newStreamAPI(t *testing.T, change ...func(*httpapi.Config, *httptest.Server)) *streamAPI {
	t.Helper()
	log := redistest.NewLog(t)
	trial := newTrial()
	config := httpapi.Config{
		Schema: trial, Ping: func(context.Context) error { return nil }, PingTimeout: time.Second, Log: log.Logger(),
		RequestLimits: requestLimits, StreamLimits: streamLimits, RequestTimeout: patience, Addresses: httpapi.NewAddresses(400, nil),
		FloorLive: func() bool { return true }, Eviction: func() string { return "unknown" }, Metrics: http.NotFoundHandler(),
		Observe:  func(string, string, time.Duration) {},
		Identify: auth.Anybody(lock.Caller{Role: lock.RoleWorker}),
	}
	server := httptest.NewUnstartedServer(nil)
	for _, change := range change {
		change(&config, server)
	}
	handler := httpapi.New(config)
	server.Config.Handler = handler
	server.Listener = config.Addresses.Listener(server.Listener, config.Log)
	server.Start()
	a := &streamAPI{
		api:     &api{t: t, server: server, config: config, client: server.Client(), log: log},
		handler: handler, trial: trial,
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = handler.Shutdown(ctx)
		server.Close()
		counts := handler.Streams()
		counts.Refused = 0
		if counts != (gqlhttp.StreamCounts{}) || trial.running.Load() != 0 {
			t.Errorf("left over are %+v and %d operations", counts, trial.running.Load())
		}
		if found := secret.FindString(log.String()); found != "" {
			t.Errorf("the log holds a token, %q:\n%s", found, log.String())
		}
	})
	return a
}

// of returns the server for a subtest.
func (a *streamAPI) of(t *testing.T) *streamAPI {
	sub := *a
	sub.api = &api{t: t, server: a.server, config: a.config, client: a.client, log: a.log}
	return &sub
}

func (a *streamAPI) waitFor(what string, condition func() bool) {
	a.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			a.t.Fatalf("not seen in %v: %s; open are %+v", patience, what, a.handler.Streams())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// logged counts the records of masked errors.
func (a *streamAPI) logged() int { return strings.Count(a.log.String(), "request failed") }

// withTimes returns a change of the patience.
func withTimes(times gqlhttp.StreamTimes) func(*httpapi.Config, *httptest.Server) {
	return func(c *httpapi.Config, _ *httptest.Server) { c.StreamTimes = times }
}

func withStreamLimits(change func(*gqlhttp.StreamLimits)) func(*httpapi.Config, *httptest.Server) {
	return func(c *httpapi.Config, _ *httptest.Server) { change(&c.StreamLimits) }
}
