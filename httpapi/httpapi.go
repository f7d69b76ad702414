// Package httpapi serves the lock service over HTTP: GraphQL, the playground,
// and what an operator asks of a process.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"spoollock/auth"
	"spoollock/graph"
	"spoollock/graph/scalar"
	"spoollock/web"
)

// queryCacheSize is how many parsed documents are kept, and how many persisted ones.
// A front end has some dozens; a stranger can fill both.
const queryCacheSize = 200

// Config configures a [Handler]. Every field is required but Documents
// and StreamTimes.
type Config struct {
	Schema graphql.ExecutableSchema

	// Ping reports whether Redis answers; PingTimeout is how long it may take.
	Ping        func(context.Context) error
	PingTimeout time.Duration

	// FloorLive reports whether the view of the floor is live.
	FloorLive func() bool

	// Eviction is Redis' maxmemory-policy, or "unknown".
	Eviction func() string

	// Metrics serves /metrics, and Observe is told of each root field and
	// item: see graph.Observe.
	Metrics http.Handler
	Observe func(operation, outcome string, d time.Duration)

	Limits Limits

	// Documents are the trusted documents; nil: none.
	Documents *Documents

	// Addresses says where the clients are, and Identify who.
	Addresses *Addresses
	Identify  auth.Identify

	// AuthMode is how Identify knows, for /readyz and the page at /.
	AuthMode string

	// RequestTimeout is how long a request may take from its last byte on; a
	// subscription goes on until it is ended. StreamTimes may be zero.
	RequestTimeout time.Duration
	StreamTimes    StreamTimes

	// AllowedOrigins are the origins, besides the service's own, whose pages may use
	// it: "https://board.example". AllowedHosts are the names, besides localhost and
	// addresses, by which it may be called: "spools.example". Lower case.
	AllowedOrigins []string
	AllowedHosts   []string

	Introspection bool
	Playground    bool
	Log           *slog.Logger
}

// Handler serves every path of the service.
type Handler struct {
	root    http.Handler
	config  Config
	streams *streams
}

// New returns a Handler.
func New(config Config) *Handler {
	h := &Handler{config: config, streams: newStreams(config.Limits)}
	mux := http.NewServeMux()
	callers := newCallers(config.Identify, config.Log)
	mux.Handle("/graphql", identified(newGraphQL(config, h.streams, callers), callers))
	mux.HandleFunc("GET /schema.graphql", sdl(config.Schema.Schema()))
	mux.HandleFunc("GET /healthz", h.health)
	mux.HandleFunc("GET /readyz", h.ready)
	mux.Handle("GET /metrics", config.Metrics)
	mux.HandleFunc("GET /{$}", h.index)
	if config.Playground {
		mux.Handle("GET /playground", web.Playground())
		mux.Handle("GET /playground/", web.Playground())
	}
	h.root = safe(config.Addresses.Handler(cleanPaths(mux)), config)
	return h
}

// cleanPaths answers 404 where the mux would redirect to the clean path: the redirect
// repeats the query, which may hold a token.
func cleanPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clean := path.Clean(r.URL.Path)
		if clean != "/" && strings.HasSuffix(r.URL.Path, "/") {
			clean += "/"
		}
		if r.URL.Path != clean && r.Method != http.MethodConnect { // which has no path
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.root.ServeHTTP(w, r) }

// Shutdown ends the streams, which [http.Server.Shutdown] cannot: subscriptions at
// once, WebSockets when their queries and mutations under way are answered. It
// returns when all are over. When ctx is done before, it cuts them off and returns
// the cause; they may take a moment more. None begins from then on.
func (h *Handler) Shutdown(ctx context.Context) error { return h.streams.shutdown(ctx) }

// Streams counts the streams.
func (h *Handler) Streams() StreamCounts { return h.streams.counts() }

// sdl serves the schema as it is executed, without what every schema has.
func sdl(schema *ast.Schema) http.HandlerFunc {
	var text bytes.Buffer
	formatter.NewFormatter(&text, formatter.WithIndent("  ")).FormatSchema(schema)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text.Bytes())
	}
}

func newGraphQL(config Config, streams *streams, callers *callers) http.Handler {
	server := handler.New(config.Schema)
	plain := transport{limits: config.Limits, timeout: config.RequestTimeout}
	streaming := streaming{transport: plain, streams: streams, times: config.StreamTimes.withDefaults(), callers: callers}
	server.AddTransport(webSocket{streaming})
	server.AddTransport(eventStream{streaming})
	server.AddTransport(plain)
	server.AroundFields(graph.Observe(config.Observe))
	documents := lru.New[*ast.QueryDocument](queryCacheSize)
	server.SetQueryCache(documents)
	trusted := config.Documents
	if trusted == nil {
		trusted = &Documents{}
	}
	persisted := graphql.Cache[string](lru.New[string](queryCacheSize))
	if trusted.only {
		persisted = trusted
	}
	server.Use(trusted)                                           // what the others look at
	server.Use(&limiter{limits: config.Limits, cache: documents}) // so that nothing beyond is persisted
	server.Use(extension.AutomaticPersistedQuery{Cache: persisted})
	server.SetErrorPresenter(graph.Presenter(config.Log))
	server.SetRecoverFunc(graph.Recover)
	// Always on, so that gqlgen's own refusal, which has no code, never comes up.
	server.Use(extension.Introspection{})
	server.SetDisableSuggestion(!config.Introspection)
	server.SetValidationRulesFn(func() *rules.Rules { return validation(config.Introspection) })
	return server
}

// validation returns a fresh set of rules, as gqlgen changes it. Without
// introspection, no rule suggests a name either.
func validation(introspection bool) *rules.Rules {
	set := rules.NewDefaultRules()
	// gqlgen puts @defer into every schema; its answers would not be what a client of
	// this endpoint can read.
	set.AddRule("NoDefer", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnDirective(func(_ *core.Walker, directive *ast.Directive) {
			if directive.Name == "defer" {
				addError(core.Message("@defer is not offered."), core.At(directive.Position))
			}
		})
	})
	// What gqlparser leaves to the execution, which would blame the input.
	set.AddRule("ScalarsOfCorrectType", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnValue(func(_ *core.Walker, value *ast.Value) {
			if !ofItsType(value) {
				addError(core.Message("The value at this place is not of the type %s.", value.Definition.Name), core.At(value.Position))
			}
		})
	})
	// What gqlgen leaves to the execution, which would take it for a fault of its own.
	set.AddRule("OneStream", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnOperation(func(_ *core.Walker, operation *ast.OperationDefinition) {
			if operation.Operation == ast.Subscription && !oneStream(operation.SelectionSet) {
				addError(core.Message("A subscription must have one root field, without @skip or @include."), core.At(operation.Position))
			}
		})
	})
	if introspection {
		return set
	}
	for with, without := range map[string]core.Rule{
		rules.KnownArgumentNamesRule.Name:  rules.KnownArgumentNamesRuleWithoutSuggestions,
		rules.KnownTypeNamesRule.Name:      rules.KnownTypeNamesRuleWithoutSuggestions,
		rules.ValuesOfCorrectTypeRule.Name: rules.ValuesOfCorrectTypeRuleWithoutSuggestions,
	} {
		set.RemoveRule(with)
		set.AddRule(without.Name, without.RuleFunc)
	}
	set.AddRule("NoIntrospection", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnField(func(_ *core.Walker, field *ast.Field) {
			if field.Name == "__schema" || field.Name == "__type" {
				addError(core.Message("Introspection is switched off."), core.At(field.Position))
			}
		})
	})
	return set
}

// oneStream reports whether all root fields are one by their response name, and none
// may be left out.
func oneStream(roots ast.SelectionSet) bool {
	name, visited := "", map[string]bool{} // a fragment may yet be in itself
	var one func(ast.SelectionSet) bool
	one = func(selections ast.SelectionSet) bool {
		for _, selection := range selections {
			var directives ast.DirectiveList
			var inner ast.SelectionSet
			switch selection := selection.(type) {
			case *ast.Field:
				if name != "" && name != selection.Alias {
					return false
				}
				name, directives = selection.Alias, selection.Directives
			case *ast.InlineFragment:
				directives, inner = selection.Directives, selection.SelectionSet
			case *ast.FragmentSpread:
				directives = selection.Directives
				if selection.Definition != nil && !visited[selection.Name] {
					visited[selection.Name] = true
					inner = selection.Definition.SelectionSet
				}
			}
			if directives.ForName("skip") != nil || directives.ForName("include") != nil || !one(inner) {
				return false
			}
		}
		return true
	}
	return one(roots)
}

// ofItsType reports whether a literal is in the range of its type where that is a
// number, and no object where it is any scalar.
func ofItsType(value *ast.Value) bool {
	if value.Definition == nil || value.Kind == ast.Variable || value.Kind == ast.NullValue {
		return true
	}
	number := json.Number(value.Raw)
	switch {
	case value.Definition.Kind == ast.Scalar && value.Kind == ast.ObjectValue:
		return false
	case value.Definition.Name == "Long":
		_, err := scalar.UnmarshalLong(number)
		return value.Kind == ast.IntValue && err == nil
	case value.Definition.Name == "Int" && value.Kind == ast.IntValue:
		_, err := scalar.UnmarshalInt(number)
		return err == nil
	default:
		return true
	}
}

// health answers 200 while the process lives.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the body of /readyz.
type readiness struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
}

// ready answers 200 when Redis answers in time, otherwise 503.
func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), h.config.PingTimeout)
	defer cancel()
	status, answer := http.StatusOK, readiness{Status: "ready", Checks: map[string]string{
		"redis": "ok", "floor": "live",
		"eviction": h.config.Eviction(), "auth": h.config.AuthMode, // for the operator to judge
	}}
	if !h.config.FloorLive() {
		answer.Checks["floor"] = "stale" // the operations do without it
	}
	if err := h.config.Ping(ctx); err != nil {
		// Whoever watches Redis has logged the error; it is none of a caller's business.
		status, answer.Status, answer.Checks["redis"] = http.StatusServiceUnavailable, "not ready", "unavailable"
	}
	writeJSON(w, status, answer)
}

// index says what is on.
func (h *Handler) index(w http.ResponseWriter, _ *http.Request) {
	links := []string{"/schema.graphql", "/healthz", "/readyz", "/metrics"}
	if h.config.Playground {
		links = append(links, "/playground")
	}
	var page strings.Builder
	page.WriteString("<!doctype html>\n<html lang=\"en\">\n<title>Spool locks</title>\n<h1>Spool locks</h1>\n<p>GraphQL is at <code>/graphql</code>, by POST.</p>\n")
	if h.config.AuthMode == "none" {
		page.WriteString("<p>Nobody is asked who they are: everybody who can connect can act as any worker.</p>\n")
	}
	page.WriteString("<ul>\n")
	for _, link := range links {
		page.WriteString("<li><a href=\"" + link + "\">" + link + "</a></li>\n")
	}
	page.WriteString("</ul>\n</html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(page.String()))
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
