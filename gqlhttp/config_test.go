package gqlhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
)

// answering is a schema with a function that answers every operation.
type answering struct {
	counter

	answer func(ctx context.Context) *graphql.Response
}

func newAnswering(sdl string, answer func(ctx context.Context) *graphql.Response) *answering {
	return &answering{counter{schema: gqlparser.MustLoadSchema(&ast.Source{Input: sdl})}, answer}
}

// Exec implements [graphql.ExecutableSchema].
func (a *answering) Exec(ctx context.Context) graphql.ResponseHandler {
	return graphql.OneShot(a.answer(ctx))
}

const textSDL = `type Query { text: String! } type Mutation { text: String! }`

func text(s string) *graphql.Response {
	data, err := json.Marshal(map[string]string{"text": s})
	if err != nil {
		panic(err)
	}
	return &graphql.Response{Data: data}
}

// A Config of nothing but a schema has bounds.
func TestDefaults(t *testing.T) {
	t.Parallel()
	t.Run("operations", func(t *testing.T) {
		t.Parallel()
		s := serve(t, gqlhttp.Config{}).open(gqlhttptest.InitMessage)
		for i := range 51 {
			s.Send(gqlhttptest.Subscribe(fmt.Sprint(i), "subscription{counts}"))
		}
		s.WantClose(4429, "Too many operations")
	})
	t.Run("messages", func(t *testing.T) {
		t.Parallel()
		s := serve(t, gqlhttp.Config{}).open(gqlhttptest.InitMessage)
		for range 200 { // within two seconds
			if s.Conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"pong"}`)) != nil {
				break
			}
		}
		s.WantClose(4429, "Too many messages")
	})
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		a := serve(t, gqlhttp.Config{Schema: newAnswering(textSDL, func(context.Context) *graphql.Response {
			return text(strings.Repeat("x", 1<<20))
		})})
		want := fmt.Sprintf(`"extensions":{"actual":%d,"code":"QUERY_TOO_COMPLEX","limit":1048576,"limitName":"answerBytes"}`, 1<<20+len(`{"text":""}`))
		if _, body := a.post(`{"query":"{text}"}`); !strings.Contains(body, want) || strings.Contains(body, "data") {
			t.Errorf("a query is answered %.300s", body)
		}
		if _, body := a.post(`{"query":"mutation{text}"}`); !strings.HasPrefix(body, `{"data":{"text":"xxx`) {
			t.Errorf("a mutation is answered %.300s", body)
		}
	})
	t.Run("documents", func(t *testing.T) {
		t.Parallel()
		usual, manyFields := gqlhttp.RequestLimits{}, gqlhttp.RequestLimits{RootFields: 20}
		for name, test := range map[string]struct {
			within, beyond string
			limits         gqlhttp.RequestLimits
		}{
			"tokens":     {"", "{" + strings.Repeat("count ", 1000) + "}", usual},
			"rootFields": {"{" + strings.Repeat("count ", 5) + "}", "{" + strings.Repeat("count ", 6) + "}", usual},
			"aliases":    {"{" + strings.Repeat("a:count ", 15) + "}", "{" + strings.Repeat("a:count ", 16) + "}", manyFields},
			"directives": {"{" + directives(50) + "}", "{" + directives(51) + "}", usual},
		} {
			a := serve(t, gqlhttp.Config{RequestLimits: test.limits})
			if _, body := a.post(fmt.Sprintf(`{"query":%q}`, test.within)); strings.Contains(body, "QUERY_TOO_COMPLEX") {
				t.Errorf("within %s, the answer is %s", name, body)
			}
			if _, body := a.post(fmt.Sprintf(`{"query":%q}`, test.beyond)); !strings.Contains(body, `"limitName":"`+name+`"`) {
				t.Errorf("beyond %s, the answer is %s", name, body)
			}
		}
		a := serve(t, gqlhttp.Config{RequestLimits: gqlhttp.RequestLimits{Aliases: -1, Directives: -1}})
		for name, document := range map[string]string{"aliases": "{a:count}", "directives": "{" + directives(1) + "}"} {
			if _, body := a.post(fmt.Sprintf(`{"query":%q}`, document)); !strings.Contains(body, `"limit":0,"limitName":"`+name+`"`) {
				t.Errorf("without %s, the answer is %s", name, body)
			}
		}
		a = serve(t, gqlhttp.Config{RequestLimits: gqlhttp.RequestLimits{Units: -1}})
		if _, body := a.post(`{"query":"{count}"}`); strings.Contains(body, "QUERY_TOO_COMPLEX") {
			t.Errorf("without units, what asks for none is answered %s", body)
		}
	})
}

// What asks for units is admitted once, with all of them but a mutation's own, or not executed.
// A subscription can have none.
func TestAdmit(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	a := serveTrial(t, func(c *gqlhttp.Config, _ *httptest.Server) {
		c.Units = func(typ, field string, _ map[string]any) (own, times int) {
			return map[string]int{"Query.hello": 3, "Mutation.touch": 1, "Subscription.count": 1}[typ+"."+field], 1
		}
		c.Admit = func(_ context.Context, operation *graphql.OperationContext, units int) error {
			asked <- fmt.Sprint(operation.OperationName, units)
			if operation.OperationName == "Refused" {
				return gqlerror.Errorf("not for you")
			}
			return nil
		}
	})
	close(a.trial.Release)
	for document, want := range map[string]string{
		`query Two{hello hello}`:         `{"data":{"hello":"world"}}`,
		`query Refused{hello}`:           `{"errors":[{"message":"not for you"}]}`,
		`query Free{slow}`:               `{"data":{"slow":"done"}}`,
		`mutation Refused{touch}`:        `{"data":{"touch":"done"}}`,
		`subscription Some{count(to:1)}`: `{"errors":[{"message":"The document is too complex: units 1, of 0 allowed.","extensions":{"actual":1,"code":"QUERY_TOO_COMPLEX","limit":0,"limitName":"units"}}]}`,
	} {
		name := regexp.MustCompile(`\w+ (\w+)`).FindStringSubmatch(document)[1]
		if _, body := a.post(fmt.Sprintf(`{"query":%q,"operationName":%q}`, document, name)); strings.TrimSpace(body) != want {
			t.Errorf("%s is answered %s, want %s", document, body, want)
		}
	}
	close(asked)
	all := slices.Sorted(func(yield func(string) bool) {
		for one := range asked {
			yield(one)
		}
	})
	if want := []string{"Refused3", "Two6"}; !slices.Equal(all, want) {
		t.Errorf("asked about are %v, want %v", all, want)
	}
}

// directives is a field with n directives.
func directives(n int) string {
	return "count" + strings.Repeat("@skip(if:false)", n)
}

// Without hooks, a panic and a timeout have the codes of the configuration.
func TestErrorsWithoutHooks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config gqlhttp.Config
		status int
		want   string
	}{
		"a panic": {
			gqlhttp.Config{Schema: newAnswering(textSDL, func(context.Context) *graphql.Response { panic("a trial of panics") })},
			500, `{"errors":[{"message":"internal system error","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`,
		},
		"a timeout": {
			gqlhttp.Config{Schema: newAnswering(textSDL, func(context.Context) *graphql.Response { return text("late") }), RequestTimeout: time.Nanosecond},
			200, `{"errors":[{"message":"The request was not executed in time.","extensions":{"code":"SERVICE_UNAVAILABLE"}}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if response, body := serve(t, test.config).post(`{"query":"{text}"}`); response.StatusCode != test.status || body != test.want {
				t.Errorf("the answer is %d %s", response.StatusCode, body)
			}
		})
	}
}

// The hooks make the errors and their codes.
func TestHooks(t *testing.T) {
	t.Parallel()
	errLate := errors.New("late")
	config := gqlhttp.Config{
		Schema:         newAnswering(textSDL, func(context.Context) *graphql.Response { return text("late") }),
		RequestTimeout: time.Nanosecond,
		NotExecuted:    func(cause error) error { return errors.Join(errLate, cause) },
		Presenter: func(_ context.Context, err error) *gqlerror.Error {
			if !errors.Is(err, errLate) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the error is %v", err)
			}
			return &gqlerror.Error{Message: "presented"}
		},
		TrackRefusals: func(ctx context.Context) (context.Context, func() (int, bool)) {
			return ctx, func() (int, bool) { return 7, true }
		},
		Codes: gqlhttp.Codes{BadRequest: "BAD"},
	}
	a := serve(t, config)
	response, body := a.post(`{"query":"{text}"}`)
	if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "7" || body != `{"errors":[{"message":"presented"}]}` {
		t.Errorf("the answer is %d %v %s", response.StatusCode, response.Header, body)
	}
	if _, body := a.post(`{}`); body != `{"errors":[{"message":"The query is missing.","extensions":{"code":"BAD"}}]}` {
		t.Errorf("a bad request is answered %s", body)
	}
}

// A presenter that puts into an error what JSON cannot say ends neither the process nor the
// WebSocket.
func TestErrorsThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{
		Schema: newAnswering(textSDL, func(context.Context) *graphql.Response { return text("unused") }),
		Presenter: func(context.Context, error) *gqlerror.Error {
			return &gqlerror.Error{Message: "presented", Extensions: map[string]any{"cause": func() {}}}
		},
	})
	const want = `[{"message":"The error cannot be shown."}]`
	if _, body := a.post(`{"query":"{unknown}"}`); body != `{"errors":`+want+`}` {
		t.Errorf("the answer is %s", body)
	}
	socket := a.acknowledged()
	for _, id := range []string{"1", "2"} {
		socket.Send(gqlhttptest.Subscribe(id, "{unknown}"))
		socket.Want(`{"type":"error","id":"` + id + `","payload":` + want + `}`)
	}
}

// callerKey is where the tests' contexts have the caller.
type callerKey struct{}

// A caller is who Authenticate says, by the header of a request or the payload of an
// init, and its operations know it.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{
		Schema: newAnswering(textSDL, func(ctx context.Context) *graphql.Response {
			return text(ctx.Value(callerKey{}).(string))
		}),
		Authenticate: func(r *http.Request, header http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
			switch name := header.Get("Name") + r.Header.Get("Suffix"); name {
			case "":
				return gqlhttp.Caller{}, &gqlhttp.Refusal{Status: 401, Code: "WHO", Message: "Who?", Header: http.Header{"www-authenticate": {"Name"}}}
			case "bob":
				return gqlhttp.Caller{}, &gqlhttp.Refusal{Status: 403, Code: "NO", Message: "No.", RetryAfterSeconds: 9, Extensions: map[string]any{"why": 1}}
			case "eve":
				return gqlhttp.Caller{}, &gqlhttp.Refusal{Status: 503, Code: "LATER", Message: "Later."}
			default:
				return gqlhttp.Caller{Value: name}, nil
			}
		},
		WithCaller: func(ctx context.Context, caller gqlhttp.Caller) context.Context {
			return context.WithValue(ctx, callerKey{}, caller.Value)
		},
	})
	const query = `{"query":"{text}"}`
	if response, body := a.post(query, "Name", "ana"); response.StatusCode != 200 || body != `{"data":{"text":"ana"}}` {
		t.Errorf("ana is answered %d %s", response.StatusCode, body)
	}
	for _, accept := range []string{"application/json", "text/event-stream"} {
		response, body := a.post(query, "Accept", accept)
		if response.StatusCode != 401 || response.Header.Get("WWW-Authenticate") != "Name" || body != `{"errors":[{"message":"Who?","extensions":{"code":"WHO"}}]}` {
			t.Errorf("an anonymous caller is answered %d %v %s", response.StatusCode, response.Header, body)
		}
		response, body = a.post(query, "Accept", accept, "Name", "bob")
		if response.StatusCode != 403 || response.Header.Get("Retry-After") != "9" || body != `{"errors":[{"message":"No.","extensions":{"code":"NO","retryAfterSeconds":9,"why":1}}]}` {
			t.Errorf("bob is answered %d %v %s", response.StatusCode, response.Header, body)
		}
	}
	s := a.open(`{"type":"connection_init","payload":{"name":"ana","other":1}}`, gqlhttptest.Subscribe("1", "{text}"))
	s.Want(`{"type":"connection_ack"}`, `{"type":"next","id":"1","payload":{"data":{"text":"ana"}}}`)
	a.open(gqlhttptest.InitMessage).WantClose(4401, "Unauthorized")
	a.open(`{"type":"connection_init","payload":{"name":"bob"}}`).WantClose(4403, "Forbidden")
	a.open(`{"type":"connection_init","payload":{"name":"eve"}}`).WantClose(1013, "Try again later") // 4401 would be final
}

// Streams end when the caller expires, is another than before, or cannot be compared.
func TestCallersThatEnd(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]gqlhttp.Config{
		"expired": {Authenticate: func(*http.Request, http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
			return gqlhttp.Caller{Expires: time.Now().Add(200 * time.Millisecond)}, nil
		}},
		"another": {
			StreamTimes: gqlhttp.StreamTimes{KeepAlive: 200 * time.Millisecond},
			Authenticate: func(*http.Request, http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
				return gqlhttp.Caller{Value: time.Now()}, nil
			},
		},
		"not comparable": {
			StreamTimes: gqlhttp.StreamTimes{KeepAlive: 200 * time.Millisecond},
			Authenticate: func(*http.Request, http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
				return gqlhttp.Caller{Value: []string{"ana"}}, nil
			},
			Recover: func(_ context.Context, value any) error { return fmt.Errorf("recovered: %v", value) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, config)
			a.open(gqlhttptest.InitMessage).WantClose(4403, "Credential has ended")
			if _, body := a.post(`{"query":"subscription{counts}"}`, "Accept", "text/event-stream"); strings.Contains(body, "complete") {
				t.Errorf("the stream ends with %s", body)
			}
		})
	}
}
