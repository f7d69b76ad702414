package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/auth"
	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/graph"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// people are the callers of a test by their credentials.
type people map[string]lock.Caller

func (p people) identify(_ context.Context, credential string) (auth.Identity, error) {
	caller, ok := p[credential]
	if !ok {
		return auth.Identity{}, auth.ErrRefused
	}
	return auth.Identity{Caller: caller}, nil
}

func known(id string, role lock.Role) lock.Caller {
	return lock.Caller{Worker: lock.Worker{ID: lock.WorkerID(id), Name: "N " + id}, Role: role}
}

// crew is everybody in the matrix: those of acme.7 and acme hold the spools.
var crew = people{
	"none":    known("acme.7", ""),
	"viewer":  known("acme.7", lock.RoleViewer),
	"worker":  known("acme.7", lock.RoleWorker),
	"other":   known("acme.8", lock.RoleWorker),
	"partner": known("acme", lock.RolePartner),
	"rival":   known("acm", lock.RolePartner),
	"admin":   known("boss", lock.RoleAdmin),
}

// everybody is who may ask a question; holders are who may act for acme.7.
const (
	everybody = "viewer worker other partner rival admin"
	holders   = "worker partner admin"
)

// rule is how callers are answered who ask for a field about a spool that acme.7 holds,
// or, if it is free, for acme.7.
type rule struct {
	arguments string // %[1]s: the spool, %[2]s: its token, %[3]s: its version
	free      bool

	may      string // who is served
	occupied string // who is told who holds it; all others are forbidden to
}

// rules has one for each root field of the schema; one that is not here fails the test.
var rules = map[string]rule{
	"spoolLock":     {arguments: `(tagSpool:"%[1]s")`, may: everybody},
	"spool":         {arguments: `(tagSpool:"%[1]s")`, may: everybody},
	"spools":        {arguments: `(tagSpools:["%[1]s"])`, may: everybody},
	"spoolLocks":    {may: everybody},
	"lockLimits":    {may: everybody},
	"floorUpdates":  {may: everybody},
	"checkLock":     {arguments: `(input:{tagSpool:"%[1]s",lockToken:"%[2]s"})`, may: everybody},
	"tomarSpool":    {arguments: `(input:{tagSpool:"%[1]s",workerId:"acme.7",workerNombre:"N acme.7"})`, free: true, may: holders},
	"tomarSpools":   {arguments: `(input:{items:[{tagSpool:"%[1]s",workerId:"acme.7",workerNombre:"N acme.7"}]})`, free: true, may: holders},
	"releaseSpool":  {arguments: `(input:{tagSpool:"%[1]s",lockToken:"%[2]s"})`, may: holders},
	"releaseSpools": {arguments: `(input:{items:[{tagSpool:"%[1]s",lockToken:"%[2]s"}]})`, may: holders},
	"extendLock":    {arguments: `(input:{tagSpool:"%[1]s",lockToken:"%[2]s",additionalSeconds:60})`, may: holders},
	"extendLocks":   {arguments: `(input:{items:[{tagSpool:"%[1]s",lockToken:"%[2]s",additionalSeconds:60}]})`, may: holders},
	"resumeSpool":   {arguments: `(input:{tagSpool:"%[1]s"})`, may: "worker", occupied: "other partner rival admin"},
	"forceReleaseSpool": {
		arguments: `(input:{tagSpool:"%[1]s",reason:"gone home",expectedVersion:%[3]s})`, may: "admin",
	},
}

// Every root field, for every role and for a stranger, on their own locks and others',
// by every transport.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redistest.Start(t).URL, func(c *httpapi.Config) { c.Identify = crew.identify })
	a.client.Transport = as{"worker", a.client.Transport.(*http.Transport)}
	a.awaitReadiness(http.StatusOK, live)
	schema := graph.NewSchema(nil, nil, nil).Schema()
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation, schema.Subscription} {
		for _, field := range root.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			rule, ok := rules[field.Name]
			if !ok {
				t.Errorf("%s has no rule", field.Name)
				continue
			}
			for credential := range crew {
				for name, ask := range a.transports(root) {
					t.Run(fmt.Sprintf("%s by %s over %s", field.Name, credential, name), func(t *testing.T) {
						a := &api{t: t, server: a.server, config: a.config, client: a.client}
						want := graph.CodeForbidden
						if has(rule.may, credential) {
							want = ""
						} else if has(rule.occupied, credential) {
							want = graph.CodeSpoolOccupied
						}
						arguments, untouched := a.arguments(rule)
						document := strings.ToLower(root.Name) + "{" + field.Name + arguments + selection(schema, field.Type.Name(), 3) + "}"
						if got := ask(t, credential, document); got != want {
							t.Errorf("the code is %q, want %q", got, want)
						}
						if want != "" && !untouched() {
							t.Error("something was done all the same")
						}
					})
				}
			}
		}
	}
}

func has(list, element string) bool { return strings.Contains(" "+list+" ", " "+element+" ") }

// as is a transport that shows a credential unless the request has one.
type as struct {
	credential string
	*http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+a.credential)
	}
	return a.Transport.RoundTrip(r)
}

// arguments are those of the rule for a spool of its own, and what tells whether the spool
// is as it was.
func (a *api) arguments(rule rule) (arguments string, untouched func() bool) {
	a.t.Helper()
	tag := "MK-" + uuid.NewString()
	token, version := "", ""
	if !rule.free {
		_, body := a.post(`mutation($input:TomarSpoolInput!){tomarSpool(input:$input){lockToken lock{version}}}`, input(map[string]any{"tagSpool": tag}))
		var answer struct {
			Data struct {
				TomarSpool struct {
					LockToken string
					Lock      struct{ Version json.Number }
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Data.TomarSpool.LockToken == "" {
			a.t.Fatalf("the take is answered %s", body)
		}
		token, version = answer.Data.TomarSpool.LockToken, answer.Data.TomarSpool.Lock.Version.String()
	}
	arguments = rule.arguments
	for place, value := range map[string]string{"%[1]s": tag, "%[2]s": token, "%[3]s": version} {
		arguments = strings.ReplaceAll(arguments, place, value)
	}
	return arguments, func() bool {
		if rule.free {
			_, body := a.post(fmt.Sprintf(`{spoolLock(tagSpool:%q){id}}`, tag), nil)
			return body == `{"data":{"spoolLock":null}}`
		}
		_, body := a.post(fmt.Sprintf(`{checkLock(input:{tagSpool:%q,lockToken:%q}){valid spool{lock{version}}}}`, tag, token), nil)
		return body == `{"data":{"checkLock":{"valid":true,"spool":{"lock":{"version":`+version+`}}}}}`
	}
}

// transports are the ways to ask for a field of the root; each returns the code of the
// first error.
func (a *api) transports(root *ast.Definition) map[string]func(t *testing.T, credential, document string) string {
	asked := func(t *testing.T, credential, method, path, body, accept string) string {
		t.Helper()
		a := &api{t: t, server: a.server, client: a.client}
		ctx, cancel := context.WithTimeout(t.Context(), testwait.Patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, a.server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+credential)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", accept)
		response, err := a.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // enough was read
		answer, err := attack{stream: accept == "text/event-stream"}.readAll(response.Body)
		if err != nil && !errors.Is(err, io.EOF) { // it may come with the only event
			t.Fatal(err)
		}
		if event := firstEvent(answer); event != nil {
			answer = event
		}
		code, _, _ := firstError(t, answer)
		return code
	}
	all := map[string]func(*testing.T, string, string) string{
		"POST": func(t *testing.T, credential, document string) string {
			t.Helper()
			return asked(t, credential, http.MethodPost, "/graphql", queried(document), "application/json")
		},
		"events": func(t *testing.T, credential, document string) string {
			t.Helper()
			return asked(t, credential, http.MethodPost, "/graphql", queried(document), "text/event-stream")
		},
		"WebSocket": func(t *testing.T, credential, document string) string {
			t.Helper()
			s := (&streamAPI{api: &api{t: t, server: a.server}}).open(fmt.Sprintf(`{"type":"connection_init","payload":{"authorization":"Bearer %s"}}`, credential))
			if credential == "none" { // not even let in
				s.WantClose(4403, "Forbidden")
				return graph.CodeForbidden
			}
			s.Want(`{"type":"connection_ack"}`)
			s.Send(gqlhttptest.Subscribe("1", document))
			text, err := s.Read()
			if err != nil {
				t.Fatal(err)
			}
			var message struct{ Payload json.RawMessage }
			if err := json.Unmarshal([]byte(text), &message); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(message.Payload), "[") {
				message.Payload = json.RawMessage(`{"errors":` + string(message.Payload) + "}")
			}
			code, _, _ := firstError(t, message.Payload)
			return code
		},
	}
	switch root.Name {
	case "Query":
		all["GET"] = func(t *testing.T, credential, document string) string {
			t.Helper()
			return asked(t, credential, http.MethodGet, "/graphql?query="+url.QueryEscape(document), "", "application/json")
		}
	case "Subscription":
		delete(all, "POST")
	}
	return all
}

// Without a valid credential nothing is looked at.
func TestStrangers(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redistest.Start(t).URL, func(c *httpapi.Config) { c.Identify = crew.identify })
	for name, headers := range map[string][]string{
		"nothing":         nil,
		"a wrong one":     {"Authorization", "Bearer wrong"},
		"another scheme":  {"Authorization", "Basic worker"},
		"no scheme":       {"Authorization", "worker"},
		"an empty one":    {"Authorization", "Bearer "},
		"a wrong key":     {"X-API-Key", "wrong"},
		"two of them":     {"Authorization", "Bearer worker", "X-API-Key", "viewer"},
		"the wrong place": {"Cookie", "Authorization=worker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &api{t: t, server: a.server, client: a.client}
			for method, body := range map[string]string{http.MethodPost: queried(`{lockLimits{batchSize}}`), http.MethodGet: ""} {
				response, text := a.do(method, "/graphql?query={lockLimits{batchSize}}", body, append(headers, "Content-Type", "application/json")...)
				if response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(text, `"code":"UNAUTHENTICATED"`) {
					t.Errorf("%s is answered %d %s", method, response.StatusCode, text)
				}
			}
			s, _, err := (&streamAPI{api: a}).dial(headers...)
			if err != nil {
				t.Fatal(err)
			}
			s.Send(`{"type":"connection_init"}`)
			s.WantClose(4401, "Unauthorized")
		})
	}
	for name, headers := range map[string][]string{
		"a bearer": {"Authorization", "bearer  worker "},
		"a key":    {"X-API-Key", "worker"},
	} {
		response, text := a.do(http.MethodGet, "/graphql?query={lockLimits{batchSize}}", "", headers...)
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %d %s", name, response.StatusCode, text)
		}
		s, _, err := (&streamAPI{api: a}).dial(headers...)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(`{"type":"connection_init","payload":{"other":"thing"}}`)
		s.Want(`{"type":"connection_ack"}`)
	}
	for _, payload := range []string{`{"Authorization":"Bearer worker"}`, `{"x-api-key":"worker"}`} {
		s, _, err := (&streamAPI{api: a}).dial("Authorization", "Bearer wrong")
		if err != nil {
			t.Fatal(err)
		}
		s.Send(`{"type":"connection_init","payload":` + payload + `}`)
		s.Want(`{"type":"connection_ack"}`) // the payload counts
	}
}

// A socket and a stream end when the credential does, so that clients come back with
// another one.
func TestCredentialsThatEnd(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, func(c *httpapi.Config, _ *httptest.Server) {
		c.Identify = func(context.Context, string) (auth.Identity, error) {
			return auth.Identity{Caller: known("93", lock.RoleWorker), Expires: time.Now().Add(300 * time.Millisecond)}, nil
		}
	})
	s := a.acknowledged()
	s.WantClose(websocket.StatusCode(4403), "Credential has ended")
	response := a.stream(`{"query":"subscription{hangs}"}`)
	text, err := attack{}.readAll(response.Body)
	if err != nil || strings.Contains(string(text), "complete") || strings.Count(string(text), "event: next") != 1 {
		t.Errorf("the stream ends with %v: %q", err, text)
	}
}

// A credential that is withdrawn does nothing more, and what was opened with it ends.
func TestCredentialsThatAreWithdrawn(t *testing.T) {
	t.Parallel()
	var withdrawn atomic.Bool
	a := newStreamAPI(t, func(c *httpapi.Config, _ *httptest.Server) {
		c.StreamTimes.KeepAlive = 300 * time.Millisecond
		c.Identify = func(context.Context, string) (auth.Identity, error) {
			if withdrawn.Load() {
				return auth.Identity{}, auth.ErrRefused
			}
			return auth.Identity{Caller: known("93", lock.RoleWorker)}, nil
		}
	})
	idle, busy := a.acknowledged(), a.acknowledged(hello)
	busy.Want(helped, `{"type":"complete","id":"1"}`)
	response := a.stream(`{"query":"subscription{hangs}"}`)
	withdrawn.Store(true)
	busy.Send(strings.Replace(hello, `"1"`, `"2"`, 1))
	for _, s := range []*gqlhttptest.Socket{busy, idle} {
		for {
			text, err := s.Read()
			if err == nil && text == `{"type":"ping"}` {
				continue
			}
			if websocket.CloseStatus(err) != 4403 {
				t.Errorf("the socket says %s, %v", text, err)
			}
			break
		}
	}
	text, err := attack{}.readAll(response.Body)
	if err != nil || strings.Contains(string(text), "complete") {
		t.Errorf("the stream ends with %v: %q", err, text)
	}
}

// The log says who asked for what they may not do, from where, and of many strangers how
// many there were.
func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.Identify = crew.identify })
	const released = `{"query":"mutation{releaseSpool(input:{tagSpool:\"MK-1\",lockToken:\"acme.7:x\"}){released}}"}`
	ask := func(credential string) {
		a.do(http.MethodPost, "/graphql", released, "Content-Type", "application/json", "Authorization", "Bearer "+credential)
	}
	ask("viewer")
	ask("other")
	ask("none")
	for _, want := range []string{
		`level=WARN msg=audit action=CALL outcome=FORBIDDEN caller=acme.7 role=VIEWER address=127.0.0.1 why="this needs the role WORKER" field=releaseSpool`,
		`level=WARN msg=audit action=RELEASE outcome=FORBIDDEN caller=acme.8 role=WORKER address=127.0.0.1 why="the lock is that of worker acme.7, and the caller may not act as that worker" tag=MK-1 worker=acme.7`,
		`level=WARN msg="a credential is refused" address=127.0.0.1 caller=acme.7 error="this needs the role VIEWER" refusals=1`,
	} {
		if strings.Count(a.log.String(), want) != 1 {
			t.Errorf("the log has not %s once", want)
		}
	}
	const strangers = 200
	for range strangers {
		ask("stranger")
	}
	testwait.Until(t, "all are counted", func() bool {
		ask("stranger")
		records, refusals := 0, 0
		for _, found := range regexp.MustCompile(`caller="" error="the credential is refused" refusals=(\d+)`).FindAllStringSubmatch(a.log.String(), -1) {
			n, err := strconv.Atoi(found[1])
			if err != nil {
				t.Fatal(err)
			}
			records, refusals = records+1, refusals+n
		}
		return refusals >= strangers && records < strangers
	})
}
