package gqlhttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
)

// What is against the protocol closes the socket with the protocol's code, and is
// not quoted.
func TestWebSocketCloses(t *testing.T) {
	t.Parallel()
	const invalid = "Invalid message received"
	a := serveTrial(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.OperationsPerSocket = 2 }))
	for name, test := range map[string]struct {
		messages []string // after the handshake
		code     websocket.StatusCode
		reason   string
	}{
		"no JSON":                      {[]string{leaked}, 4400, invalid},
		"nothing":                      {[]string{""}, 4400, invalid},
		"no object":                    {[]string{`["` + leaked + `"]`}, 4400, invalid},
		"broken UTF-8":                 {[]string{"{\"type\":\"ping\",\"payload\":{\"a\":\"\xff\"}}"}, 4400, invalid},
		"a name twice":                 {[]string{`{"type":"ping","type":"pong"}`}, 4400, invalid},
		"two messages in one":          {[]string{gqlhttptest.InitMessage + gqlhttptest.InitMessage}, 4400, invalid},
		"no type":                      {[]string{`{"id":"` + leaked + `"}`}, 4400, invalid},
		"a type that is no text":       {[]string{`{"type":7}`}, 4400, invalid},
		"an unknown type":              {[]string{`{"type":"` + leaked + `"}`}, 4400, invalid},
		"a message of the old one":     {[]string{`{"type":"start","id":"1","payload":{"query":"{hello}"}}`}, 4400, invalid},
		"a message of the server":      {[]string{`{"type":"next","id":"1","payload":{}}`}, 4400, invalid},
		"init with a text":             {[]string{`{"type":"connection_init","payload":"` + leaked + `"}`}, 4400, invalid},
		"init with a list":             {[]string{`{"type":"connection_init","payload":["` + leaked + `"]}`}, 4400, invalid},
		"ping with a number":           {[]string{`{"type":"ping","payload":1}`}, 4400, invalid},
		"pong with a text":             {[]string{`{"type":"pong","payload":"` + leaked + `"}`}, 4400, invalid},
		"complete without an id":       {[]string{`{"type":"complete"}`}, 4400, invalid},
		"subscribe without an id":      {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","payload":{"query":"{hello}"}}`}, 4400, invalid},
		"subscribe, id a number":       {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","id":1,"payload":{"query":"{hello}"}}`}, 4400, invalid},
		"subscribe without payload":    {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","id":"1"}`}, 4400, invalid},
		"subscribe with null":          {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","id":"1","payload":null}`}, 4400, invalid},
		"subscribe, no query":          {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","id":"1","payload":{"variables":{"t":"` + leaked + `"}}}`}, 4400, invalid},
		"subscribe, query a number":    {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","id":"1","payload":{"query":1}}`}, 4400, invalid},
		"subscribe, variables a text":  {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","id":"1","payload":{"query":"{hello}","variables":"` + leaked + `"}}`}, 4400, invalid},
		"subscribe, extensions a list": {[]string{gqlhttptest.InitMessage, `{"type":"subscribe","id":"1","payload":{"query":"{hello}","extensions":[]}}`}, 4400, invalid},
		"subscribe before init":        {[]string{hello}, 4401, "Unauthorized"},
		"init twice":                   {[]string{gqlhttptest.InitMessage, gqlhttptest.InitMessage}, 4429, "Too many initialisation requests"},
		"an id that is in use": {
			[]string{gqlhttptest.InitMessage, gqlhttptest.Subscribe(leaked, "subscription{hangs}"), gqlhttptest.Subscribe(leaked, "{hello}")}, 4409, "Subscriber already exists",
		},
		"too many operations": {
			[]string{gqlhttptest.InitMessage, gqlhttptest.Subscribe("1", "subscription{hangs}"), gqlhttptest.Subscribe("2", "subscription{hangs}"), gqlhttptest.Subscribe("3", "{hello}")}, 4429, "Too many operations",
		},
		"too large a message": {[]string{`{"type":"ping","payload":{"a":"` + strings.Repeat("x", 70000) + `"}}`}, 1009, "read limited at 65537 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			a.of(t).open(test.messages...).WantClose(test.code, test.reason)
		})
	}
	t.Run("binary", func(t *testing.T) {
		s := a.of(t).open()
		s.Write(websocket.MessageBinary, gqlhttptest.InitMessage)
		s.WantClose(4400, invalid)
	})
	a.waitFor("all is over", func() bool { return a.handler.Streams().WebSockets == 0 && a.trial.Running.Load() == 0 })
	if got := a.uncoded.Load(); got != 0 {
		t.Errorf("%d errors have no code", got)
	}
}

func TestWebSocketSubprotocol(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	for _, offered := range []string{"", "graphql-ws", "GraphQL-Transport-WS", "graphql-transport-ws2"} {
		s, _, err := a.dial("Sec-WebSocket-Protocol", offered)
		if err != nil {
			t.Fatal(err)
		}
		s.WantClose(4406, "Subprotocol not acceptable")
	}
	s, _, err := a.dial("Sec-WebSocket-Protocol", "graphql-ws graphql-transport-ws")
	if err != nil {
		t.Fatal(err)
	}
	s.Send(gqlhttptest.InitMessage)
	s.Want(`{"type":"connection_ack"}`)
}

// A handshake that is not well-formed is refused in JSON.
func TestHandshakesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	handshake := []string{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket"}
	for name, headers := range map[string][]string{
		"no version":    {"Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="},
		"an old one":    {"Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version", "8"},
		"no key":        {"Sec-WebSocket-Version", "13"},
		"a short key":   {"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAA"},
		"a token as it": {"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", leaked},
		"two keys":      {"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="},
	} {
		response, body := a.do(http.MethodGet, "/graphql", "", append(handshake, headers...)...)
		if response.StatusCode != 400 || !strings.Contains(body, `"code":"BAD_REQUEST"`) || strings.Contains(body, "8b6f5a1e") {
			t.Errorf("%s is answered %d %s", name, response.StatusCode, body)
		}
	}
	// Without Connection: Upgrade it is an offer that is not taken.
	if response, body := a.do(http.MethodGet, "/graphql?query={hello}", "", "Upgrade", "websocket"); response.StatusCode != 200 {
		t.Errorf("an offer is answered %d %s", response.StatusCode, body)
	}
}

func TestWebSocketInitTimeout(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{Init: 2 * time.Second}))
	s := a.acknowledged()
	a.open(`{"type":"ping"}`).WantClose(4408, "Connection initialisation timeout")
	s.Send(hello) // though it is older
	s.Want(helped)
}

func TestWebSocketPings(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	s := a.open(`{"type":"ping"}`, `{"type":"ping","payload":null}`, `{"type":"ping","payload":{"at": [1, "é"]}}`, `{"type":"pong","payload":{}}`, gqlhttptest.InitMessage)
	s.Want(`{"type":"pong"}`, `{"type":"pong"}`, `{"type":"pong","payload":{"at": [1, "é"]}}`, `{"type":"connection_ack"}`)
	// Those of WebSocket itself, too.
	done := make(chan error, 1)
	go func() { done <- s.Conn.Ping(t.Context()) }()
	s.Send(gqlhttptest.Subscribe("1", "subscription{hangs}"))
	s.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	s.Send(`{"type":"complete","id":"1"}`)
	go func() { _, _ = s.Read() }()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A peer that says nothing any more, not even after a ping, is dead.
func TestWebSocketDeadPeer(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{Init: patience, KeepAlive: time.Second}))
	s := a.acknowledged(gqlhttptest.Subscribe("1", "subscription{hangs}"))
	s.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`, `{"type":"ping"}`)
	for {
		message, err := s.Read()
		if err != nil {
			break
		}
		t.Logf("meanwhile: %s", message)
	}
	a.waitFor("the socket is gone", func() bool {
		return a.handler.Streams() == gqlhttp.StreamCounts{} && a.trial.Running.Load() == 0
	})
}

// A peer that says anything is alive.
func TestWebSocketLivePeer(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{Init: patience, KeepAlive: 5 * time.Second}))
	s := a.acknowledged()
	for range 2 {
		s.Want(`{"type":"ping"}`)
		s.Send(hello)
		s.Want(helped, `{"type":"complete","id":"1"}`)
	}
}

// The client ends an operation: it is over, is told nothing more, and its id is
// free.
func TestWebSocketComplete(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	s := a.acknowledged()
	for _, document := range []string{"subscription{hangs}", "{slow}", "mutation{touch}"} {
		s.Send(gqlhttptest.Subscribe("1", document))
		if document == "subscription{hangs}" {
			s.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
		}
		<-a.trial.Begun
		s.Send(`{"type":"complete","id":"1"}`)
		s.Send(hello)
		s.Want(helped, `{"type":"complete","id":"1"}`)
		a.waitFor("it is over", func() bool { return a.trial.Running.Load() == 0 })
	}
	s.Send(`{"type":"complete","id":"none"}`)
	// One that comes to its end all the same says nothing.
	s.Send(gqlhttptest.Subscribe("1", "{stubborn}"))
	<-a.trial.Begun
	s.Send(`{"type":"complete","id":"1"}`)
	s.Send(`{"type":"ping"}`)
	s.Want(`{"type":"pong"}`)
	close(a.trial.Release)
	a.waitFor("it is over", func() bool { return a.trial.Running.Load() == 0 })
	s.Send(hello)
	s.Want(helped, `{"type":"complete","id":"1"}`)
}

// An operation that is ended in the middle of a write does not take the socket
// with it.
func TestWebSocketCompleteAmidAWrite(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{Write: patience}))
	s := a.acknowledged(gqlhttptest.Subscribe("flood", "subscription{flood}"))
	pulled := int64(0)
	a.waitFor("a write is stuck, as nobody reads", func() bool {
		before := pulled
		pulled = a.trial.Pulled.Load()
		time.Sleep(20 * time.Millisecond)
		return pulled > 10 && pulled == before
	})
	s.Send(`{"type":"complete","id":"flood"}`)
	s.Send(hello)
	for {
		message, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		if message == helped {
			break
		}
	}
}

// Operations run side by side, and an error of one is none of the others'.
func TestWebSocketNeighbours(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	s := a.acknowledged(gqlhttptest.Subscribe("slow", "{slow}"), gqlhttptest.Subscribe("bad", "{nothing}"))
	if got, err := s.Read(); err != nil || !strings.HasPrefix(got, `{"type":"error","id":"bad"`) {
		t.Fatalf("the message is %s, %v", got, err)
	}
	s.Send(hello)
	s.Want(helped, `{"type":"complete","id":"1"}`)
	close(a.trial.Release)
	s.Want(`{"type":"next","id":"slow","payload":{"data":{"slow":"done"}}}`, `{"type":"complete","id":"slow"}`)
}

// A query or mutation has the time of a request.
func TestWebSocketRequestTimeout(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, func(c *gqlhttp.Config, _ *httptest.Server) {
		c.RequestTimeout = 50 * time.Millisecond
		c.NotExecuted = func(error) error {
			return &gqlerror.Error{Message: "late", Extensions: map[string]any{"code": "LATE", "outcome": "NOT_APPLIED"}}
		}
	})
	s := a.acknowledged(gqlhttptest.Subscribe("1", "subscription{hangs}"), gqlhttptest.Subscribe("2", "{slow}"))
	s.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	if got, err := s.Read(); err != nil || !strings.HasPrefix(got, `{"type":"error","id":"2"`) || !strings.Contains(got, `"code":"LATE","outcome":"NOT_APPLIED"`) {
		t.Fatalf("the message is %s, %v", got, err)
	}
	if got := a.handler.Streams().Subscriptions; got != 1 {
		t.Fatalf("%d subscriptions are running", got)
	}
}

func TestWebSocketMessageRate(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.MessagesPerSecond = 10 }))
	t.Run("messages", func(t *testing.T) {
		s := a.of(t).acknowledged()
		for range 100 {
			if s.Conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"pong"}`)) != nil {
				break
			}
		}
		s.WantClose(4429, "Too many messages")
	})
	t.Run("frames", func(t *testing.T) {
		conn, err := net.Dial("tcp", a.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the test is over
		_ = conn.SetDeadline(time.Now().Add(patience))
		gqlhttptest.Handshake(t, conn)
		if _, err := conn.Write(bytesOf("\x89\x80mask", 100)); err != nil { // an empty ping
			t.Fatal(err)
		}
		reply := make([]byte, 0, 4096)
		for !strings.Contains(string(reply), "Too many messages") {
			n, err := conn.Read(reply[len(reply):cap(reply)])
			if err != nil {
				t.Fatalf("it ends with %v after %q", err, reply)
			}
			reply = reply[:len(reply)+n]
		}
	})
	if got := a.handler.Streams().Refused; got != 2 {
		t.Errorf("%d are refused", got)
	}
}

func bytesOf(text string, times int) []byte { return []byte(strings.Repeat(text, times)) }

// A client that does not read holds what the network holds, and is cut off.
func TestWebSocketSlowReader(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, withTimes(gqlhttp.StreamTimes{Write: 500 * time.Millisecond}))
	a.acknowledged(gqlhttptest.Subscribe("1", "subscription{flood}"), gqlhttptest.Subscribe("2", "subscription{flood}"))
	a.waitFor("it runs", func() bool { return a.trial.Pulled.Load() > 10 })
	a.waitFor("it is cut off", func() bool { return a.handler.Streams() == gqlhttp.StreamCounts{} })
	if pulled := a.trial.Pulled.Load(); pulled > 1000 {
		t.Errorf("%d responses of 64 KB were made for nobody", pulled)
	}
}

func TestWebSocketShutdown(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	s := a.acknowledged(gqlhttptest.Subscribe("1", "subscription{hangs}"), gqlhttptest.Subscribe("2", "mutation{touch}"))
	s.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	<-a.trial.Begun
	<-a.trial.Begun
	idle, silent := a.acknowledged(), a.open()
	done := make(chan error, 1)
	go func() { done <- a.handler.Shutdown(t.Context()) }()
	idle.WantClose(1001, "Shutting down")
	silent.WantClose(1001, "Shutting down")
	if _, response, err := a.dial(); err == nil || response.StatusCode != 503 {
		t.Errorf("another socket is answered %v, %v", response, err)
	}
	s.Send(hello) // too late, so another process answers it
	s.Send(`{"type":"ping","payload":{"to":"be sure that it was read"}}`)
	s.Want(`{"type":"pong","payload":{"to":"be sure that it was read"}}`)
	close(a.trial.Release)
	s.Want(`{"type":"next","id":"2","payload":{"data":{"touch":"done"}}}`, `{"type":"complete","id":"2"}`)
	if message, err := s.Read(); websocket.CloseStatus(err) != 1001 {
		t.Errorf("it ends with %s, %v", message, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A shutdown does not wait for ever, nor for a peer that does not answer the close.
func TestWebSocketShutdownIsBounded(t *testing.T) {
	t.Parallel()
	a := serveTrial(t)
	a.open(gqlhttptest.InitMessage) // it never reads
	if err := a.handler.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	a = serveTrial(t)
	s := a.acknowledged(gqlhttptest.Subscribe("1", "{slow}"))
	<-a.trial.Begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.handler.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the shutdown ends with %v", err)
	}
	for {
		message, err := s.Read()
		if err != nil {
			break
		}
		if !strings.HasPrefix(message, `{"type":"error"`) { // which is the truth, if it still gets through
			t.Errorf("what is cut off says %s", message)
		}
	}
	a.waitFor("nothing runs", func() bool { return a.trial.Running.Load() == 0 })
}
