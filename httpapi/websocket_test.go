package httpapi_test

import (
	"encoding/binary"
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

	"spoollock/auth/authtest"
	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
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
}

// Behind a trusted proxy, streams count by the network of the client behind it.
func TestStreamsPerForwardedAddress(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.PerNetwork = 1 }), func(c *httpapi.Config, _ *httptest.Server) {
		c.Addresses = httpapi.NewAddresses(400, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	})
	for _, client := range []string{"198.51.100.7", "198.51.100.8", "2001:db8::1", "2001:db8:0:1::1", "garbage"} {
		s, _, err := a.dial("X-Forwarded-For", client)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(gqlhttptest.InitMessage)
		s.Want(`{"type":"connection_ack"}`)
		s.Send(gqlhttptest.Subscribe("1", "subscription{hangs}"))
		s.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	}
	for _, client := range []string{"198.51.100.7:4000", "::ffff:198.51.100.8", "2001:db8::2", "[2001:db8:0:1:2::1]:4000", "unknown"} {
		if _, response, err := a.dial("X-Forwarded-For", client); err == nil || response.StatusCode != 429 {
			t.Fatalf("a socket too many of %s is answered %v, %v", client, response, err)
		}
		response, body := a.do(http.MethodPost, "/graphql", `{"query":"subscription{hangs}"}`,
			"Content-Type", "application/json", "Accept", "text/event-stream", "X-Forwarded-For", client)
		if response.StatusCode != 429 {
			t.Errorf("a stream too many of %s is answered %d %s", client, response.StatusCode, body)
		}
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
	a := newStreamAPI(t, withStreamLimits(func(l *gqlhttp.StreamLimits) {
		l.Subscriptions, l.PerNetwork, l.BeforeInit = 1000, 1000, 1000
	}), withTimes(gqlhttp.StreamTimes{Init: 200 * time.Millisecond}), change)
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
	testwait.Until(a.t, "all sockets are gone", func() bool { return a.handler.Streams() == gqlhttp.StreamCounts{} })
	if answer, err := io.ReadAll(conns[1]); !strings.Contains(string(answer), "connection_ack") {
		t.Errorf("a good init is answered %q, %v", answer, err)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	testwait.Until(a.t, "goroutines and descriptors return", func() bool {
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
