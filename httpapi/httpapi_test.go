package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"spoollock/auth"
	"spoollock/floor"
	"spoollock/gqlhttp"
	"spoollock/graph"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/metrics"
	"spoollock/redisurl"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// operationTimeout is long enough for a thousand operations at once under the race
// detector.
const operationTimeout = 8 * time.Second

// api is the service over HTTP on a Redis.
type api struct {
	t      *testing.T
	server *httptest.Server
	config httpapi.Config
	client *http.Client
	log    *redistest.Log

	pooled func() int // connections to Redis
}

var streamLimits = gqlhttp.StreamLimits{Subscriptions: 100, PerNetwork: 50, PerCaller: 50, OperationsPerSocket: 20, MessagesPerSecond: 1000}

// secret is what must never be in a log: a token.
var secret = regexp.MustCompile(`[\w.-]+:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-`)

func newAPI(t *testing.T, redisURL string, change ...func(*httpapi.Config)) *api {
	t.Helper()
	return newBoundedAPI(t, redisURL, 0, nil, change...)
}

// newBoundedAPI has bounds of its own on what callers change.
func newBoundedAPI(
	t *testing.T, redisURL string, locksPerWorker int, admit func(context.Context) error, change ...func(*httpapi.Config),
) *api {
	t.Helper()
	return newLockingAPI(t, redisURL, func(c *lock.Config) { c.Limits.LocksPerWorker, c.Admit = locksPerWorker, admit }, change...)
}

// newLockingAPI has another configuration of the locks.
func newLockingAPI(t *testing.T, redisURL string, locking func(*lock.Config), change ...func(*httpapi.Config)) *api {
	t.Helper()
	log := redistest.NewLog(t)
	logger := log.Logger()
	view := floor.NewView()
	store := redistest.Open(t, redisURL, logger, repository.Config{Timeout: operationTimeout, OnSpool: view.Apply})
	lockConfig := lock.Config{
		Limits:        lock.Limits{DefaultTTL: time.Hour, MaxTTL: 12 * time.Hour},
		Timeout:       operationTimeout,
		Attempts:      3,
		Held:          view.Held,
		HeldByPartner: view.HeldByPartner,
	}
	locking(&lockConfig)
	locks := lock.NewService(store, lockConfig, logger)
	var handler *httpapi.Handler
	measured := metrics.New(metrics.Sources{
		Floor: view.Status, Redis: store.Stats, Health: store.Health, Retries: locks.Retries,
		Streams: func() gqlhttp.StreamCounts { return handler.Streams() },
	})
	config := httpapi.Config{
		Schema: graph.NewSchema(locks, view, logger), Health: store.Health, Log: logger,
		FloorLive: func() bool { return view.Status().Live }, Eviction: func() string { return "volatile-lru" },
		Metrics: measured.Handler(logger), Observe: measured.Operation,
		StreamLimits: streamLimits, RequestTimeout: 10 * time.Second, Addresses: httpapi.NewAddresses(400, nil),
		Identify: auth.Static(lock.Caller{Role: lock.RoleWorker}), AuthMode: "none",
	}
	for _, change := range change {
		change(&config)
	}
	keeping, stop := context.WithCancel(context.Background())
	var kept sync.WaitGroup
	kept.Go(func() {
		floor.Run(keeping, view, store, floor.Config{RebuildInterval: time.Hour, Timeout: operationTimeout}, logger)
	})
	kept.Go(func() {
		if err := store.Watch(keeping); err != nil {
			t.Errorf("the watch ends with %v", err)
		}
	})
	handler = httpapi.New(config)
	a := &api{t: t, server: httptest.NewServer(handler), config: config, log: log}
	a.client = a.server.Client()
	a.pooled = func() int { return store.Stats().Connections }
	t.Cleanup(func() {
		a.server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), testwait.Patience)
		defer cancel()
		locks.Close(ctx)
		stop()
		kept.Wait()
		if found := secret.FindString(log.String()); found != "" {
			t.Errorf("the log holds a token, %q:\n%s", found, log.String())
		}
	})
	return a
}

// post sends a GraphQL request and returns the status and the body.
func (a *api) post(query string, variables map[string]any) (int, string) {
	a.t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.send(http.MethodPost, "/graphql", "application/json", string(body))
}

func (a *api) send(method, path, contentType, body string) (int, string) {
	a.t.Helper()
	var headers []string
	if contentType != "" {
		headers = []string{"Content-Type", contentType}
	}
	response, text := a.do(method, path, body, headers...)
	return response.StatusCode, strings.TrimSpace(text)
}

// volatile is what differs from run to run in an answer.
var volatile = []struct {
	pattern *regexp.Regexp
	mask    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "MOMENT"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`\b1\d{12}\b`), "VERSION"},
	{regexp.MustCompile(`"remainingSeconds":3[56]\d\d\b`), `"remainingSeconds":AN-HOUR`},
	{regexp.MustCompile(`"remainingSeconds":4[12]\d\d\b`), `"remainingSeconds":70-MINUTES`},
}

func masked(answer string) string {
	for _, v := range volatile {
		answer = v.pattern.ReplaceAllString(answer, v.mask)
	}
	return answer
}

// want sends the request and compares the masked answer.
func (a *api) want(query string, variables map[string]any, status int, want string) {
	a.t.Helper()
	gotStatus, got := a.post(query, variables)
	if gotStatus != status || masked(got) != want {
		a.t.Fatalf("%s\nis answered %d\n%s\nwant %d\n%s", query, gotStatus, masked(got), status, want)
	}
}

const (
	lockFields  = `{id tagSpool ownerId ownerName note version acquiredAt expiresAt remainingSeconds}`
	spoolFields = `{id tagSpool version lock ` + lockFields + `}`

	tomar   = `mutation($input: TomarSpoolInput!){tomarSpool(input: $input){lockToken replayed lock ` + lockFields + ` spool ` + spoolFields + `}}`
	release = `mutation($input: ReleaseSpoolInput!){releaseSpool(input: $input){released outcome spool ` + spoolFields + `}}`
	extend  = `mutation($input: ExtendLockInput!){extendLock(input: $input){lock ` + lockFields + ` spool ` + spoolFields + `}}`
)

func input(fields map[string]any) map[string]any { return map[string]any{"input": fields} }

// take takes a spool and returns the token.
func (a *api) take(fields map[string]any) string {
	a.t.Helper()
	status, body := a.post(tomar, input(fields))
	var answer struct {
		Data struct {
			TomarSpool *struct{ LockToken string }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || answer.Data.TomarSpool == nil {
		a.t.Fatalf("a take is answered %d %s", status, body)
	}
	return answer.Data.TomarSpool.LockToken
}

// onEachRedis runs the test on the embedded Redis and on a real one.
func onEachRedis(t *testing.T, test func(*testing.T, *api), change ...func(*httpapi.Config)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, newAPI(t, redisurl.EmbeddedText, change...))
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test(t, newAPI(t, redistest.Start(t).URL, change...))
	})
}

// The whole life of a spool, answer for answer.
func TestALifeInAnswers(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(_ *testing.T, a *api) {
		const held = `{"id":"lock:MK-1@VERSION","tagSpool":"MK-1","ownerId":"93","ownerName":"MR(93)","note":"weld 3",` +
			`"version":VERSION,"acquiredAt":"MOMENT","expiresAt":"MOMENT","remainingSeconds":AN-HOUR}`
		const free = `{"id":"spool:MK-1","tagSpool":"MK-1","version":VERSION,"lock":null}`
		spool := func(lock string) string {
			return `{"id":"spool:MK-1","tagSpool":"MK-1","version":VERSION,"lock":` + lock + `}`
		}
		a.want(`{spoolLock(tagSpool:"MK-1"){id} spool(tagSpool:"MK-1")`+spoolFields+`}`, nil, 200,
			`{"data":{"spoolLock":null,"spool":{"id":"spool:MK-1","tagSpool":"MK-1","version":0,"lock":null}}}`)

		request := map[string]any{
			"tagSpool": " MK-1 ", "workerId": 93, "workerNombre": "MR(93)", "note": "weld 3",
			"expectedVersion": 0, "requestId": uuid.NewString(),
		}
		taken := func(replayed string) string {
			return `{"data":{"tomarSpool":{"lockToken":"93:UUID","replayed":` + replayed + `,"lock":` + held + `,"spool":` + spool(held) + `}}}`
		}
		a.want(tomar, input(request), 200, taken("false"))
		a.want(tomar, input(request), 200, taken("true"))
		token := "93:" + request["requestId"].(string)

		a.want(tomar, input(map[string]any{"tagSpool": "MK-1", "workerId": "94", "workerNombre": "JP(94)"}), 200,
			`{"errors":[{"message":"Spool MK-1 is held by MR(93) (93) until TIME.","path":["tomarSpool"],"locations":[{"line":1,"column":36}],`+
				`"extensions":{"acquiredAt":"MOMENT","code":"SPOOL_OCCUPIED","expiresAt":"MOMENT","note":"weld 3","ownerId":"93",`+
				`"ownerName":"MR(93)","remainingSeconds":AN-HOUR,"tagSpool":"MK-1","version":VERSION}}],"data":{"tomarSpool":null}}`)
		a.want(`{spoolLock(tagSpool:"MK-1")`+lockFields+` spool(tagSpool:"MK-1")`+spoolFields+`}`, nil, 200,
			`{"data":{"spoolLock":`+held+`,"spool":`+spool(held)+`}}`)

		longer := strings.ReplaceAll(held, "AN-HOUR", "70-MINUTES")
		a.want(extend, input(map[string]any{"tagSpool": "MK-1", "lockToken": token, "additionalSeconds": 600}), 200,
			`{"data":{"extendLock":{"lock":`+longer+`,"spool":`+spool(longer)+`}}}`)
		a.want(release, input(map[string]any{"tagSpool": "MK-1", "lockToken": "94:x"}), 200,
			`{"data":{"releaseSpool":{"released":false,"outcome":"NOT_OWNER","spool":`+spool(longer)+`}}}`)

		proof := input(map[string]any{"tagSpool": "MK-1", "lockToken": token})
		a.want(release, proof, 200, `{"data":{"releaseSpool":{"released":true,"outcome":"RELEASED","spool":`+free+`}}}`)
		a.want(release, proof, 200, `{"data":{"releaseSpool":{"released":true,"outcome":"ALREADY_RELEASED","spool":`+free+`}}}`)
		a.want(release, input(map[string]any{"tagSpool": "MK-1", "lockToken": "94:x"}), 200,
			`{"data":{"releaseSpool":{"released":false,"outcome":"NOT_HELD","spool":`+free+`}}}`)
		a.want(tomar, input(request), 200,
			`{"errors":[{"message":"The lock on spool MK-1 was released.","path":["tomarSpool"],"locations":[{"line":1,"column":36}],`+
				`"extensions":{"cause":"RELEASED","code":"LOCK_EXPIRED","tagSpool":"MK-1"}}],"data":{"tomarSpool":null}}`)
		a.want(extend, input(map[string]any{"tagSpool": "MK-1", "lockToken": "94:x", "additionalSeconds": 1}), 200,
			`{"errors":[{"message":"Nobody holds spool MK-1.","path":["extendLock"],"locations":[{"line":1,"column":36}],`+
				`"extensions":{"cause":"NOT_HELD","code":"LOCK_EXPIRED","tagSpool":"MK-1"}}],"data":{"extendLock":null}}`)
		a.want(tomar, input(map[string]any{"tagSpool": "MK-1", "workerId": "94", "workerNombre": "JP(94)", "expectedVersion": 1}), 200,
			`{"errors":[{"message":"Spool MK-1 has version VERSION, not 1.","path":["tomarSpool"],"locations":[{"line":1,"column":36}],`+
				`"extensions":{"actual":VERSION,"code":"VERSION_CONFLICT","expected":1,"tagSpool":"MK-1"}}],"data":{"tomarSpool":null}}`)
	})
}

func TestLimitsInAnswers(t *testing.T) {
	t.Parallel()
	a := newBoundedAPI(t, redisurl.EmbeddedText, 200, nil)
	a.want(`{lockLimits{defaultTtlSeconds maxTtlSeconds batchSize maxLocksPerWorker}}`, nil, 200,
		`{"data":{"lockLimits":{"defaultTtlSeconds":3600,"maxTtlSeconds":43200,"batchSize":50,"maxLocksPerWorker":200}}}`)
}

// A lock of another program has nulls where it says nothing.
func TestForeignLockInAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.Set(t.Context(), "spool_lock:MK-1", "94:x:23-11-2026 14:05:09", 0).Err(); err != nil {
		t.Fatal(err)
	}
	const held = `{"id":"lock:MK-1@VERSION","tagSpool":"MK-1","ownerId":"94","ownerName":null,"note":null,` +
		`"version":VERSION,"acquiredAt":null,"expiresAt":null,"remainingSeconds":null}`
	a.want(`{spoolLock(tagSpool:"MK-1")`+lockFields+`}`, nil, 200, `{"data":{"spoolLock":`+held+`}}`)
	a.want(tomar, input(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)"}), 200,
		`{"errors":[{"message":"Spool MK-1 is held by 94.","path":["tomarSpool"],"locations":[{"line":1,"column":36}],`+
			`"extensions":{"acquiredAt":null,"code":"SPOOL_OCCUPIED","expiresAt":null,"note":null,"ownerId":"94",`+
			`"ownerName":null,"remainingSeconds":null,"tagSpool":"MK-1","version":VERSION}}],"data":{"tomarSpool":null}}`)
	a.want(extend, input(map[string]any{"tagSpool": "MK-1", "lockToken": "94:x:23-11-2026 14:05:09", "additionalSeconds": 60}), 200,
		`{"errors":[{"message":"additionalSeconds cannot be granted: the lock has no end, another program wrote it so.",`+
			`"path":["extendLock"],"locations":[{"line":1,"column":36}],`+
			`"extensions":{"code":"BAD_USER_INPUT","field":"additionalSeconds","reason":"NO_EXPIRY"}}],"data":{"extendLock":null}}`)
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	good := map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)"}
	with := func(field string, value any) map[string]any {
		fields := map[string]any{}
		for name, value := range good {
			fields[name] = value
		}
		fields[field] = value
		return input(fields)
	}
	extension := func(field string, value any) map[string]any {
		fields := map[string]any{"tagSpool": "MK-1", "lockToken": "93:x", "additionalSeconds": 60}
		fields[field] = value
		return input(fields)
	}
	tests := map[string]struct {
		query     string
		variables map[string]any
		field     string
		reason    string
		bounds    string
	}{
		"empty tag":           {tomar, with("tagSpool", " "), "tagSpool", "TOO_SHORT", `"maximum":64,"minimum":1`},
		"tag with braces":     {tomar, with("tagSpool", "{a}"), "tagSpool", "INVALID_CHARACTER", ""},
		"no worker":           {tomar, with("workerId", nil), "workerId", "REQUIRED", ""},
		"long worker":         {tomar, with("workerId", strings.Repeat("9", 65)), "workerId", "TOO_LONG", `"maximum":64,"minimum":1`},
		"no name":             {tomar, with("workerNombre", nil), "workerNombre", "REQUIRED", ""},
		"blank name":          {tomar, with("workerNombre", "  "), "workerNombre", "BLANK", ""},
		"long note":           {tomar, with("note", strings.Repeat("x", 141)), "note", "TOO_LONG", `"maximum":140,"minimum":0`},
		"no time":             {tomar, with("ttlSeconds", 0), "ttlSeconds", "OUT_OF_RANGE", `"maximum":43200,"minimum":1`},
		"too much time":       {tomar, with("ttlSeconds", 43201), "ttlSeconds", "OUT_OF_RANGE", `"maximum":43200,"minimum":1`},
		"odd request id":      {tomar, with("requestId", "1"), "requestId", "NOT_UUID_V4", ""},
		"no token":            {extend, extension("lockToken", ""), "lockToken", "TOO_SHORT", `"maximum":160,"minimum":1`},
		"negative extension":  {extend, extension("additionalSeconds", -1), "additionalSeconds", "OUT_OF_RANGE", `"maximum":43200,"minimum":1`},
		"tag is a boolean":    {tomar, with("tagSpool", true), "tagSpool", "WRONG_TYPE", ""},
		"tag is a fraction":   {tomar, with("tagSpool", 1.5), "tagSpool", "WRONG_TYPE", ""},
		"tag is null":         {tomar, with("tagSpool", nil), "tagSpool", "WRONG_TYPE", ""},
		"name is a number":    {tomar, with("workerNombre", 93), "workerNombre", "WRONG_TYPE", ""},
		"name is a boolean":   {tomar, with("workerNombre", true), "workerNombre", "WRONG_TYPE", ""},
		"note is a list":      {tomar, with("note", []string{"a"}), "note", "WRONG_TYPE", ""},
		"time is a text":      {tomar, with("ttlSeconds", "60"), "ttlSeconds", "WRONG_TYPE", ""},
		"time is a fraction":  {tomar, with("ttlSeconds", 1.5), "ttlSeconds", "WRONG_TYPE", ""},
		"time beyond 32 bits": {tomar, with("ttlSeconds", 1<<40), "ttlSeconds", "WRONG_TYPE", ""},
		"version is a text":   {tomar, with("expectedVersion", "1"), "expectedVersion", "WRONG_TYPE", ""},
		"version is negative": {tomar, with("expectedVersion", -1), "expectedVersion", "WRONG_TYPE", ""},
		"version beyond 2^53": {tomar, with("expectedVersion", int64(1)<<53), "expectedVersion", "WRONG_TYPE", ""},
		"unknown field":       {tomar, with("colour", "red"), "colour", "WRONG_TYPE", ""},
		"token for a field":   {tomar, with("93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11", 1), "input", "WRONG_TYPE", ""},
		"token is a number":   {extend, extension("lockToken", 7), "lockToken", "WRONG_TYPE", ""},
		"no input at all":     {tomar, nil, "input", "WRONG_TYPE", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, body := a.post(test.query, test.variables)
			var answer struct {
				Errors []struct {
					Message    string
					Extensions json.RawMessage
				}
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Errors) != 1 {
				t.Fatalf("answer is %s, %v", body, err)
			}
			want := fmt.Sprintf(`{"code":"BAD_USER_INPUT","field":%q,`, test.field)
			if test.bounds != "" {
				want += test.bounds + ","
			}
			want += fmt.Sprintf(`"reason":%q}`, test.reason)
			if strings.Contains(body, "8b6f5a1e") {
				t.Fatalf("answer shows a token: %s", body)
			}
			if got := string(answer.Errors[0].Extensions); got != want {
				t.Fatalf("extensions are\n%s, want\n%s", got, want)
			}
			if message := answer.Errors[0].Message; !strings.HasPrefix(message, test.field) || !strings.HasSuffix(message, ".") {
				t.Fatalf("message is %q", message)
			}
		})
	}
	a.want(`{spool(tagSpool:"MK-1"){version}}`, nil, 200, `{"data":{"spool":{"version":0}}}`)
}

func TestExtensionBeyondTheMaximumSaysWhatIsAllowed(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	token := a.take(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)", "ttlSeconds": 43200})
	_, body := a.post(extend, input(map[string]any{"tagSpool": "MK-1", "lockToken": token, "additionalSeconds": 3600}))
	var allowed int // as many as have gone by since the take
	_, after, _ := strings.Cut(body, `"maximum":`)
	_, err := fmt.Sscan(after, &allowed)
	if want := fmt.Sprintf(`{"errors":[{"message":"additionalSeconds must be at most %d seconds at this moment.","path":["extendLock"],`+
		`"locations":[{"line":1,"column":36}],"extensions":{"code":"BAD_USER_INPUT","field":"additionalSeconds","maximum":%[1]d,`+
		`"reason":"OUT_OF_RANGE"}}],"data":{"extendLock":null}}`, allowed); err != nil || allowed < 0 || allowed > 60 || body != want {
		t.Fatalf("it is answered\n%s\nwant\n%s", body, want)
	}
}

// One failing root field leaves its neighbours alone.
func TestNeighboursSurvive(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	_, body := a.post(`{bad: spool(tagSpool:""){id} good: spool(tagSpool:"MK-1"){version}}`, nil)
	if !strings.Contains(body, `"data":{"bad":null,"good":{"version":0}}`) || !strings.Contains(body, `"path":["bad"]`) {
		t.Fatalf("answer is %s", body)
	}
}

// One variable that is not of its type, and nothing of the operation is done. What is
// wrong is named as the schema names it, whatever the variable is called.
func TestVariablesAreCheckedBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	const two = `mutation($a:TomarSpoolInput!,$b:TomarSpoolInput!){a:tomarSpool(input:$a){replayed} b:tomarSpool(input:$b){replayed}}`
	good := `{"tagSpool":"MK-1","workerId":"93","workerNombre":"MR(93)"}`
	bad := func(field string) string {
		return `{"a":` + good + `,"b":{"tagSpool":"MK-2","workerId":"93",` + field + `}}`
	}
	const spools, floor, member = `query($s:[ID!]!){spools(tagSpools:$s){version}}`, `query($f:SpoolLockFilter){spoolLocks(filter:$f){totalCount}}`,
		`mutation($t:ID!){...F} fragment F on Mutation{tomarSpool(input:{workerId:"93",workerNombre:"x",tagSpool:$t}){replayed}}`
	for name, test := range map[string]struct{ query, variables, field string }{
		"a number for a text":       {two, bad(`"workerNombre":5`), "workerNombre"},
		"a fraction for a text":     {two, bad(`"workerNombre":1.5`), "workerNombre"},
		"a text for an Int":         {two, bad(`"ttlSeconds":"5"`), "ttlSeconds"},
		"a fraction for an ID":      {two, bad(`"requestId":1.5`), "requestId"},
		"a text for a Long":         {two, bad(`"expectedVersion":"5"`), "expectedVersion"},
		"an item of a batch":        {`mutation($b:ReleaseSpoolsInput!){releaseSpools(input:$b){failed}}`, `{"b":{"items":[{"tagSpool":"MK-1","lockToken":7}]}}`, "lockToken"},
		"an element of a list":      {spools, `{"s":["MK-1",1.5]}`, "tagSpools"},
		"one for a list":            {spools, `{"s":1.5}`, "tagSpools"},
		"one for a list in another": {floor, `{"f":{"tagSpools":1.5}}`, "tagSpools"},
		"a boolean for a list":      {spools, `{"s":true}`, "tagSpools"},
		"a text for an object":      {floor, `{"f":"x"}`, "filter"},
		"a value of its own":        {`query($x:ID!){spool(tagSpool:$x){version}}`, `{"x":1.5}`, "tagSpool"},
		"a boolean of its own":      {`query($x:ID!){spool(tagSpool:$x){version}}`, `{"x":true}`, "tagSpool"},
		"none":                      {`query($x:ID!){spool(tagSpool:$x){version}}`, `{}`, "tagSpool"},
		"a number in an object":     {member, `{"t":1.5}`, "tagSpool"},
		"a boolean in an object":    {member, `{"t":true}`, "tagSpool"},
		"in an inner field":         {`query($n:Int!){spool(tagSpool:"MK-1"){... on Spool{history(first:$n){pageInfo{hasNextPage}}}}}`, `{"n":"5"}`, "first"},
		"for a spread fragment":     {`query($b:Boolean!){...F @skip(if:$b)} fragment F on Query{lockLimits{batchSize}}`, `{"b":"x"}`, "if"},
		"null for a directive":      {`mutation($v:Boolean=true,$t:ID!){tomarSpool(input:{tagSpool:$t,workerId:"93",workerNombre:"x"}){replayed lockToken @include(if:$v)}}`, `{"v":null,"t":"MK-1"}`, "if"},
		"null for a root field":     {`query($v:Boolean=true){__typename @include(if:$v)}`, `{"v":null}`, "if"},
		"null for a fragment":       {`query($v:Boolean=true){...F} fragment F on Query{... @skip(if:$v){lockLimits{batchSize}}}`, `{"v":null}`, "if"},
		"null for its spread":       {`query($v:Boolean=true){...F @skip(if:$v)} fragment F on Query{lockLimits{batchSize}}`, `{"v":null}`, "if"},
		"for a directive":           {`query($b:Boolean!){lockLimits{batchSize @skip(if:$b)}}`, `{"b":"x"}`, "if"},
	} {
		t.Run(name, func(t *testing.T) {
			body := `{"query":` + string(must(json.Marshal(test.query))) + `,"variables":` + test.variables + `}`
			for accept, want := range map[string]int{"application/json": 200, "application/graphql-response+json": 400} {
				response, answer := a.do(http.MethodPost, "/graphql", body, "Content-Type", "application/json", "Accept", accept)
				if response.StatusCode != want || strings.Contains(answer, `"data"`) ||
					!strings.Contains(answer, `"extensions":{"code":"BAD_USER_INPUT","field":"`+test.field+`","reason":"WRONG_TYPE"}`) {
					t.Fatalf("as %s, the answer is %s %s", accept, response.Status, answer)
				}
			}
		})
	}
	a.want(`{spool(tagSpool:"MK-1"){version}}`, nil, 200, `{"data":{"spool":{"version":0}}}`)
}

// So they are where the answer is a stream.
func TestVariablesAreCheckedBeforeAStreamDoesAnything(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	const payload = `{"query":"mutation($v:Boolean=true){tomarSpool(input:{tagSpool:\"MK-1\",workerId:\"93\",workerNombre:\"x\"}){replayed @include(if:$v)}}","variables":{"v":null}}`
	const refused = `[{"message":"if must be true or false.","extensions":{"code":"BAD_USER_INPUT","field":"if","reason":"WRONG_TYPE"}}]`
	if _, body := a.do(http.MethodPost, "/graphql", payload, "Content-Type", "application/json", "Accept", "text/event-stream"); body != comment+event(`{"errors":`+refused+`}`)+completed {
		t.Errorf("by events, the answer is %s", body)
	}
	socket := (&streamAPI{api: a}).acknowledged(`{"id":"a","type":"subscribe","payload":` + payload + `}`)
	socket.Want(`{"type":"error","id":"a","payload":` + refused + `}`)
	_ = socket.Conn.CloseNow()
	a.want(`{spool(tagSpool:"MK-1"){version}}`, nil, 200, `{"data":{"spool":{"version":0}}}`)
}

func TestDocumentsThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	for name, test := range map[string]struct{ document, code string }{
		"unreadable":       {`{`, "GRAPHQL_PARSE_FAILED"},
		"a stray token":    {`{spool "93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11"}`, "GRAPHQL_PARSE_FAILED"},
		"a token for Int":  {`mutation{extendLock(input:{tagSpool:"a",lockToken:"b",additionalSeconds:"93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11"}){lock{id}}}`, "GRAPHQL_VALIDATION_FAILED"},
		"unknown field":    {`{nothing}`, "GRAPHQL_VALIDATION_FAILED"},
		"literal of type":  {`{spoolLock(tagSpool:true){id}}`, "GRAPHQL_VALIDATION_FAILED"},
		"text for Long":    {`mutation{tomarSpool(input:{tagSpool:"a",expectedVersion:"1"}){replayed}}`, "GRAPHQL_VALIDATION_FAILED"},
		"beyond Int":       {`mutation{tomarSpool(input:{tagSpool:"a",ttlSeconds:2147483648}){replayed}}`, "GRAPHQL_VALIDATION_FAILED"},
		"a negative Long":  {`mutation{tomarSpool(input:{tagSpool:"a",expectedVersion:-1}){replayed}}`, "GRAPHQL_VALIDATION_FAILED"},
		"beyond Long":      {`mutation{tomarSpool(input:{tagSpool:"a",expectedVersion:9007199254740992}){replayed}}`, "GRAPHQL_VALIDATION_FAILED"},
		"object for text":  {`mutation{tomarSpool(input:{tagSpool:{},workerId:"1",workerNombre:"a"}){replayed}}`, "GRAPHQL_VALIDATION_FAILED"},
		"introspection":    {`{__schema{types{name}}}`, "GRAPHQL_VALIDATION_FAILED"},
		"introspected":     {`{__type(name:"Spool"){name}}`, "GRAPHQL_VALIDATION_FAILED"},
		"in a fragment":    {`{...F} fragment F on Query{__schema{types{name}}}`, "GRAPHQL_VALIDATION_FAILED"},
		"empty":            {``, "GRAPHQL_VALIDATION_FAILED"},
		"two of one name":  {`query A{lockLimits{batchSize}} query A{lockLimits{batchSize}}`, "GRAPHQL_VALIDATION_FAILED"},
		"an absent member": {`mutation{tomarSpool(input:{tagSpool:"a",colour:1}){replayed}}`, "GRAPHQL_VALIDATION_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			_, body := a.post(test.document, nil)
			if !strings.Contains(body, `"code":"`+test.code+`"`) || strings.Contains(body, "8b6f5a1e") {
				t.Fatalf("answer is %s, want %s", body, test.code)
			}
		})
	}
}

func TestIntrospectionWhereItIsOn(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.Introspection = true })
	a.want(`{__type(name:"Long"){name description} __typename}`, nil, 200,
		`{"data":{"__type":{"name":"Long","description":"A whole number from 0 to 9007199254740991 (2^53-1), as a JSON number."},"__typename":"Query"}}`)
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	a.awaitReadiness(200, live)
	server.Kill()
	take := input(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)"})
	const unavailable = `{"errors":[{"message":"Redis cannot be reached, accepts no changes, or did not answer in time. Try again.","path":["%s"],` +
		`"locations":[{"line":1,"column":%d}],"extensions":{"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryable":true}}],"data":{"%[1]s":null}}`
	// The first may find a connection that looks alive.
	a.post(`{spool(tagSpool:"MK-1"){version}}`, nil)
	a.want(tomar, take, 200, fmt.Sprintf(unavailable, "tomarSpool", 36))
	a.want(`{spoolLock(tagSpool:"MK-1"){id}}`, nil, 200, fmt.Sprintf(unavailable, "spoolLock", 2))
	a.awaitReadiness(503, notReady)
	if status, body := a.send(http.MethodGet, "/healthz", "", ""); status != 200 || body != `{"status":"ok"}` {
		t.Fatalf("health is %d %s", status, body)
	}
	server.Restart()
	a.awaitReadiness(200, live)
	if token := a.take(take["input"].(map[string]any)); token == "" {
		t.Fatal("no token")
	}
}

// awaitReadiness fails the test unless /readyz comes to say so.
func (a *api) awaitReadiness(status int, body string) {
	a.t.Helper()
	var gotStatus int
	var gotBody string
	if !testwait.Poll(func() bool {
		gotStatus, gotBody = a.send(http.MethodGet, "/readyz", "", "")
		return gotStatus == status && gotBody == body
	}) {
		a.t.Fatalf("readiness is %d %s, want %d %s", gotStatus, gotBody, status, body)
	}
}

// What was done is to be read off the metrics, and nothing of a request.
func TestMetrics(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	// Of these, the floor has the first.
	for _, tag := range []string{" MK-2", "", strings.Repeat("x", 257)} {
		if err := client.Set(t.Context(), "spool_lock:"+tag, "94:x", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	a := newAPI(t, server.URL)
	a.awaitReadiness(200, live)
	a.take(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)"})
	a.post(tomar, input(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)"}))
	status, body := a.send(http.MethodGet, "/metrics", "", "")
	if status != 200 {
		t.Fatalf("metrics are %d %s", status, body)
	}
	for _, want := range []string{
		`spoollock_operation_duration_seconds_count{operation="tomarSpool",outcome="OK"} 1`,
		`spoollock_operation_duration_seconds_count{operation="tomarSpool",outcome="SPOOL_OCCUPIED"} 1`,
		"spoollock_floor_live 1", "spoollock_floor_locks 2", "spoollock_floor_foreign_tags 3", "spoollock_floor_rebuilds_total 1",
		"spoollock_redis_connections ", "spoollock_redis_round_trips_total ", "go_build_info{", "spoollock_floor_subscribers 0",
		"spoollock_websockets 0", "spoollock_event_streams 0", "spoollock_subscriptions 0", "spoollock_streams_refused_total 0",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics have no %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "MK-1") || strings.Contains(body, "93\"") {
		t.Errorf("the metrics show a request:\n%s", body)
	}
}

// wantCounted fails unless operations of the name with the outcome come to n.
func (a *api) wantCounted(operation, outcome string, n int) {
	a.t.Helper()
	want := fmt.Sprintf("spoollock_operation_duration_seconds_count{operation=%q,outcome=%q} %d\n", operation, outcome, n)
	var body string
	if !testwait.Poll(func() bool {
		_, body = a.send(http.MethodGet, "/metrics", "", "")
		return strings.Contains(body, want)
	}) {
		a.t.Fatalf("the metrics have no %s:\n%s", want, body)
	}
}

// An outage is seen in the metrics whatever is asked for, each item of several
// counted, and is one line in the log for each operation.
func TestMetricsOfAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	a.awaitReadiness(200, live)
	items := batch(
		map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)"},
		map[string]any{"tagSpool": "MK-2", "workerId": "93", "workerNombre": "MR(93)", "ttlSeconds": 0},
		map[string]any{"tagSpool": "MK-3", "workerId": "93", "workerNombre": "MR(93)"},
	)
	const takeAll = `mutation($input: TomarSpoolsInput!){tomarSpools(input: $input){taken}}`
	a.post(takeAll, items)
	a.wantCounted("tomarSpools", "OK", 2)
	a.post(`{spools(tagSpools:[]){version}}`, nil)
	a.wantCounted("spools", "BAD_USER_INPUT", 1)
	server.Kill()
	a.post(`{spool(tagSpool:"MK-1"){version}}`, nil)
	a.wantCounted("spool", "SERVICE_UNAVAILABLE", 1)
	a.post(takeAll, items)
	a.wantCounted("tomarSpools", "SERVICE_UNAVAILABLE", 2)
	a.wantCounted("tomarSpools", "BAD_USER_INPUT", 2)
	a.wantCounted("tomarSpools", "OK", 2)
	a.post(`{spools(tagSpools:["MK-1","MK-2","MK-3"]){version}}`, nil)
	a.wantCounted("spools", "SERVICE_UNAVAILABLE", 3)
	for _, want := range []string{"path=spool items=1 ", "path=tomarSpools items=2 ", "path=spools items=3 "} {
		a.log.Find(t, `msg="redis did not serve an operation" `+want)
	}
	if log := a.log.String(); strings.Count(log, "redis did not serve an operation") != 3 {
		t.Fatalf("three operations were not served:\n%s", log)
	}
}

// What no client can mend is masked, and logged once under the id it is told.
func TestInternalErrorsAreMasked(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.LPush(t.Context(), "spool_lock:MK-1", "x").Err(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*httpapi.Config)
		logged string
	}{
		"a key of another type": {func(*httpapi.Config) {}, "WRONGTYPE"},
		"a panic":               {func(c *httpapi.Config) { c.Schema = graph.NewSchema(nil, nil, nil) }, "nil pointer dereference"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, server.URL, test.change)
			a.t = t
			_, body := a.post(`{spool(tagSpool:"MK-1"){version}}`, nil)
			var answer struct {
				Errors []struct {
					Message    string
					Extensions map[string]string
				}
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Errors) != 1 {
				t.Fatalf("answer is %s, %v", body, err)
			}
			extensions := answer.Errors[0].Extensions
			if extensions["code"] != "INTERNAL_SERVER_ERROR" || len(extensions) != 2 || strings.Contains(body, test.logged) {
				t.Fatalf("answer is %s", body)
			}
			a.wantCounted("spool", "INTERNAL_SERVER_ERROR", 1)
			if strings.Count(a.log.String(), extensions["errorId"]) != 1 || strings.Count(a.log.String(), test.logged) != 1 {
				t.Fatalf("error %s is not in the log once:\n%s", extensions["errorId"], a.log)
			}
		})
	}
}

// One key of another type, and a client that asks for it time and again, do not fill the log:
// each id that the client is told is there.
func TestKeyOfAnotherTypeIsLoggedSeldom(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.LPush(t.Context(), "spool_lock:MK-1", "x").Err(); err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, server.URL)
	take := input(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)"})
	id := regexp.MustCompile(`under (` + strings.Trim(volatile[0].pattern.String(), "()") + `)`)
	for range 100 {
		_, read := a.post(`{spool(tagSpool:"MK-1"){version}}`, nil)
		_, taken := a.post(tomar, take)
		for _, body := range []string{read, taken} {
			told := id.FindStringSubmatch(body)
			if told == nil || !strings.Contains(a.log.String(), told[1]) {
				t.Fatalf("the log has no word of what is answered, %s:\n%s", body, a.log)
			}
		}
	}
	if log := a.log.String(); strings.Count(log, "MK-1") != 1 || !strings.Contains(log, "tag=MK-1 times=1 ") {
		t.Errorf("the log has not one line of it:\n%s", log)
	}
}

// Promise 1: of N simultaneous takes exactly one succeeds, and the others are
// told who has it.
func TestSimultaneousTakes(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redistest.Start(t).URL)
	for _, takers := range []int{10, 100, 1000} {
		t.Run(fmt.Sprint(takers), func(t *testing.T) {
			// All are under way before the first is served.
			var arrived atomic.Int64
			all := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if int(arrived.Add(1)) == takers {
					close(all)
				}
				select {
				case <-all:
					a.server.Config.Handler.ServeHTTP(w, r)
				case <-r.Context().Done():
				}
			}))
			defer server.Close()
			a := &api{t: t, server: server, client: server.Client()}
			a.client.Timeout = testwait.Patience
			tag := fmt.Sprintf("MK-%d", takers)
			bodies := make([]string, takers)
			var done sync.WaitGroup
			for i := range takers {
				done.Go(func() {
					_, bodies[i] = a.post(tomar, input(map[string]any{
						"tagSpool": tag, "workerId": i, "workerNombre": fmt.Sprintf("W(%d)", i),
					}))
				})
			}
			done.Wait()

			type facts struct {
				Code, TagSpool, OwnerID, OwnerName, AcquiredAt, ExpiresAt string
				Version                                                   int64
			}
			var winner *facts
			var refused []facts
			for _, body := range bodies {
				var answer struct {
					Errors []struct{ Extensions facts }
					Data   struct{ TomarSpool *struct{ Lock facts } }
				}
				if err := json.Unmarshal([]byte(body), &answer); err != nil {
					t.Fatalf("answer is %s, %v", body, err)
				}
				switch {
				case answer.Data.TomarSpool != nil && winner == nil && answer.Errors == nil:
					winner = &answer.Data.TomarSpool.Lock
				case answer.Data.TomarSpool == nil && len(answer.Errors) == 1:
					refused = append(refused, answer.Errors[0].Extensions)
				default:
					t.Fatalf("answer is %s, and the winner %+v", body, winner)
				}
			}
			if winner == nil || len(refused) != takers-1 {
				t.Fatalf("the winner is %+v, %d are refused", winner, len(refused))
			}
			winner.Code = "SPOOL_OCCUPIED"
			for _, told := range refused {
				if told != *winner {
					t.Fatalf("a refused one is told\n%+v, the winner is\n%+v", told, *winner)
				}
			}
		})
	}
}

// A lock taken for one second is free after it, and its token changes nothing.
func TestOneSecond(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, a *api) {
		token := a.take(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)", "ttlSeconds": 1})
		testwait.Until(t, "the spool is free", func() bool {
			_, body := a.post(`{spoolLock(tagSpool:"MK-1"){remainingSeconds}}`, nil)
			if body == `{"data":{"spoolLock":null}}` {
				return true
			}
			// 0 in the very millisecond of the expiry, in which Redis still has the key.
			if !regexp.MustCompile(`^{"data":{"spoolLock":{"remainingSeconds":[01]}}}$`).MatchString(body) {
				t.Fatalf("answer is %s", body)
			}
			return false
		})
		next := a.take(map[string]any{"tagSpool": "MK-1", "workerId": "94", "workerNombre": "JP(94)"})
		proof := map[string]any{"tagSpool": "MK-1", "lockToken": token}
		_, body := a.post(release, input(proof))
		if !strings.Contains(body, `"released":false,"outcome":"EXPIRED"`) || !strings.Contains(body, `"ownerId":"94"`) {
			t.Fatalf("the old token releases: %s", body)
		}
		proof["additionalSeconds"] = 60
		if _, body = a.post(extend, input(proof)); !strings.Contains(body, `"code":"SPOOL_OCCUPIED"`) {
			t.Fatalf("the old token extends: %s", body)
		}
		if _, body = a.post(release, input(map[string]any{"tagSpool": "MK-1", "lockToken": next})); !strings.Contains(body, `"outcome":"RELEASED"`) {
			t.Fatalf("the new token is answered %s", body)
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	plain := newAPI(t, redisurl.EmbeddedText)
	if status, body := plain.send(http.MethodGet, "/", "", ""); status != 200 || strings.Contains(body, "playground") || !strings.Contains(body, "/graphql") {
		t.Fatalf("the index is %d %s", status, body)
	}
	for _, path := range []string{"/playground", "/nothing", "/graphql/x"} {
		if status, _ := plain.send(http.MethodGet, path, "", ""); status != 404 {
			t.Fatalf("%s is %d", path, status)
		}
	}
	dev := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.Playground = true })
	if status, body := dev.send(http.MethodGet, "/", "", ""); status != 200 || !strings.Contains(body, "/playground") {
		t.Fatalf("the index is %d %s", status, body)
	}
	if status, body := dev.send(http.MethodGet, "/playground", "", ""); status != 200 || !strings.Contains(body, "graphiql") {
		t.Fatalf("the playground is %d %s", status, body)
	}
}
