package gqlhttp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

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

// serveFrom serves callers who say who they are in the field From of the init, from the
// network that the header Network of the handshake names.
func serveFrom(t *testing.T, limits gqlhttp.StreamLimits, change ...func(*gqlhttp.Config, *httptest.Server)) *api {
	t.Helper()
	return serve(t, gqlhttp.Config{
		StreamLimits: limits,
		Authenticate: func(_ *http.Request, header http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
			name := header.Get("From")
			if name == "stranger" {
				return gqlhttp.Caller{}, &gqlhttp.Refusal{Status: http.StatusUnauthorized}
			}
			return gqlhttp.Caller{Value: name, QuotaKey: name}, nil
		},
		Network: func(r *http.Request) string { return r.Header.Get("Network") },
	}, change...)
}

func initFrom(name string) string {
	return `{"type":"connection_init","payload":{"From":"` + name + `"}}`
}

// The sockets of one caller are bounded as its subscriptions are. One too many is closed
// with a code after which clients come back.
func TestSocketsPerCaller(t *testing.T) {
	t.Parallel()
	a := serveFrom(t, gqlhttp.StreamLimits{PerCaller: 2})
	open := func(name string) *gqlhttptest.Socket { return a.open(initFrom(name)) }
	const acknowledged = `{"type":"connection_ack"}`
	first, second := open("ana"), open("ana")
	first.Want(acknowledged)
	second.Want(acknowledged)
	open("ana").WantClose(1013, "Too many WebSockets")
	for _, name := range []string{"bob", "", "", ""} { // others, and those of no name
		open(name).Want(acknowledged)
	}
	if got := a.handler.Streams().Refused; got != 1 {
		t.Errorf("%d are refused", got)
	}
	_ = first.Conn.Close(websocket.StatusNormalClosure, "")
	a.waitFor("two are gone", func() bool { return a.handler.Streams().WebSockets == 5 })
	open("ana").Want(acknowledged)
	open("ana").WantClose(1013, "Too many WebSockets")
}

// Before the init, a network has fewer sockets than it may have after it.
func TestSocketsBeforeInit(t *testing.T) {
	t.Parallel()
	a := serveFrom(t, gqlhttp.StreamLimits{PerNetwork: 5, BeforeInit: 2}, withTimes(gqlhttp.StreamTimes{Init: patience}))
	dial := func(network string) (*gqlhttptest.Socket, bool) {
		t.Helper()
		s, response, err := a.dial("Network", network)
		if err != nil && (response == nil || response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "1") {
			t.Fatalf("the handshake ends with %v", err)
		}
		return s, err == nil
	}
	open := func() *gqlhttptest.Socket {
		t.Helper()
		s, ok := dial("a")
		if !ok {
			t.Fatal("a socket within the limit is refused")
		}
		return s
	}
	full := func(when string) {
		t.Helper()
		if _, ok := dial("a"); ok {
			t.Fatalf("%s, a socket too many is served", when)
		}
	}
	first, second := open(), open()
	full("of two that are silent")
	if _, ok := dial("b"); !ok {
		t.Error("a socket of another network is refused")
	}
	first.Send(initFrom("ana"))
	first.Want(`{"type":"connection_ack"}`)
	open().Send(initFrom("stranger"))
	a.waitFor("one that is refused makes room", func() bool { return a.handler.Streams().WebSockets == 3 })
	third := open()
	full("of one that is acknowledged, and two that are silent")
	_ = second.Conn.CloseNow()
	a.waitFor("one that is gone makes room", func() bool { return a.handler.Streams().WebSockets == 3 })
	third.Send(initFrom("bob"))
	third.Want(`{"type":"connection_ack"}`)
	for range 3 {
		s := open()
		s.Send(initFrom("cid"))
		s.Want(`{"type":"connection_ack"}`)
	}
	full("of five that are acknowledged")
}
