package httpapi_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
)

const (
	leaked = "93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11" // a token, which nothing may repeat
	hello  = `{"id":"1","type":"subscribe","payload":{"query":"{hello}"}}`
	helped = `{"type":"next","id":"1","payload":{"data":{"hello":"world"}}}`
)

// subscribe is the message that begins an operation.
func subscribe(id, document string) string {
	return fmt.Sprintf(`{"type":"subscribe","id":%q,"payload":{"query":%q}}`, id, document)
}

// ws is a client's end of a WebSocket.
type ws struct {
	a    *streamAPI
	conn *websocket.Conn
}

// dial opens a WebSocket with the headers given as names and values.
func (a *streamAPI) dial(headers ...string) (*ws, *http.Response, error) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	options := &websocket.DialOptions{HTTPHeader: http.Header{}, Subprotocols: []string{"graphql-transport-ws"}}
	for i := 0; i < len(headers); i += 2 {
		switch headers[i] {
		case "Host":
			options.Host = headers[i+1]
		case "Sec-WebSocket-Protocol":
			options.Subprotocols = strings.Fields(headers[i+1])
		default:
			options.HTTPHeader.Set(headers[i], headers[i+1])
		}
	}
	conn, response, err := websocket.Dial(ctx, a.server.URL+"/graphql", options)
	if err != nil {
		return nil, response, err
	}
	conn.SetReadLimit(1 << 20)
	a.t.Cleanup(func() { _ = conn.CloseNow() })
	return &ws{a: a, conn: conn}, response, nil
}

// open opens a WebSocket and sends messages.
func (a *streamAPI) open(messages ...string) *ws {
	a.t.Helper()
	s, _, err := a.dial()
	if err != nil {
		a.t.Fatal(err)
	}
	for _, message := range messages {
		s.send(message)
	}
	return s
}

const initMessage = `{"type":"connection_init"}`

// acknowledged opens a WebSocket that is acknowledged.
func (a *streamAPI) acknowledged(messages ...string) *ws {
	a.t.Helper()
	s := a.open(initMessage)
	s.want(`{"type":"connection_ack"}`)
	for _, message := range messages {
		s.send(message)
	}
	return s
}

func (s *ws) write(kind websocket.MessageType, message string) {
	s.a.t.Helper()
	ctx, cancel := context.WithTimeout(s.a.t.Context(), patience)
	defer cancel()
	if err := s.conn.Write(ctx, kind, []byte(message)); err != nil {
		s.a.t.Fatal(err)
	}
}

func (s *ws) send(message string) { s.a.t.Helper(); s.write(websocket.MessageText, message) }

func (s *ws) read() (string, error) {
	ctx, cancel := context.WithTimeout(s.a.t.Context(), patience)
	defer cancel()
	_, text, err := s.conn.Read(ctx)
	return string(text), err
}

// want reads messages and compares them.
func (s *ws) want(messages ...string) {
	s.a.t.Helper()
	for _, want := range messages {
		if got, err := s.read(); err != nil || masked(got) != want {
			s.a.t.Fatalf("the message is %s, %v, want %s", masked(got), err, want)
		}
	}
}

// wantClose reads to the close.
func (s *ws) wantClose(code websocket.StatusCode, reason string) {
	s.a.t.Helper()
	for {
		message, err := s.read()
		if err == nil {
			s.a.t.Logf("before the close: %s", message)
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
			s.a.t.Fatalf("it ends with %v, want %d %s", err, code, reason)
		}
		return
	}
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
			close(a.trial.release)
			s := a.acknowledged(`{"id":"a","type":"subscribe","payload":` + test.payload + `}`)
			for _, want := range test.want {
				kind, payload, _ := strings.Cut(want, " ")
				message := `{"type":"` + kind + `","id":"a"`
				if payload != "" {
					message += `,"payload":` + payload
				}
				s.want(message + "}")
			}
			// Nothing follows, and the id is free.
			s.send(strings.ReplaceAll(hello, `"1"`, `"a"`))
			s.want(strings.ReplaceAll(helped, `"1"`, `"a"`), `{"type":"complete","id":"a"}`)
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
		"two messages in one":          {[]string{initMessage + initMessage}, 4400, invalid},
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
		"subscribe without an id":      {[]string{initMessage, `{"type":"subscribe","payload":{"query":"{hello}"}}`}, 4400, invalid},
		"subscribe, id a number":       {[]string{initMessage, `{"type":"subscribe","id":1,"payload":{"query":"{hello}"}}`}, 4400, invalid},
		"subscribe without payload":    {[]string{initMessage, `{"type":"subscribe","id":"1"}`}, 4400, invalid},
		"subscribe with null":          {[]string{initMessage, `{"type":"subscribe","id":"1","payload":null}`}, 4400, invalid},
		"subscribe, no query":          {[]string{initMessage, `{"type":"subscribe","id":"1","payload":{"variables":{"t":"` + leaked + `"}}}`}, 4400, invalid},
		"subscribe, query a number":    {[]string{initMessage, `{"type":"subscribe","id":"1","payload":{"query":1}}`}, 4400, invalid},
		"subscribe, variables a text":  {[]string{initMessage, `{"type":"subscribe","id":"1","payload":{"query":"{hello}","variables":"` + leaked + `"}}`}, 4400, invalid},
		"subscribe, extensions a list": {[]string{initMessage, `{"type":"subscribe","id":"1","payload":{"query":"{hello}","extensions":[]}}`}, 4400, invalid},
		"subscribe before init":        {[]string{hello}, 4401, "Unauthorized"},
		"init twice":                   {[]string{initMessage, initMessage}, 4429, "Too many initialisation requests"},
		"an id that is in use": {
			[]string{initMessage, subscribe(leaked, "subscription{hangs}"), subscribe(leaked, "{hello}")}, 4409, "Subscriber already exists",
		},
		"too many operations": {
			[]string{initMessage, subscribe("1", "subscription{hangs}"), subscribe("2", "subscription{hangs}"), subscribe("3", "{hello}")}, 4429, "Too many operations",
		},
		"too large a message": {[]string{`{"type":"ping","payload":{"a":"` + strings.Repeat("x", 70000) + `"}}`}, 1009, "read limited at 65537 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			a.of(t).open(test.messages...).wantClose(test.code, test.reason)
		})
	}
	t.Run("binary", func(t *testing.T) {
		s := a.of(t).open()
		s.write(websocket.MessageBinary, initMessage)
		s.wantClose(4400, invalid)
	})
	a.waitFor("all is over", func() bool { return a.handler.Streams().WebSockets == 0 && a.trial.running.Load() == 0 })
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
		s.wantClose(4406, "Subprotocol not acceptable")
	}
	s, _, err := a.dial("Sec-WebSocket-Protocol", "graphql-ws graphql-transport-ws")
	if err != nil {
		t.Fatal(err)
	}
	s.send(initMessage)
	s.want(`{"type":"connection_ack"}`)
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
			s.send(initMessage)
			s.want(`{"type":"connection_ack"}`)
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
	a.open(`{"type":"ping"}`).wantClose(4408, "Connection initialisation timeout")
	s.send(hello) // though it is older
	s.want(helped)
}

func TestWebSocketPings(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t)
	s := a.open(`{"type":"ping"}`, `{"type":"ping","payload":null}`, `{"type":"ping","payload":{"at": [1, "é"]}}`, `{"type":"pong","payload":{}}`, initMessage)
	s.want(`{"type":"pong"}`, `{"type":"pong"}`, `{"type":"pong","payload":{"at": [1, "é"]}}`, `{"type":"connection_ack"}`)
	// Those of WebSocket itself, too.
	done := make(chan error, 1)
	go func() { done <- s.conn.Ping(t.Context()) }()
	s.send(subscribe("1", "subscription{hangs}"))
	s.want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	s.send(`{"type":"complete","id":"1"}`)
	go func() { _, _ = s.read() }()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A peer that says nothing any more, not even after a ping, is dead.
func TestWebSocketDeadPeer(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Init: patience, KeepAlive: time.Second}))
	s := a.acknowledged(subscribe("1", "subscription{hangs}"))
	s.want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`, `{"type":"ping"}`)
	for {
		message, err := s.read()
		if err != nil {
			break
		}
		t.Logf("meanwhile: %s", message)
	}
	a.waitFor("the socket is gone", func() bool {
		return a.handler.Streams() == gqlhttp.StreamCounts{} && a.trial.running.Load() == 0
	})
}

// A peer that says anything is alive.
func TestWebSocketLivePeer(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Init: patience, KeepAlive: 5 * time.Second}))
	s := a.acknowledged()
	for range 2 {
		s.want(`{"type":"ping"}`)
		s.send(hello)
		s.want(helped, `{"type":"complete","id":"1"}`)
	}
}

// The client ends an operation: it is over, is told nothing more, and its id is
// free.
func TestWebSocketComplete(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t)
	s := a.acknowledged()
	for _, document := range []string{"subscription{hangs}", "{slow}", "mutation{touch}"} {
		s.send(subscribe("1", document))
		if document == "subscription{hangs}" {
			s.want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
		}
		<-a.trial.begun
		s.send(`{"type":"complete","id":"1"}`)
		s.send(hello)
		s.want(helped, `{"type":"complete","id":"1"}`)
		a.waitFor("it is over", func() bool { return a.trial.running.Load() == 0 })
	}
	s.send(`{"type":"complete","id":"none"}`)
	// One that comes to its end all the same says nothing.
	s.send(subscribe("1", "{stubborn}"))
	<-a.trial.begun
	s.send(`{"type":"complete","id":"1"}`)
	s.send(`{"type":"ping"}`)
	s.want(`{"type":"pong"}`)
	close(a.trial.release)
	a.waitFor("it is over", func() bool { return a.trial.running.Load() == 0 })
	s.send(hello)
	s.want(helped, `{"type":"complete","id":"1"}`)
}

// An operation that is ended in the middle of a write does not take the socket
// with it.
func TestWebSocketCompleteAmidAWrite(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withTimes(gqlhttp.StreamTimes{Write: patience}))
	s := a.acknowledged(subscribe("flood", "subscription{flood}"))
	pulled := int64(0)
	a.waitFor("a write is stuck, as nobody reads", func() bool {
		before := pulled
		pulled = a.trial.pulled.Load()
		time.Sleep(20 * time.Millisecond)
		return pulled > 10 && pulled == before
	})
	s.send(`{"type":"complete","id":"flood"}`)
	s.send(hello)
	for {
		message, err := s.read()
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
	s := a.acknowledged(subscribe("slow", "{slow}"), subscribe("bad", "{nothing}"))
	if got, err := s.read(); err != nil || !strings.HasPrefix(got, `{"type":"error","id":"bad"`) {
		t.Fatalf("the message is %s, %v", got, err)
	}
	s.send(hello)
	s.want(helped, `{"type":"complete","id":"1"}`)
	close(a.trial.release)
	s.want(`{"type":"next","id":"slow","payload":{"data":{"slow":"done"}}}`, `{"type":"complete","id":"slow"}`)
}

// A query or mutation has the time of a request.
func TestWebSocketRequestTimeout(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, func(c *httpapi.Config, _ *httptest.Server) { c.RequestTimeout = 50 * time.Millisecond })
	s := a.acknowledged(subscribe("1", "subscription{hangs}"), subscribe("2", "{slow}"))
	s.want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	if got, err := s.read(); err != nil || !strings.HasPrefix(got, `{"type":"error","id":"2"`) || !strings.Contains(got, `"outcome":"NOT_APPLIED"`) {
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
			if s.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"pong"}`)) != nil {
				break
			}
		}
		s.wantClose(4429, "Too many messages")
	})
	t.Run("frames", func(t *testing.T) {
		conn, err := net.Dial("tcp", a.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the test is over
		_ = conn.SetDeadline(time.Now().Add(patience))
		handshake(t, conn)
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

// handshake opens a WebSocket on a bare connection.
func handshake(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := fmt.Fprint(conn, "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake is answered %v, %v", response, err)
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
			a := newStreamAPI(t, withStreamLimits(change))
			s := a.acknowledged(subscribe("1", "subscription{hangs}"), subscribe("2", "subscription{hangs}"))
			a.waitFor("two run", func() bool { return a.trial.running.Load() == 2 })
			stream := a.stream(hangs)
			a.waitFor("three run", func() bool { return a.trial.running.Load() == 3 })
			other := a.acknowledged(subscribe("x", "subscription{hangs}"))
			other.want(`{"type":"error","id":"x","payload":[` + limited + `]}`)
			response, body := a.do(http.MethodPost, "/graphql", hangs, "Content-Type", "application/json", "Accept", "text/event-stream")
			if response.StatusCode != 429 || response.Header.Get("Retry-After") != "1" || body != `{"errors":[`+limited+`]}` {
				t.Errorf("a stream too many is answered %d %s", response.StatusCode, body)
			}
			other.send(hello) // the socket lives, and queries are served
			other.want(helped, `{"type":"complete","id":"1"}`)
			a.open()
			if _, response, err := a.dial(); err == nil || response.StatusCode != 429 || response.Header.Get("Retry-After") != "1" {
				t.Errorf("a socket too many is answered %v, %v", response, err)
			}
			if got, want := a.handler.Streams(), (gqlhttp.StreamCounts{WebSockets: 3, EventStreams: 1, Subscriptions: 3, Refused: 3}); got != want {
				t.Errorf("the counts are %+v, want %+v", got, want)
			}
			// What has ended makes room.
			s.send(`{"type":"complete","id":"1"}`)
			_ = stream.Body.Close()
			a.waitFor("one runs", func() bool { return a.handler.Streams().Subscriptions == 1 })
			other.send(subscribe("y", "subscription{hangs}"))
			other.want(`{"type":"next","id":"y","payload":{"data":{"hangs":0}}}`)
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
	a.acknowledged(subscribe("1", "subscription{flood}"), subscribe("2", "subscription{flood}"))
	a.waitFor("it runs", func() bool { return a.trial.pulled.Load() > 10 })
	a.waitFor("it is cut off", func() bool { return a.handler.Streams() == gqlhttp.StreamCounts{} })
	if pulled := a.trial.pulled.Load(); pulled > 1000 {
		t.Errorf("%d responses of 64 KB were made for nobody", pulled)
	}
}

// Nothing of an abusive socket stays: no descriptor and no goroutine. It runs
// alone, as it counts those of the process.
func TestAbusiveSocketsLeaveNothing(t *testing.T) { //nolint:paralleltest // see above
	t.Run("none", func(t *testing.T) { testAbusiveSockets(t, initMessage, func(*httpapi.Config, *httptest.Server) {}) })
	t.Run("jwt", func(t *testing.T) {
		provider := authtest.New(t)
		token := provider.Token(known("93", lock.RoleWorker))
		initWith := func(token string) string {
			return `{"type":"connection_init","payload":{"authorization":"Bearer ` + token + `"}}`
		}
		knowing := func(c *httpapi.Config, _ *httptest.Server) { c.Identify = provider.JWT(t).Identify }
		testAbusiveSockets(t, initWith(token), knowing,
			frame(initMessage)+frame(subscribe("1", "subscription{hangs}")),
			frame(initWith(token+"x"))+frame(initWith(token))+frame(subscribe("1", "mutation{touch}")),
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
		frame(initMessage) + frame(subscribe("1", "subscription{hangs}")) + frame(leaked),
		frame(initMessage)[:9],
		frame(initMessage) + frame(subscribe("1", "{slow}")) + "\x88\x80mask",
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
		handshake(t, conn)
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
		return runtime.NumGoroutine() <= goroutines && descriptors() <= open && a.trial.running.Load() == 0
	})
	for len(a.trial.begun) > 0 {
		if field := <-a.trial.begun; field == "touch" {
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
	s := a.acknowledged(subscribe("1", "subscription{hangs}"), subscribe("2", "mutation{touch}"))
	s.want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	<-a.trial.begun
	<-a.trial.begun
	idle, silent := a.acknowledged(), a.open()
	done := make(chan error, 1)
	go func() { done <- a.handler.Shutdown(t.Context()) }()
	idle.wantClose(1001, "Shutting down")
	silent.wantClose(1001, "Shutting down")
	if _, response, err := a.dial(); err == nil || response.StatusCode != 503 {
		t.Errorf("another socket is answered %v, %v", response, err)
	}
	s.send(hello) // too late, so another process answers it
	s.send(`{"type":"ping","payload":{"to":"be sure that it was read"}}`)
	s.want(`{"type":"pong","payload":{"to":"be sure that it was read"}}`)
	close(a.trial.release)
	s.want(`{"type":"next","id":"2","payload":{"data":{"touch":"done"}}}`, `{"type":"complete","id":"2"}`)
	if message, err := s.read(); websocket.CloseStatus(err) != 1001 {
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
	a.open(initMessage) // it never reads
	if err := a.handler.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	a = newStreamAPI(t)
	s := a.acknowledged(subscribe("1", "{slow}"))
	<-a.trial.begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.handler.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the shutdown ends with %v", err)
	}
	for {
		message, err := s.read()
		if err != nil {
			break
		}
		if !strings.HasPrefix(message, `{"type":"error"`) { // which is the truth, if it still gets through
			t.Errorf("what is cut off says %s", message)
		}
	}
	a.waitFor("nothing runs", func() bool { return a.trial.running.Load() == 0 })
}
