package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/httpapi"
	"spoollock/ratelimit"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

const tooManyQueries = `[{"message":"The caller has asked for too many queries.",` +
	`"extensions":{"code":"RATE_LIMITED","reason":"IDENTITY","retryAfterSeconds":1}}]`

// withQueryRates returns a change of the rates of queries, of authenticated callers.
func withQueryRates(rates ratelimit.Config) func(*httpapi.Config) {
	rates.Name = "queries"
	return func(c *httpapi.Config) {
		c.Identify = crew.identify
		c.AdmitUnits = ratelimit.New(rates).AdmitUnits
	}
}

// as has the requests to come be a caller's.
func (a *api) as(credential string) {
	transport, ok := a.client.Transport.(*http.Transport)
	if !ok {
		transport = a.client.Transport.(as).Transport
	}
	a.client.Transport = as{credential, transport}
}

// init opens a WebSocket of a caller.
func (a *api) init(credential string) *gqlhttptest.Socket {
	a.t.Helper()
	s := (&streamAPI{api: a}).open(`{"type":"connection_init","payload":{"authorization":"Bearer ` + credential + `"}}`)
	s.Want(`{"type":"connection_ack"}`)
	return s
}

// A query beyond the rate is refused before it is executed, whichever way it comes, and all
// ways count together. What asks Redis for nothing is answered all the same.
func TestQueryRates(t *testing.T) {
	t.Parallel()
	const document, free = `{spool(tagSpool:"MK-1"){id}}`, `{lockLimits{batchSize}}`
	a := newAPI(t, redisurl.EmbeddedText, withQueryRates(ratelimit.Config{PerIdentity: 1, PerAddress: 1 << 20}))
	a.as("viewer")
	a.awaitLimited(document, `{"errors":`+tooManyQueries+`}`)
	if status, body := a.post(free, nil); status != http.StatusOK || body != `{"data":{"lockLimits":{"batchSize":50}}}` {
		t.Errorf("what asks for nothing is answered %d %s", status, body)
	}
	socket := a.init("viewer")
	for i := 0; ; i++ {
		socket.Send(gqlhttptest.Subscribe(fmt.Sprint(i), document))
		message, err := socket.Read()
		if strings.HasPrefix(message, `{"type":"next"`) {
			socket.Want(fmt.Sprintf(`{"type":"complete","id":"%d"}`, i))
			continue
		}
		if want := fmt.Sprintf(`{"type":"error","id":"%d","payload":%s}`, i, tooManyQueries); message != want {
			t.Errorf("over a WebSocket, the answer is %s, %v, want %s", message, err, want)
		}
		break
	}
	socket.Send(gqlhttptest.Subscribe("free", free))
	socket.Want(`{"type":"next","id":"free","payload":{"data":{"lockLimits":{"batchSize":50}}}}`, `{"type":"complete","id":"free"}`)
	testwait.Until(t, "by events", func() bool {
		response, body := a.do(http.MethodPost, "/graphql", queried(document), "Content-Type", "application/json", "Accept", "text/event-stream")
		return response.StatusCode == http.StatusOK &&
			strings.Contains(body, "event: next\ndata: {\"errors\":"+tooManyQueries+"}\n\nevent: complete")
	})
	testwait.Until(t, "by GET", func() bool {
		response, body := a.do(http.MethodGet, "/graphql?query=%7BspoolLocks%7BtotalCount%7D%7D", "")
		return response.StatusCode == http.StatusTooManyRequests && strings.TrimSpace(body) == `{"errors":`+tooManyQueries+`}`
	})
	_, metrics := a.send(http.MethodGet, "/metrics", "", "")
	for _, operation := range []string{"spool", "spoolLocks"} {
		if want := `spoollock_operation_duration_seconds_count{operation="` + operation + `",outcome="RATE_LIMITED"}`; !strings.Contains(metrics, want) {
			t.Errorf("the metrics are without %s", want)
		}
	}
	a.as("other")
	if status, body := a.post(document, nil); status != http.StatusOK {
		t.Errorf("another caller is answered %d %s", status, body)
	}
}

// The address counts where callers are anonymous.
func TestQueryRatesOfAnAddress(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) {
		c.AdmitUnits = ratelimit.New(ratelimit.Config{Name: "queries", PerIdentity: 1 << 20, PerAddress: 1}).AdmitUnits
	})
	a.awaitLimited(`{spoolLock(tagSpool:"MK-1"){id}}`,
		`{"errors":[{"message":"Too many queries were asked for from the caller's address.",`+
			`"extensions":{"code":"RATE_LIMITED","reason":"ADDRESS","retryAfterSeconds":1}}]}`)
}

// A mutation's items have a rate of their own; the histories that it selects are queries.
// One that is refused for them changes nothing.
func TestQueryRatesOfMutations(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, withQueryRates(ratelimit.Config{PerIdentity: 1, PerAddress: 1 << 20}))
	a.as("worker")
	for i := range 10 {
		if status, body := a.post(fmt.Sprintf(`mutation{tomarSpool(input:{tagSpool:"MK-%d"}){lockToken}}`, i), nil); status != http.StatusOK || strings.Contains(body, "errors") {
			t.Fatalf("a take is answered %d %s", status, body)
		}
	}
	for n := range 1000 {
		tag := fmt.Sprint("MK-H-", n)
		status, body := a.post(`mutation{tomarSpool(input:{tagSpool:"`+tag+`"}){spool{history(first:1){edges{cursor}}}}}`, nil)
		if status == http.StatusOK {
			continue
		}
		if status != http.StatusTooManyRequests || body != `{"errors":`+tooManyQueries+`}` {
			t.Errorf("a take with a history is answered %d %s", status, body)
		}
		a.as("other")
		a.want(`{spoolLock(tagSpool:"`+tag+`"){id}}`, nil, http.StatusOK, `{"data":{"spoolLock":null}}`)
		return
	}
	t.Error("a thousand takes with histories are let through")
}

// spoolCommands counts what a Redis server is asked about spools.
type spoolCommands struct {
	server *redistest.Server
	lines  *bufio.Scanner
}

func monitorSpools(t *testing.T, server *redistest.Server) *spoolCommands {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * testwait.Patience))
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil || !lines.Scan() || lines.Text() != "+OK" {
		t.Fatalf("MONITOR is answered %q, %v", lines.Text(), err)
	}
	return &spoolCommands{server, lines}
}

// sinceLast returns how many commands named a spool since the last call. What a script does
// itself does not count, nor what the service asks by itself: the scans, and the checks of its
// health, which name " ".
func (c *spoolCommands) sinceLast(ctx context.Context, t *testing.T) (n int) {
	t.Helper()
	const end = "the end of a part"
	client := c.server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.Echo(ctx, end).Err(); err != nil {
		t.Fatal(err)
	}
	for c.lines.Scan() {
		_, rest, _ := strings.Cut(c.lines.Text(), "[")
		from, command, _ := strings.Cut(rest, "] ")
		switch {
		case strings.Contains(command, end):
			return n
		case strings.HasSuffix(from, " lua"), strings.Contains(command, `"spool_lock:*"`), strings.Contains(command, `"spool_lock: "`):
		case strings.Contains(command, "spool_lock:"):
			n++
		}
	}
	t.Fatal(c.lines.Err())
	return 0
}

// A caller had Redis run 1,894 commands by one document, 44 at a time. The document is
// refused and costs Redis nothing; as much as a document can ask for is bounded by the rate.
func TestManySpoolsInOneDocument(t *testing.T) {
	t.Parallel()
	const perIdentity, perAddress = 50, 400 // the defaults
	server := redistest.Start(t)
	a := newAPI(t, server.URL, withQueryRates(ratelimit.Config{PerIdentity: perIdentity, PerAddress: perAddress}))
	testwait.Until(t, "the floor is live", func() bool { _, body := a.send(http.MethodGet, "/readyz", "", ""); return body == live })
	a.as("other")
	a.post(`{spool(tagSpool:"MK-1"){history{edges{cursor}}}}`, nil) // Redis has the scripts from then on
	asked := monitorSpools(t, server)
	a.as("viewer")
	var tags []string
	for i := range 42 {
		tags = append(tags, fmt.Sprintf(`"MK-%d"`, i))
	}
	document := func(fields int) string {
		var text strings.Builder
		for i := range fields {
			fmt.Fprintf(&text, "a%d:spools(tagSpools:$t){version history(first:1){edges{cursor}}}", i)
		}
		return fmt.Sprintf(`{"query":"query($t:[ID!]!){%s}","variables":{"t":[%s]}}`, &text, strings.Join(tags, ","))
	}
	const refused = `"extensions":{"actual":420,"code":"QUERY_TOO_COMPLEX","limit":100,"limitName":"units"}`
	for _, accept := range []string{"application/json", "text/event-stream"} {
		if _, body := a.do(http.MethodPost, "/graphql", document(5), "Content-Type", "application/json", "Accept", accept); !strings.Contains(body, refused) {
			t.Errorf("with %s, the answer is %.300s", accept, body)
		}
	}
	subscribe := func(id, fields int) string {
		return fmt.Sprintf(`{"type":"subscribe","id":"%d","payload":%s}`, id, document(fields))
	}
	socket := a.init("viewer")
	socket.Send(subscribe(0, 5))
	if message, err := socket.Read(); !strings.Contains(message, refused) {
		t.Errorf("over a WebSocket, the answer is %.300s, %v", message, err)
	}
	if n := asked.sinceLast(testwait.Context(t), t); n != 0 {
		t.Errorf("Redis runs %d commands for what is refused", n)
	}

	begun, executed, limited := time.Now(), 0, 0
	for i := range 210 {
		socket.Send(subscribe(i+1, 1))
		switch message, err := socket.Read(); {
		case strings.HasPrefix(message, `{"type":"error"`) && strings.Contains(message, `"code":"RATE_LIMITED","reason":"IDENTITY"`):
			limited++
		case strings.HasPrefix(message, `{"type":"next"`) && !strings.Contains(message, "errors"):
			socket.Want(fmt.Sprintf(`{"type":"complete","id":"%d"}`, i+1))
			executed++
		default:
			t.Fatalf("the answer is %.300s, %v", message, err)
		}
	}
	most := 2*perIdentity + perIdentity*int(time.Since(begun)/time.Second+1)
	if n := asked.sinceLast(testwait.Context(t), t); n > most || n != 84*executed || executed == 0 || limited == 0 {
		t.Errorf("Redis runs %d commands for %d documents, of at most %d; %d are refused", n, executed, most, limited)
	}
}
