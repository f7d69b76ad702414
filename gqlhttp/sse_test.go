package gqlhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/gqlhttp"
)

// A subscription is of one root field, whatever the variables say.
func TestSubscriptionsOfOneStream(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	for document, refused := range map[string]bool{
		`subscription{a:count(to:0) b:count(to:0)}`:                                                                   true,
		`subscription{count(to:0) refused}`:                                                                           true,
		`subscription{count(to:0)@skip(if:false)}`:                                                                    true,
		`subscription($v:Boolean!){count(to:0)@include(if:$v)}`:                                                       true,
		`subscription{...@include(if:true){count(to:0)}}`:                                                             true,
		`subscription{...F@skip(if:false)} fragment F on Subscription{count(to:0)}`:                                   true,
		`subscription{...F ...G} fragment F on Subscription{a:count(to:0)} fragment G on Subscription{b:count(to:0)}`: true,
		`subscription{count(to:0) count(to:0)}`:                                                                       false,
	} {
		_, body := a.do(http.MethodPost, "/graphql", fmt.Sprintf(`{"query":%q,"variables":{"v":true}}`, document),
			"Content-Type", "application/json", "Accept", "text/event-stream")
		if strings.Contains(body, `"code":"GRAPHQL_VALIDATION_FAILED"`) != refused || a.uncoded.Load() != 0 {
			t.Errorf("%s is answered %s", document, body)
		}
	}
}

// The time that the server gives an answer does not cut a stream, and comments go
// out meanwhile.
func TestEventsOutlastTheWriteTimeout(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{KeepAlive: timeout / 5}), func(_ *gqlhttp.Config, server *httptest.Server) {
		server.Config.WriteTimeout, server.Config.ReadTimeout = timeout, timeout
	})
	reader := bufio.NewReader(a.stream(`{"query":"subscription{hangs}"}`).Body)
	for comments := 0; comments < 12; { // which takes longer than the timeout
		line, err := reader.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d comments: %v", comments, err)
		}
		if line == ":\n" {
			comments++
		}
	}
}

// A comment is never sent after the answer has ended: the race detector would see
// it.
func TestEventsOfShortStreams(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{KeepAlive: 50 * time.Microsecond}))
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 50 {
				response, body := a.do(http.MethodPost, "/graphql", `{"query":"subscription{count(to:3)}"}`,
					"Content-Type", "application/json", "Accept", "text/event-stream")
				if response.StatusCode != 200 || !strings.HasSuffix(body, completed) {
					t.Errorf("the answer is %d %s", response.StatusCode, body)
				}
			}
		})
	}
	clients.Wait()
}

// A client that goes ends its subscription.
func TestEventsAreEndedByTheClient(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	response := a.stream(`{"query":"subscription{hangs}"}`)
	<-a.trial.Begun
	if got, want := a.handler.Streams(), (gqlhttp.StreamCounts{EventStreams: 1, Subscriptions: 1}); got != want {
		t.Errorf("the counts are %+v", got)
	}
	_ = response.Body.Close()
	a.waitFor("it is over", func() bool { return a.handler.Streams() == gqlhttp.StreamCounts{} && a.trial.Running.Load() == 0 })
}

func TestEventsSlowReader(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{Write: 500 * time.Millisecond}))
	conn, err := net.Dial("tcp", a.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	const body = `{"query":"subscription{flood}"}`
	if _, err := fmt.Fprintf(conn, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		t.Fatal(err)
	}
	a.waitFor("it runs", func() bool { return a.trial.Pulled.Load() > 10 })
	a.waitFor("it is cut off", func() bool { return a.handler.Streams() == gqlhttp.StreamCounts{} })
	if pulled := a.trial.Pulled.Load(); pulled > 1000 {
		t.Errorf("%d responses of 64 KB were made for nobody", pulled)
	}
}

// The end of an answer is written, though the last deadline for a write is over.
func TestEventsEndAfterSilence(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{KeepAlive: patience, Write: time.Second}))
	response := a.stream(`{"query":"subscription{hangs}"}`)
	<-a.trial.Begun
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // past the deadline
	defer cancel()
	<-ctx.Done()
	if err := a.handler.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// A caller that is being authenticated again does not hold up the end of its stream.
func TestEventsEndWhileTheCallerIsChecked(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	checking := make(chan struct{})
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{KeepAlive: 10 * time.Millisecond}), func(c *gqlhttp.Config, _ *httptest.Server) {
		c.Authenticate = func(r *http.Request, _ http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
			if calls.Add(1) == 2 {
				close(checking)
				<-r.Context().Done()
			}
			return gqlhttp.Caller{}, nil
		}
	})
	response := a.stream(`{"query":"subscription{hangs}"}`)
	<-checking
	if err := a.handler.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
