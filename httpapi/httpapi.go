package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/auth"
	"spoollock/gqlhttp"
	"spoollock/graph"
	"spoollock/graph/scalar"
	"spoollock/lock"
	"spoollock/ratelimit"
	"spoollock/web"
)

// Config configures a [Handler]. Every field is required but AdmitUnits, TrustedDocuments,
// StreamTimes and the limits, of which a zero is the default.
type Config struct {
	Schema graphql.ExecutableSchema

	// Health says whether the service is of use to anyone, and the state of each check by
	// its name: "ok", or what is wrong.
	Health func() (ready bool, checks map[string]string)

	// FloorLive reports whether the view of the floor is live.
	FloorLive func() bool

	// Eviction is Redis' maxmemory-policy, or "unknown".
	Eviction func() string

	// Metrics serves /metrics, and Observe is told of each root field and
	// item: see graph.Observe.
	Metrics http.Handler
	Observe func(operation, outcome string, d time.Duration)

	// AdmitUnits lets an operation of the context's caller have Redis do so many units of
	// work for what it reads, see graph.Units, or fails with *lock.RateLimitedError; nil: it
	// lets all through.
	AdmitUnits func(ctx context.Context, units int) error

	// How /graphql is served.
	TrustedDocuments *gqlhttp.TrustedDocuments // nil: none
	RequestTimeout   time.Duration
	RequestLimits    gqlhttp.RequestLimits
	StreamLimits     gqlhttp.StreamLimits
	StreamTimes      gqlhttp.StreamTimes
	Introspection    bool

	// Addresses says where the clients are, and Identify who.
	Addresses *Addresses
	Identify  auth.Identify

	// AuthMode is how Identify knows, for /readyz and the page at /.
	AuthMode string

	// LimitsOff says that LIMITS=off, for the same places: the limits are those above.
	LimitsOff bool

	// AllowedOrigins are the origins, besides the service's own, whose pages may use
	// it: "https://board.example". AllowedHosts are the names, besides localhost and
	// addresses, by which it may be called: "spools.example". Lower case.
	AllowedOrigins []string
	AllowedHosts   []string

	Playground bool
	Log        *slog.Logger
}

// Handler serves every path of the service. Its Shutdown and Streams are those of
// /graphql.
type Handler struct {
	*gqlhttp.Handler
	root   http.Handler
	config Config
}

const graphQLPath = "/graphql"

// New returns a Handler.
func New(config Config) *Handler {
	h := &Handler{Handler: newGraphQL(config), config: config}
	mux := http.NewServeMux()
	mux.Handle(graphQLPath, h.Handler)
	mux.HandleFunc("GET /schema.graphql", sdl(config.Schema.Schema()))
	mux.HandleFunc("GET /healthz", h.health)
	mux.HandleFunc("GET /readyz", h.ready)
	mux.Handle("GET /metrics", config.Metrics)
	mux.HandleFunc("GET /{$}", h.index)
	if config.Playground {
		mux.Handle("GET /playground", web.Playground())
		mux.Handle("GET /playground/", web.Playground())
	}
	h.root = cleanPaths(mux)
	h.root = config.Addresses.Handler(h.root)
	h.root = ownOrigins(h.root, config.AllowedOrigins)
	h.root = ownHosts(h.root, config.AllowedHosts)
	h.root = securityHeaders(h.root)
	return h
}

// Values of headers, made once. They are shared by all answers: nothing may change them.
var (
	noSniff       = []string{"nosniff"}
	denyFrames    = []string{"DENY"}
	noReferrer    = []string{"no-referrer"}
	defaultPolicy = []string{"default-src 'none'; frame-ancestors 'none'"}
)

// securityHeaders tells browsers to frame, sniff and load nothing. The pages that need
// more say so themselves. The answer to a POST is no page: a form of another origin is
// refused, and our own pages post by script.
func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header["X-Content-Type-Options"] = noSniff
		if r.Method != http.MethodPost {
			header["X-Frame-Options"] = denyFrames
			header["Referrer-Policy"] = noReferrer
			header["Content-Security-Policy"] = defaultPolicy
		}
		next.ServeHTTP(w, r)
	})
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

// unavailable are the extensions of an error of a request that was not executed.
var unavailable = map[string]any{"retryable": true, "outcome": lock.NotApplied}

// newGraphQL serves the schema with the service's errors, callers and rates.
func newGraphQL(config Config) *gqlhttp.Handler {
	return gqlhttp.New(gqlhttp.Config{
		Schema:             config.Schema,
		Presenter:          graph.Presenter(config.Log),
		Recover:            graph.Recover,
		AroundRootFields:   graph.Observe(config.Observe),
		Codes:              codes,
		CheckScalar:        scalar.Check,
		Authenticate:       newAuthenticator(config.Identify, config.Log).authenticate,
		WithCaller:         withCaller,
		Units:              graph.Units,
		Admit:              admit(config),
		ShareKey:           graph.ShareKey,
		Network:            network,
		TrackRefusals:      trackRefusals,
		NotExecuted:        notExecuted,
		ShutdownExtensions: unavailable,
		TrustedDocuments:   config.TrustedDocuments,
		RequestTimeout:     config.RequestTimeout,
		RequestLimits:      config.RequestLimits,
		StreamLimits:       config.StreamLimits,
		StreamTimes:        config.StreamTimes,
		Introspection:      config.Introspection,
	})
}

var codes = gqlhttp.Codes{
	BadRequest:        graph.CodeBadRequest,
	TooComplex:        graph.CodeQueryTooComplex,
	Forbidden:         graph.CodeForbidden,
	RateLimited:       graph.CodeRateLimited,
	Unavailable:       graph.CodeServiceUnavailable,
	PersistedNotFound: graph.CodePersistedNotFound,
	Internal:          graph.CodeInternal,
}

// admit implements [gqlhttp.Config].Admit.
func admit(config Config) func(context.Context, *graphql.OperationContext, int) error {
	if config.AdmitUnits == nil {
		return nil
	}
	return func(ctx context.Context, operation *graphql.OperationContext, units int) error {
		err := config.AdmitUnits(ctx, units)
		if err != nil {
			graph.ObserveRefused(ctx, operation, err, config.Observe)
		}
		return err
	}
}

// trackRefusals has the rate limiter count what it admits and refuses of a request.
func trackRefusals(ctx context.Context) (tracked context.Context, refused func() (seconds int, all bool)) {
	tracked, tally := ratelimit.WithTally(ctx)
	return tracked, func() (int, bool) {
		wait, all := tally.Refused()
		return graph.WholeSeconds(wait), all
	}
}

func notExecuted(cause error) error {
	return &lock.UnavailableError{Outcome: lock.NotApplied, Err: cause}
}
