package gqlhttp_test

import (
	"net/http"
	"strings"
	"testing"

	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
)

// Subscriptions are counted by the network and by the caller that the hooks name, and
// in all.
func TestQuotas(t *testing.T) {
	t.Parallel()
	const counts = `{"query":"subscription{counts}"}`
	for name, test := range map[string]struct {
		limits        gqlhttp.StreamLimits
		first, second string // callers
		refused       bool
	}{
		"one network":    {gqlhttp.StreamLimits{PerNetwork: 1}, "ana@a", "bob@a", true},
		"two networks":   {gqlhttp.StreamLimits{PerNetwork: 1}, "ana@a", "ana@b", false},
		"one caller":     {gqlhttp.StreamLimits{PerCaller: 1}, "ana@a", "ana@b", true},
		"two callers":    {gqlhttp.StreamLimits{PerCaller: 1}, "ana@a", "bob@a", false},
		"two anonymous":  {gqlhttp.StreamLimits{PerCaller: 1}, "@a", "@a", false},
		"one in all":     {gqlhttp.StreamLimits{Subscriptions: 1}, "ana@a", "bob@b", true},
		"two of default": {gqlhttp.StreamLimits{}, "ana@a", "ana@a", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, gqlhttp.Config{
				StreamLimits: test.limits,
				Authenticate: func(r *http.Request, _ http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
					name, _, _ := strings.Cut(r.Header.Get("From"), "@")
					return gqlhttp.Caller{Value: name, QuotaKey: name}, nil
				},
				Network: func(r *http.Request) string {
					_, network, _ := strings.Cut(r.Header.Get("From"), "@")
					return network
				},
			})
			ask := func(from string) *http.Response {
				return a.begin(http.MethodPost, "", counts, "Content-Type", "application/json", "Accept", "text/event-stream", "From", from)
			}
			first := ask(test.first)
			if second := ask(test.second); (second.StatusCode == http.StatusTooManyRequests) != test.refused {
				t.Errorf("the second is answered %s", second.Status)
			} else {
				_ = second.Body.Close()
			}
			_ = first.Body.Close()
			a.waitFor("there is room", func() bool { return a.handler.Streams().Subscriptions == 0 })
			if again := ask(test.second); again.StatusCode != http.StatusOK {
				t.Errorf("once there is room, it is answered %s", again.Status)
			} else {
				_ = again.Body.Close()
			}
		})
	}
}

func TestStreamsPerAddress(t *testing.T) {
	t.Parallel()
	const limited = `{"message":"Too many are open, here, of this address or of this caller.","extensions":{"code":"RATE_LIMITED","reason":"SUBSCRIPTIONS","retryAfterSeconds":1}}`
	const hangs = `{"query":"subscription{hangs}"}`
	for name, change := range map[string]func(*gqlhttp.StreamLimits){
		"of an address": func(l *gqlhttp.StreamLimits) { l.PerNetwork = 3 },
		"in all":        func(l *gqlhttp.StreamLimits) { l.Subscriptions = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serveTrial(t, withStreamLimits(change))
			s := a.acknowledged(gqlhttptest.Subscribe("1", "subscription{hangs}"), gqlhttptest.Subscribe("2", "subscription{hangs}"))
			a.waitFor("two run", func() bool { return a.trial.Running.Load() == 2 })
			stream := a.stream(hangs)
			a.waitFor("three run", func() bool { return a.trial.Running.Load() == 3 })
			other := a.acknowledged(gqlhttptest.Subscribe("x", "subscription{hangs}"))
			other.Want(`{"type":"error","id":"x","payload":[` + limited + `]}`)
			response, body := a.do(http.MethodPost, "/graphql", hangs, "Content-Type", "application/json", "Accept", "text/event-stream")
			if response.StatusCode != 429 || response.Header.Get("Retry-After") != "1" || body != `{"errors":[`+limited+`]}` {
				t.Errorf("a stream too many is answered %d %s", response.StatusCode, body)
			}
			other.Send(hello) // the socket lives, and queries are served
			other.Want(helped, `{"type":"complete","id":"1"}`)
			a.open()
			if _, response, err := a.dial(); err == nil || response.StatusCode != 429 || response.Header.Get("Retry-After") != "1" {
				t.Errorf("a socket too many is answered %v, %v", response, err)
			}
			if got, want := a.handler.Streams(), (gqlhttp.StreamCounts{WebSockets: 3, EventStreams: 1, Subscriptions: 3, Refused: 3}); got != want {
				t.Errorf("the counts are %+v, want %+v", got, want)
			}
			// What has ended makes room.
			s.Send(`{"type":"complete","id":"1"}`)
			_ = stream.Body.Close()
			a.waitFor("one runs", func() bool { return a.handler.Streams().Subscriptions == 1 })
			other.Send(gqlhttptest.Subscribe("y", "subscription{hangs}"))
			other.Want(`{"type":"next","id":"y","payload":{"data":{"hangs":0}}}`)
		})
	}
}
