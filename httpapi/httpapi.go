// Package httpapi serves the lock service over HTTP: GraphQL, the playground,
// and what an operator asks of a process.
package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/99designs/gqlgen/graphql/playground"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"spoollock/graph"
)

// queryCacheSize is how many parsed documents are kept.
const queryCacheSize = 1000

// Config configures a [Handler]. Every field is required.
type Config struct {
	Schema graphql.ExecutableSchema

	// Ping reports whether Redis answers; PingTimeout is how long it may take.
	Ping        func(context.Context) error
	PingTimeout time.Duration

	Introspection bool
	Playground    bool
	Log           *slog.Logger
}

// Handler serves every path of the service.
type Handler struct {
	mux    *http.ServeMux
	config Config
}

// New returns a Handler.
func New(config Config) *Handler {
	h := &Handler{mux: http.NewServeMux(), config: config}
	h.mux.Handle("/graphql", newGraphQL(config))
	h.mux.HandleFunc("GET /healthz", h.health)
	h.mux.HandleFunc("GET /readyz", h.ready)
	h.mux.HandleFunc("GET /{$}", h.index)
	if config.Playground {
		h.mux.Handle("GET /playground", playground.HandlerWithHeaders("Spool locks", "/graphql", nil, nil))
	}
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func newGraphQL(config Config) http.Handler {
	server := handler.New(config.Schema)
	server.AddTransport(transport.GET{})
	server.AddTransport(transport.POST{})
	server.SetQueryCache(lru.New[*ast.QueryDocument](queryCacheSize))
	server.SetErrorPresenter(graph.Presenter(config.Log))
	server.SetRecoverFunc(graph.Recover)
	// Always on, so that gqlgen's own refusal, which has no code, never comes up.
	server.Use(extension.Introspection{})
	if !config.Introspection {
		server.SetValidationRulesFn(withoutIntrospection)
	}
	return server
}

// withoutIntrospection returns a fresh set of rules, as gqlgen changes it.
func withoutIntrospection() *rules.Rules {
	set := rules.NewDefaultRules()
	set.AddRule("NoIntrospection", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnField(func(_ *core.Walker, field *ast.Field) {
			if field.Name == "__schema" || field.Name == "__type" {
				addError(core.Message("Introspection is switched off."), core.At(field.Position))
			}
		})
	})
	return set
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
	status, answer := http.StatusOK, readiness{Status: "ready", Checks: map[string]string{"redis": "ok"}}
	if err := h.config.Ping(ctx); err != nil {
		// Whoever watches Redis has logged the error; it is none of a caller's business.
		status, answer = http.StatusServiceUnavailable,
			readiness{Status: "not ready", Checks: map[string]string{"redis": "unavailable"}}
	}
	writeJSON(w, status, answer)
}

// index says what is on.
func (h *Handler) index(w http.ResponseWriter, _ *http.Request) {
	links := []string{"/healthz", "/readyz"}
	if h.config.Playground {
		links = append(links, "/playground")
	}
	var page strings.Builder
	page.WriteString("<!doctype html>\n<html lang=\"en\">\n<title>Spool locks</title>\n<h1>Spool locks</h1>\n<p>GraphQL is at <code>/graphql</code>, by POST.</p>\n<ul>\n")
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
