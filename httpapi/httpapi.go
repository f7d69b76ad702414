// Package httpapi serves the lock service over HTTP: GraphQL, the playground,
// and what an operator asks of a process.
package httpapi

import (
	"context"
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
	"github.com/vektah/gqlparser/v2/validator/rules"

	"spoollock/auth"
	"spoollock/graph"
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
