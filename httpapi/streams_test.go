package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"spoollock/auth"
	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// streamAPI is a server of the trial schema.
type streamAPI struct {
	*api
	handler *httpapi.Handler
	trial   *gqlhttptest.Trial
}

// newStreamAPI starts a server. At the end of the test it must have nothing left
// over.
func newStreamAPI(t *testing.T, change ...func(*httpapi.Config, *httptest.Server)) *streamAPI {
	t.Helper()
	log := redistest.NewLog(t)
	trial := gqlhttptest.NewTrial()
	trial.Refused = &lock.ExpiredError{Tag: "MK-1", Cause: lock.EndReleased}
	config := httpapi.Config{
		Schema: trial, Health: func() (bool, map[string]string) { return true, nil }, Log: log.Logger(),
		StreamLimits: streamLimits, RequestTimeout: testwait.Patience, Addresses: httpapi.NewAddresses(400, nil),
		FloorLive: func() bool { return true }, Eviction: func() string { return "unknown" }, Metrics: http.NotFoundHandler(),
		Observe:  func(string, string, time.Duration) {},
		Identify: auth.Static(lock.Caller{Role: lock.RoleWorker}),
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
		ctx, cancel := context.WithTimeout(context.Background(), testwait.Patience)
		defer cancel()
		_ = handler.Shutdown(ctx)
		server.Close()
		counts := handler.Streams()
		counts.Refused = 0
		if counts != (gqlhttp.StreamCounts{}) || trial.Running.Load() != 0 {
			t.Errorf("left over are %+v and %d operations", counts, trial.Running.Load())
		}
		if found := secret.FindString(log.String()); found != "" {
			t.Errorf("the log holds a token, %q:\n%s", found, log.String())
		}
	})
	return a
}

// logged counts the records of masked errors.
func (a *streamAPI) logged() int { return strings.Count(a.log.String(), "request failed") }

// withTimes returns a change of the times.
func withTimes(times gqlhttp.StreamTimes) func(*httpapi.Config, *httptest.Server) {
	return func(c *httpapi.Config, _ *httptest.Server) { c.StreamTimes = times }
}

func withStreamLimits(change func(*gqlhttp.StreamLimits)) func(*httpapi.Config, *httptest.Server) {
	return func(c *httpapi.Config, _ *httptest.Server) { change(&c.StreamLimits) }
}
