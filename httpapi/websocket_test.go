package httpapi_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"spoollock/auth/authtest"
	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
)

const (
	leaked = "93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11" // a token, which nothing may repeat
	hello  = `{"id":"1","type":"subscribe","payload":{"query":"{hello}"}}`
	helped = `{"type":"next","id":"1","payload":{"data":{"hello":"world"}}}`
)

// dial opens a WebSocket with the headers given as names and values.
func (a *streamAPI) dial(headers ...string) (*gqlhttptest.Socket, *http.Response, error) {
	a.t.Helper()
	s, response, err := gqlhttptest.Dial(a.t, a.server.URL+"/graphql", headers...)
	if err == nil {
		s.Mask = masked
	}
	return s, response, err
}

// open opens a WebSocket and sends messages.
func (a *streamAPI) open(messages ...string) *gqlhttptest.Socket {
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
func (a *streamAPI) acknowledged(messages ...string) *gqlhttptest.Socket {
	a.t.Helper()
	s := a.open(gqlhttptest.InitMessage)
	s.Want(`{"type":"connection_ack"}`)
	for _, message := range messages {
		s.Send(message)
	}
	return s
}

func TestWebSocketOperations(t *testing.T) {
	t.Parallel()
	const failed = `"extensions":{"code":"INTERNAL_SERVER_ERROR","errorId":"UUID"}`
	masking := `{"message":"Something went wrong on the server. Its log has the details under UUID.",` + failed + `}`
	for name, test := range map[string]struct {
		payload string
		want    []string // type and payload
		logged  int
	}{
		"a query":    {`{"query":"{hello}"}`, []string{`next {"data":{"hello":"world"}}`, "complete"}, 0},
		"a mutation": {`{"query":"mutation{touch}"}`, []string{`next {"data":{"touch":"done"}}`, "complete"}, 0},
		"a subscription": {
			`{"query":"subscription($n:Int!){count(to:$n)}","variables":{"n":2},"operationName":null,"extensions":{}}`,
			[]string{`next {"data":{"count":0}}`, `next {"data":{"count":1}}`, "complete"}, 0,
		},
		"a subscription without an event": {`{"query":"subscription{count(to:0)}"}`, []string{"complete"}, 0},
		"no document": {`{"query":"{"}`, []string{
			`error [{"message":"The document cannot be parsed at this place.","locations":[{"line":1,"column":2}],"extensions":{"code":"GRAPHQL_PARSE_FAILED"}}]`,
		}, 0},
		"no such field": {`{"query":"subscription{nothing}"}`, []string{
			`error [{"message":"Cannot query field \"nothing\" on type \"Subscription\".","locations":[{"line":1,"column":14}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]`,
		}, 0},
		"a variable of another type": {`{"query":"subscription($n:Int!){count(to:$n)}","variables":{"n":"` + leaked + `"}}`, []string{
			`error [{"message":"to is missing, unknown, or not of the type that the schema asks for.","extensions":{"code":"BAD_USER_INPUT","field":"to","reason":"WRONG_TYPE"}}]`,
		}, 0},
		"a number in a text": {`{"query":"subscription($n:Int!){count(to:$n)}","variables":{"n":"2"}}`, []string{
			`error [{"message":"to must be a whole number of 32 bits.","extensions":{"code":"BAD_USER_INPUT","field":"to","reason":"WRONG_TYPE"}}]`,
		}, 0},
		"too complex": {`{"query":"{a:hello b:hello c:hello d:hello e:hello f:hello}"}`, []string{
			`error [{"message":"The document is too complex: rootFields 6, of 5 allowed.","extensions":{"actual":6,"code":"QUERY_TOO_COMPLEX","limit":5,"limitName":"rootFields"}}]`,
		}, 0},
		"a hash that is not known": {`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}`, []string{
			`error [{"message":"PersistedQueryNotFound","extensions":{"code":"PERSISTED_QUERY_NOT_FOUND"}}]`,
		}, 0},
		"a subscription that cannot begin": {`{"query":"subscription{refused}"}`, []string{
			`error [{"message":"The lock on spool MK-1 was released.","extensions":{"cause":"RELEASED","code":"LOCK_EXPIRED","tagSpool":"MK-1"}}]`,
		}, 0},
		"a panic in a query":              {`{"query":"{panics}"}`, []string{"error [" + masking + "]"}, 1},
		"a panic at the start":            {`{"query":"subscription{panics}"}`, []string{"error [" + masking + "]"}, 1},
		"a panic amid events":             {`{"query":"subscription{breaks}"}`, []string{`next {"data":{"breaks":0}}`, "error [" + masking + "]"}, 1},
		"a name that the client made up":  {`{"query":"{hello}","` + leaked + `":1}`, []string{`next {"data":{"hello":"world"}}`, "complete"}, 0},
		"a document that asks the schema": {`{"query":"{__schema{queryType{name}}}"}`, []string{`error [{"message":"Introspection is switched off.","locations":[{"line":1,"column":2}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newStreamAPI(t)
			close(a.trial.Release)
			s := a.acknowledged(`{"id":"a","type":"subscribe","payload":` + test.payload + `}`)
			for _, want := range test.want {
				kind, payload, _ := strings.Cut(want, " ")
				message := `{"type":"` + kind + `","id":"a"`
				if payload != "" {
					message += `,"payload":` + payload
				}
				s.Want(message + "}")
			}
			// Nothing follows, and the id is free.
			s.Send(strings.ReplaceAll(hello, `"1"`, `"a"`))
			s.Want(strings.ReplaceAll(helped, `"1"`, `"a"`), `{"type":"complete","id":"a"}`)
			if got := a.logged(); got != test.logged {
				t.Errorf("%d errors are logged, want %d:\n%s", got, test.logged, a.log)
			}
		})
	}
}

// What is against the protocol closes the socket with the protocol's code, and is
// not quoted.
func TestWebSocketCloses(t *testing.T) {
	t.Parallel()
	const invalid = "Invalid message received"
	a := newStreamAPI(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.OperationsPerSocket = 2 }))
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
	if got := a.logged(); got != 0 {
		t.Errorf("%d errors are logged:\n%s", got, a.log)
	}
}

func TestWebSocketSubprotocol(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t)
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

// What is asked for in a wrong way is refused before the handshake, in JSON.
func TestWebSocketHandshakesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, func(c *httpapi.Config, _ *httptest.Server) {
		c.AllowedOrigins, c.AllowedHosts = []string{"https://board.example"}, []string{"spools.example"}
	})
	own := a.server.URL
	for name, test := range map[string]struct {
		headers []string
		status  int // 0: accepted
	}{
		"no page":            {nil, 0},
		"our own page":       {[]string{"Origin", own}, 0},
		"the same, fetch":    {[]string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, 0},
		"an allowed page":    {[]string{"Origin", "https://board.example", "Sec-Fetch-Site", "cross-site"}, 0},
		"an allowed host":    {[]string{"Host", "spools.example", "Origin", "https://spools.example"}, 0},
		"another page":       {[]string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		"an old browser's":   {[]string{"Origin", "https://evil.example"}, 403},
		"a page without one": {[]string{"Origin", "null"}, 403},
		"another host":       {[]string{"Host", "evil.example", "Origin", "http://evil.example"}, 403},
	} {
		s, response, err := a.dial(test.headers...)
		switch {
		case test.status == 0 && err == nil:
			s.Send(gqlhttptest.InitMessage)
			s.Want(`{"type":"connection_ack"}`)
		case test.status == 0 || err == nil || response.StatusCode != test.status:
			t.Errorf("%s is answered %v, %v", name, response, err)
		}
	}
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
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Init: 2 * time.Second}))
	s := a.acknowledged()
	a.open(`{"type":"ping"}`).WantClose(4408, "Connection initialisation timeout")
	s.Send(hello) // though it is older
	s.Want(helped)
}

func TestWebSocketPings(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t)
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
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Init: patience, KeepAlive: time.Second}))
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
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Init: patience, KeepAlive: 5 * time.Second}))
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
	a := newStreamAPI(t)
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
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Write: patience}))
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
	a := newStreamAPI(t)
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
	a := newStreamAPI(t, func(c *httpapi.Config, _ *httptest.Server) { c.RequestTimeout = 50 * time.Millisecond })
	s := a.acknowledged(gqlhttptest.Subscribe("1", "subscription{hangs}"), gqlhttptest.Subscribe("2", "{slow}"))
	s.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	if got, err := s.Read(); err != nil || !strings.HasPrefix(got, `{"type":"error","id":"2"`) || !strings.Contains(got, `"outcome":"NOT_APPLIED"`) {
		t.Fatalf("the message is %s, %v", got, err)
	}
	if got := a.handler.Streams().Subscriptions; got != 1 {
		t.Fatalf("%d subscriptions are running", got)
	}
}

func TestWebSocketMessageRate(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.MessagesPerSecond = 10 }))
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
			a := newStreamAPI(t, withStreamLimits(change))
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

// Behind a trusted proxy, the address is that of the client behind it.
func TestStreamsPerForwardedAddress(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.PerNetwork = 1 }), func(c *httpapi.Config, _ *httptest.Server) {
		c.Addresses = httpapi.NewAddresses(400, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	})
	for _, client := range []string{"198.51.100.7", "198.51.100.8"} {
		if _, _, err := a.dial("X-Forwarded-For", client); err != nil {
			t.Fatal(err)
		}
	}
	if _, response, err := a.dial("X-Forwarded-For", "198.51.100.7"); err == nil || response.StatusCode != 429 {
		t.Errorf("a socket too many is answered %v, %v", response, err)
	}
}

// A client that does not read holds what the network holds, and is cut off.
func TestWebSocketSlowReader(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Write: 500 * time.Millisecond}))
	a.acknowledged(gqlhttptest.Subscribe("1", "subscription{flood}"), gqlhttptest.Subscribe("2", "subscription{flood}"))
	a.waitFor("it runs", func() bool { return a.trial.Pulled.Load() > 10 })
	a.waitFor("it is cut off", func() bool { return a.handler.Streams() == gqlhttp.StreamCounts{} })
	if pulled := a.trial.Pulled.Load(); pulled > 1000 {
		t.Errorf("%d responses of 64 KB were made for nobody", pulled)
	}
}

// Nothing of an abusive socket stays: no descriptor and no goroutine. It runs
// alone, as it counts those of the process.
func TestAbusiveSocketsLeaveNothing(t *testing.T) { //nolint:paralleltest // see above
	t.Run("none", func(t *testing.T) {
		testAbusiveSockets(t, gqlhttptest.InitMessage, func(*httpapi.Config, *httptest.Server) {})
	})
	t.Run("jwt", func(t *testing.T) {
		provider := authtest.New(t)
		token := provider.Token(known("93", lock.RoleWorker))
		initWith := func(token string) string {
			return `{"type":"connection_init","payload":{"authorization":"Bearer ` + token + `"}}`
		}
		knowing := func(c *httpapi.Config, _ *httptest.Server) { c.Identify = provider.JWT(t).Identify }
		testAbusiveSockets(t, initWith(token), knowing,
			frame(gqlhttptest.InitMessage)+frame(gqlhttptest.Subscribe("1", "subscription{hangs}")),
			frame(initWith(token+"x"))+frame(initWith(token))+frame(gqlhttptest.Subscribe("1", "mutation{touch}")),
		)
	})
}

// testAbusiveSockets has sockets of which some are acknowledged, by the init given, and
// some do more, too.
func testAbusiveSockets(t *testing.T, initMessage string, change func(*httpapi.Config, *httptest.Server), more ...string) {
	a := newStreamAPI(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.Subscriptions, l.PerNetwork = 1000, 1000 }),
		withTimes(gqlhttp.StreamTimes{Init: 200 * time.Millisecond}), change)
	abuses := append([]string{
		frame(`{"type":"connection_init","payload":"x"}`),
		frame(initMessage) + frame(gqlhttptest.Subscribe("1", "subscription{hangs}")) + frame(leaked),
		frame(initMessage)[:9],
		frame(initMessage) + frame(gqlhttptest.Subscribe("1", "{slow}")) + "\x88\x80mask",
		"\x81\x02{}", // not masked
		"",
	}, more...)
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		redistest.Need(t, err, "needs Linux, to count descriptors")
		return len(entries)
	}
	goroutines, open := runtime.NumGoroutine(), descriptors()
	var conns []net.Conn
	for i := range 20 * len(abuses) {
		conn, err := net.Dial("tcp", a.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		gqlhttptest.Handshake(t, conn)
		if _, err := conn.Write([]byte(abuses[i%len(abuses)])); err != nil {
			t.Fatal(err)
		}
		if i%(2*len(abuses)) == 3 {
			_ = conn.Close() // it is gone without a word
		}
	}
	a.waitFor("all sockets are gone", func() bool { return a.handler.Streams() == gqlhttp.StreamCounts{} })
	if answer, err := io.ReadAll(conns[1]); !strings.Contains(string(answer), "connection_ack") {
		t.Errorf("a good init is answered %q, %v", answer, err)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	a.waitFor("goroutines and descriptors return", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors() <= open && a.trial.Running.Load() == 0
	})
	for len(a.trial.Begun) > 0 {
		if field := <-a.trial.Begun; field == "touch" {
			t.Error("a mutation was begun behind an init that was refused")
		}
	}
}

// frame makes a masked text frame, with a mask of zeros.
func frame(text string) string {
	length := binary.BigEndian.AppendUint16(nil, uint16(len(text))) //nolint:gosec // they are short
	return "\x81\xfe" + string(length) + "\x00\x00\x00\x00" + text
}

func TestWebSocketShutdown(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t)
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
	a := newStreamAPI(t)
	a.open(gqlhttptest.InitMessage) // it never reads
	if err := a.handler.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	a = newStreamAPI(t)
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
