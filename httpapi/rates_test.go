package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/auth"
	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/ratelimit"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// The budget of the tests, changes a second; at once, twice as many.
const budget = 5

// asked is what became of many takes: how many got their spool, and for how many it was
// said when to come back, for each reason.
type asked struct {
	taken   int
	limited map[string]int
}

func (a *asked) add(more asked) {
	if a.taken += more.taken; a.limited == nil {
		a.limited = map[string]int{}
	}
	for reason, n := range more.limited {
		a.limited[reason] += n
	}
}

// floods are the ways to ask for n takes.
var floods = map[string]func(a *api, n int) asked{
	"aliases":     floodByAliases,
	"batches":     floodByBatches,
	"connections": floodByConnections,
	"a WebSocket": floodByWebSocket,
}

// taking is one take, in the document itself.
func taking(i int) string {
	return fmt.Sprintf(`tomarSpool(input:{tagSpool:"MK-%d",workerId:"93",workerNombre:"MR(93)"}){lockToken}`, i)
}

// floodByAliases sends as few documents as the bound on the overlap of fields allows.
func floodByAliases(a *api, n int) (all asked) {
	a.t.Helper()
	const most = 200
	for from := 0; from < n; from += most {
		var fields strings.Builder
		for i := from; i < min(from+most, n); i++ {
			fmt.Fprintf(&fields, "a%d:%s ", i, taking(i))
		}
		all.add(a.count(a.post("mutation{"+fields.String()+"}", nil)))
	}
	return all
}

func floodByBatches(a *api, n int) asked {
	a.t.Helper()
	var variables, fields []string
	inputs := map[string]any{}
	for b := range n / lock.MaxBatch {
		var items []any
		for i := range lock.MaxBatch {
			items = append(items, map[string]any{"tagSpool": fmt.Sprintf("MK-%d-%d", b, i), "workerId": "93", "workerNombre": "MR(93)"})
		}
		inputs[fmt.Sprint("i", b)] = map[string]any{"items": items}
		variables = append(variables, fmt.Sprintf("$i%d:TomarSpoolsInput!", b))
		fields = append(fields, fmt.Sprintf("b%d:tomarSpools(input:$i%d){results{lockToken error{code reason retryable retryAfterSeconds}}}", b, b))
	}
	return a.count(a.post("mutation("+strings.Join(variables, ",")+"){"+strings.Join(fields, " ")+"}", inputs))
}

func floodByConnections(a *api, n int) (all asked) {
	a.t.Helper()
	var mu sync.Mutex
	var sending sync.WaitGroup
	for i := range n {
		sending.Go(func() {
			one := a.count(a.post("mutation{"+taking(i)+"}", nil))
			mu.Lock()
			defer mu.Unlock()
			all.add(one)
		})
	}
	sending.Wait()
	return all
}

func floodByWebSocket(a *api, n int) (all asked) {
	a.t.Helper()
	s := (&streamAPI{api: a}).open(`{"type":"connection_init","payload":{"authorization":"Bearer worker"}}`)
	s.Want(`{"type":"connection_ack"}`)
	for i := range n {
		s.Send(gqlhttptest.Subscribe(fmt.Sprint(i), "mutation{"+taking(i)+"}"))
	}
	for range 2 * n { // each has an answer, and an end
		text, err := s.Read()
		if err != nil {
			a.t.Fatal(err)
		}
		all.add(a.count(http.StatusOK, text))
	}
	return all
}

// count counts the takes of an answer, and sees that it is right about those that were
// refused: 429 where none got its spool.
func (a *api) count(status int, body string) asked {
	a.t.Helper()
	one, limited := asked{strings.Count(body, `"lockToken":"`), map[string]int{}}, strings.Count(body, `"RATE_LIMITED"`)
	for _, reason := range []string{"IDENTITY", "ADDRESS"} {
		one.limited[reason] = strings.Count(body, `"reason":"`+reason+`"`)
	}
	if one.limited["IDENTITY"]+one.limited["ADDRESS"] != limited || strings.Count(body, `"retryAfterSeconds":1`) != limited ||
		strings.Count(body, `"retryable":true`) != strings.Count(body, `"retryable"`) {
		a.t.Errorf("the answer is %.500s", body)
	}
	want := http.StatusOK
	if one.taken == 0 && limited > 0 && !strings.Contains(body, `"type":"next"`) {
		want = http.StatusTooManyRequests
	}
	if status != want {
		a.t.Errorf("the status is %d for %+v", status, one)
	}
	return one
}

// Whichever way somebody asks for 500 takes, the same budget bounds them: what one can
// ask for at once, and what comes to it in the time that it takes.
func TestFloodsAreBounded(t *testing.T) {
	t.Parallel()
	for flood, ask := range floods {
		for reason, rates := range map[string]ratelimit.Config{
			"IDENTITY": {PerIdentity: budget, PerAddress: 1 << 20},
			"ADDRESS":  {PerIdentity: 1 << 20, PerAddress: budget},
		} {
			t.Run(flood+" by "+reason, func(t *testing.T) {
				t.Parallel()
				server := redistest.Start(t)
				a := newBoundedAPI(t, server.URL, 0, ratelimit.New(rates).Admit, func(c *httpapi.Config) {
					c.Identify = people{"worker": known("93", lock.RoleAdmin)}.identify
					c.RequestLimits.Aliases, c.RequestLimits.RootFields, c.RequestLimits.Tokens, c.RequestLimits.Fields = 1000, 1000, 1<<20, 1<<20
					c.RequestLimits.Units = 1 << 20
					c.RequestLimits.BodyBytes, c.StreamLimits.OperationsPerSocket, c.StreamLimits.MessagesPerSecond = 1<<20, 1000, 1000
				})
				a.client.Transport = as{"worker", a.client.Transport.(*http.Transport)}
				begun := time.Now()
				got := ask(a, 500)
				most := budget*2 + budget*int(time.Since(begun)/time.Second+1)
				if got.taken < budget*2 || got.taken > most || got.taken+got.limited[reason] != 500 {
					t.Errorf("%+v of 500, and the budget is for %d", got, most)
				}
				client := server.Client()
				defer client.Close() //nolint:errcheck // a client of the moment
				if held, err := client.Keys(t.Context(), "spool_lock:*").Result(); err != nil || len(held) != got.taken {
					t.Errorf("%d are held, %v, and %d were said to be taken", len(held), err, got.taken)
				}
			})
		}
	}
}

// Of a request of which something was done, the status is 200; of one of which nothing
// was for its rate, 429. Queries are no changes.
func TestRateInAnswers(t *testing.T) {
	t.Parallel()
	limiter := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1 << 20})
	a := newBoundedAPI(t, redisurl.EmbeddedText, 0, limiter.Admit, func(c *httpapi.Config) { c.Identify = crew.identify })
	a.client.Transport = as{"worker", a.client.Transport.(*http.Transport)}
	limited := func(path string) string {
		return `{"message":"The caller has asked for too many changes.","path":[` + path + `],"locations":[{"line":1,"column":10}],` +
			`"extensions":{"code":"RATE_LIMITED","reason":"IDENTITY","retryAfterSeconds":1}}`
	}
	// Far more than the two that the budget has, so that no time makes up for them.
	var items []any
	for i := range lock.MaxBatch {
		items = append(items, map[string]any{"tagSpool": fmt.Sprint("MK-", i)})
	}
	status, body := a.post(`mutation($input:TomarSpoolsInput!){tomarSpools(input:$input){taken failed}}`, input(map[string]any{"items": items}))
	if status != http.StatusOK || !strings.HasPrefix(body, `{"data":{"tomarSpools":{"taken":`) || strings.Contains(body, `"taken":0`) || strings.Contains(body, `"failed":0`) {
		t.Errorf("a batch is answered %d %s", status, body)
	}
	for _, document := range []string{
		`mutation{releaseSpool(input:{tagSpool:"MK-0",lockToken:"acme.7:x"}){released}}`,
		`mutation{extendLock(input:{tagSpool:"MK-0",lockToken:"acme.7:x",additionalSeconds:1}){lock{id}}}`,
		`mutation{resumeSpool(input:{tagSpool:"MK-0"}){lockToken}}`,
	} {
		field, _, _ := strings.Cut(strings.TrimPrefix(document, "mutation{"), "(")
		a.awaitLimited(document, `{"errors":[`+limited(`"`+field+`"`)+`],"data":{"`+field+`":null}}`)
	}
	if status, body := a.post(`{spoolLocks(first:1){totalCount} lockLimits{batchSize} spoolLock(tagSpool:"MK-0"){ownerId}}`, nil); status != http.StatusOK || strings.Contains(body, "RATE") {
		t.Errorf("queries are answered %d %s", status, body)
	}
}

// awaitLimited sends the document until its rate is too high.
func (a *api) awaitLimited(document, want string) {
	a.t.Helper()
	for range 1000 {
		response, body := a.do(http.MethodPost, "/graphql", queried(document), "Content-Type", "application/json")
		if response.StatusCode == http.StatusOK {
			continue
		}
		if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "1" || strings.TrimSpace(body) != want {
			a.t.Errorf("%s is answered %d %v\n%s, want\n%s", document, response.StatusCode, response.Header, body, want)
		}
		return
	}
	a.t.Errorf("%s is let through a thousand times", document)
}

// A worker who has as many spools as it may have gets no other one, but every answer that
// it had before.
func TestLockLimitInAnswers(t *testing.T) {
	t.Parallel()
	for _, url := range []string{redisurl.EmbeddedText, redistest.Start(t).URL} {
		a := newBoundedAPI(t, url, 3, nil)
		take := func(tag string) map[string]any {
			return map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)", "requestId": uuid.NewString()}
		}
		const batch = `mutation($input:TomarSpoolsInput!){tomarSpools(input:$input){taken failed results{lockToken replayed error{code retryable}}}}`
		items := []any{take("MK-1"), take("MK-2"), take("MK-3"), take("MK-4")}
		refused := `{"lockToken":null,"replayed":null,"error":{"code":"LOCK_LIMIT_REACHED","retryable":false}}`
		taken := func(replayed bool) string {
			return fmt.Sprintf(`{"lockToken":"93:UUID","replayed":%t,"error":null}`, replayed)
		}
		a.want(batch, input(map[string]any{"items": items}), 200,
			`{"data":{"tomarSpools":{"taken":3,"failed":1,"results":[`+taken(false)+`,`+taken(false)+`,`+taken(false)+`,`+refused+`]}}}`)
		a.want(batch, input(map[string]any{"items": items}), 200,
			`{"data":{"tomarSpools":{"taken":3,"failed":1,"results":[`+taken(true)+`,`+taken(true)+`,`+taken(true)+`,`+refused+`]}}}`)
		a.want(`mutation($input:TomarSpoolInput!){tomarSpool(input:$input){lockToken}}`, input(take("MK-4")), 200,
			`{"errors":[{"message":"The worker holds 3 spools, of 3 that one may hold.","path":["tomarSpool"],"locations":[{"line":1,"column":35}],`+
				`"extensions":{"code":"LOCK_LIMIT_REACHED","held":3,"limit":3}}],"data":{"tomarSpool":null}}`)
		a.want(`{spoolLock(tagSpool:"MK-4"){ownerId} lockLimits{maxLocksPerWorker}}`, nil, 200, `{"data":{"spoolLock":null,"lockLimits":{"maxLocksPerWorker":3}}}`)
		other := take("MK-4")
		other["workerId"] = "94"
		a.want(`mutation($input:TomarSpoolInput!){tomarSpool(input:$input){replayed}}`, input(other), 200, `{"data":{"tomarSpool":{"replayed":false}}}`)
		if _, body := a.post(`mutation($input:TomarSpoolInput!){tomarSpool(input:$input){lockToken}}`, input(take("MK-4"))); !strings.Contains(body, "SPOOL_OCCUPIED") {
			t.Errorf("an occupied spool is answered %s", body)
		}
		token := "93:" + items[0].(map[string]any)["requestId"].(string)
		a.want(`mutation($input:ReleaseSpoolInput!){releaseSpool(input:$input){outcome}}`, input(map[string]any{"tagSpool": "MK-1", "lockToken": token}), 200,
			`{"data":{"releaseSpool":{"outcome":"RELEASED"}}}`)
		a.take(take("MK-5"))
	}
}

// Subscriptions of one caller are bounded whatever they come over, and those of others
// are not.
func TestStreamsPerIdentity(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, withStreamLimits(func(l *gqlhttp.StreamLimits) { l.PerCaller = 2 }), func(c *httpapi.Config, _ *httptest.Server) { c.Identify = crew.identify })
	open := func(credential string) *gqlhttptest.Socket {
		s := a.open(`{"type":"connection_init","payload":{"authorization":"Bearer ` + credential + `"}}`)
		s.Want(`{"type":"connection_ack"}`)
		return s
	}
	first, second := open("worker"), open("worker")
	first.Send(gqlhttptest.Subscribe("1", "subscription{hangs}"))
	first.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	a.client.Transport = as{"worker", a.client.Transport.(*http.Transport)}
	stream := a.stream(`{"query":"subscription{hangs}"}`)
	testwait.Until(a.t, "two run", func() bool { return a.trial.Running.Load() == 2 })
	second.Send(gqlhttptest.Subscribe("1", "subscription{hangs}"))
	text, err := second.Read()
	var message struct {
		Type    string
		Payload []struct{ Extensions map[string]any }
	}
	if err != nil || json.Unmarshal([]byte(text), &message) != nil || message.Type != "error" || message.Payload[0].Extensions["code"] != "RATE_LIMITED" {
		t.Errorf("one too many is answered %s, %v", text, err)
	}
	response, body := a.do(http.MethodPost, "/graphql", `{"query":"subscription{hangs}"}`, "Content-Type", "application/json", "Accept", "text/event-stream")
	if response.StatusCode != http.StatusTooManyRequests || !slices.Equal(response.Header["Retry-After"], []string{"1"}) {
		t.Errorf("a stream too many is answered %d %s", response.StatusCode, body)
	}
	other := open("other")
	other.Send(gqlhttptest.Subscribe("1", "subscription{hangs}"))
	other.Want(`{"type":"next","id":"1","payload":{"data":{"hangs":0}}}`)
	_ = stream.Body.Close()
	testwait.Until(a.t, "there is room", func() bool { return a.handler.Streams().Subscriptions == 2 })
	second.Send(gqlhttptest.Subscribe("2", "subscription{hangs}"))
	second.Want(`{"type":"next","id":"2","payload":{"data":{"hangs":0}}}`)
}

// What a batch that is sent again has already, and what others have, takes no room.
func TestLockLimitOfWhatIsHeld(t *testing.T) {
	t.Parallel()
	a := newBoundedAPI(t, redistest.Start(t).URL, 5, nil)
	const batch = `mutation($input:TomarSpoolsInput!){tomarSpools(input:$input){taken failed results{error{code}}}}`
	take := func(tag, worker string) any {
		return map[string]any{"tagSpool": tag, "workerId": worker, "workerNombre": "N", "requestId": uuid.NewString()}
	}
	items := []any{take("MK-1", "93"), take("MK-2", "93"), take("MK-3", "93")}
	a.want(batch, input(map[string]any{"items": items}), 200, `{"data":{"tomarSpools":{"taken":3,"failed":0,"results":[{"error":null},{"error":null},{"error":null}]}}}`)
	a.take(take("MK-4", "94").(map[string]any))
	items = append(items, take("MK-4", "93"), take("MK-5", "93"), take("MK-6", "93"), take("MK-7", "93"))
	a.want(batch, input(map[string]any{"items": items}), 200,
		`{"data":{"tomarSpools":{"taken":5,"failed":2,"results":[{"error":null},{"error":null},{"error":null},`+
			`{"error":{"code":"SPOOL_OCCUPIED"}},{"error":null},{"error":null},{"error":{"code":"LOCK_LIMIT_REACHED"}}]}}}`)
}

// outcomes is what became of many takes: how many got their spool, and how many failed with
// each code.
type outcomes struct {
	taken int
	codes map[string]int
}

// takeMany sends n takes in batches of ten, all at the same time, each of a spool of its own.
func (a *api) takeMany(n int, take func(i int) map[string]any) outcomes {
	a.t.Helper()
	const document = `mutation($input:TomarSpoolsInput!){tomarSpools(input:$input){results{lockToken error{code}}}}`
	all := outcomes{codes: map[string]int{}}
	var mu sync.Mutex
	var sending sync.WaitGroup
	for from := 0; from < n; from += 10 {
		var items []any
		for i := from; i < min(from+10, n); i++ {
			items = append(items, take(i))
		}
		sending.Go(func() {
			_, body := a.post(document, input(map[string]any{"items": items}))
			mu.Lock()
			defer mu.Unlock()
			all.taken += strings.Count(body, `"lockToken":"`)
			for _, code := range errorCode.FindAllStringSubmatch(body, -1) {
				all.codes[code[1]]++
			}
		})
	}
	sending.Wait()
	return all
}

var errorCode = regexp.MustCompile(`"code":"(\w+)"`)

func workerOfAcme(i int) map[string]any {
	return map[string]any{"tagSpool": fmt.Sprint("MK-", i), "workerId": fmt.Sprint("acme.", i), "workerNombre": "N"}
}

// A partner gets no more by making up names of workers: all of them together have ten times
// what one may have, and one's rate of changes.
func TestPartnerWithManyWorkers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newBoundedAPI(t, server.URL, 2, nil, func(c *httpapi.Config) { c.Identify = crew.identify })
	a.client.Transport = as{"partner", a.client.Transport.(*http.Transport)}
	got := a.takeMany(100, workerOfAcme)
	if got.taken > 20 || got.taken+got.codes["LOCK_LIMIT_REACHED"] != 100 {
		t.Errorf("%+v of 100", got)
	}
	for i := got.taken; i < 20; i++ { // while others were under way, some can be refused too early
		a.take(map[string]any{"tagSpool": fmt.Sprint("MK-", 200+i), "workerId": fmt.Sprint("acme.", 200+i), "workerNombre": "N"})
	}
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if held, err := client.Keys(t.Context(), "spool_lock:*").Result(); err != nil || len(held) != 20 {
		t.Errorf("%d are held, %v", len(held), err)
	}
	status, body := a.post(tomar, input(map[string]any{"tagSpool": "MK-1000", "workerId": "acme.1000", "workerNombre": "N"}))
	if status != 200 || !strings.Contains(body, `"message":"The partner's workers hold 20 spools, of 20 that they may hold together."`) ||
		!strings.Contains(body, `"extensions":{"code":"LOCK_LIMIT_REACHED","held":20,"limit":20}`) {
		t.Errorf("one more is answered %d %s", status, body)
	}
	a.client.Transport = as{"admin", a.client.Transport.(as).Transport}
	a.take(map[string]any{"tagSpool": "MK-1001", "workerId": "acme.1001", "workerNombre": "N"})

	limiter := ratelimit.New(ratelimit.Config{PerIdentity: budget, PerAddress: 1 << 20})
	a = newBoundedAPI(t, redisurl.EmbeddedText, 0, limiter.Admit, func(c *httpapi.Config) { c.Identify = crew.identify })
	a.client.Transport = as{"partner", a.client.Transport.(*http.Transport)}
	begun := time.Now()
	got = a.takeMany(100, workerOfAcme)
	if most := budget*2 + budget*int(time.Since(begun)/time.Second+1); got.taken < budget*2 || got.taken > most || got.taken+got.codes["RATE_LIMITED"] != 100 {
		t.Errorf("%+v of 100, and the budget is for %d", got, most)
	}
}

// However a caller asks for spools that were never seen before, it gets as many as it may in
// a day: a partner all its workers together, and anonymous callers all of an address.
func TestFreshSpoolsAreBounded(t *testing.T) {
	t.Parallel()
	for credential, test := range map[string]struct {
		identify auth.Identify
		take     func(i int) map[string]any
		reason   string
		message  string
	}{
		"worker": {crew.identify, func(i int) map[string]any { return map[string]any{"tagSpool": fmt.Sprint("MK-", i)} },
			"IDENTITY", "The caller has asked for too many spools that no one has taken before."},
		"partner": {crew.identify, workerOfAcme, "IDENTITY", "The caller has asked for too many spools that no one has taken before."},
		"": {auth.Static(lock.Caller{Role: lock.RoleWorker}), workerOfAcme,
			"ADDRESS", "Too many spools that no one has taken before were asked for from the caller's address."},
	} {
		t.Run(credential, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			a := newLockingAPI(t, server.URL, func(c *lock.Config) {
				c.BeginFresh = ratelimit.NewFreshSpools(20).Begin
			}, func(c *httpapi.Config) { c.Identify = test.identify })
			if credential != "" {
				a.client.Transport = as{credential, a.client.Transport.(*http.Transport)}
			}
			if got := a.takeMany(100, test.take); got.taken != 20 || got.codes["RATE_LIMITED"] != 80 {
				t.Errorf("%+v", got)
			}
			client := server.Client()
			defer client.Close() //nolint:errcheck // a client of the moment
			if keys, err := client.Keys(t.Context(), "spool_*").Result(); err != nil || len(keys) != 2*20 {
				t.Errorf("%d keys are there, %v: %v", len(keys), err, keys)
			}
			status, body := a.post(tomar, input(test.take(1000)))
			var answer struct {
				Errors []struct {
					Message    string
					Extensions struct {
						Code, Reason      string
						RetryAfterSeconds int
					}
				}
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || len(answer.Errors) != 1 {
				t.Fatalf("one more is answered %d %s", status, body)
			}
			refused := answer.Errors[0]
			if e := refused.Extensions; e.Code != "RATE_LIMITED" || e.Reason != test.reason || e.RetryAfterSeconds <= 24*60*60 || e.RetryAfterSeconds > 25*60*60 ||
				refused.Message != test.message {
				t.Errorf("one more is answered %s", body)
			}
		})
	}
}

// What a role does not allow counts as a change, so that nobody floods the log with it.
func TestRefusalsAreLimited(t *testing.T) {
	t.Parallel()
	limiter := ratelimit.New(ratelimit.Config{PerIdentity: 1, PerAddress: 1 << 20})
	a := newBoundedAPI(t, redisurl.EmbeddedText, 0, limiter.Admit, func(c *httpapi.Config) { c.Identify = crew.identify })
	a.client.Transport = as{"viewer", a.client.Transport.(*http.Transport)}
	a.awaitLimited(`mutation{releaseSpool(input:{tagSpool:"MK-0",lockToken:"acme.7:x"}){released}}`,
		`{"errors":[{"message":"The caller has asked for too many changes.","path":["releaseSpool"],"locations":[{"line":1,"column":10}],`+
			`"extensions":{"code":"RATE_LIMITED","reason":"IDENTITY","retryAfterSeconds":1}}],"data":{"releaseSpool":null}}`)
}
