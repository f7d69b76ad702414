package gqlhttp

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Config configures a [Handler]. Only Schema is required.
type Config struct {
	Schema graphql.ExecutableSchema

	// Presenter makes what a client sees of an error. It defaults to
	// [graphql.DefaultErrorPresenter], which shows the error's text: a message of the
	// parser or of a validation rule may quote what the client sent.
	Presenter graphql.ErrorPresenterFunc

	// Recover makes an error of a panic, for Presenter. It defaults to
	// [graphql.DefaultRecover] with the code Codes.Internal.
	Recover graphql.RecoverFunc

	// AroundRootFields, if set, is called around each root field of a query or mutation.
	AroundRootFields graphql.RootFieldMiddleware

	// Codes are the codes of the handler's own errors.
	Codes Codes

	// CheckScalar, if set, returns an error if value is not of the scalar type of the
	// given name, or is out of its range. Variables of every type are checked before
	// anything is executed, and the error goes to Presenter with the path of the
	// variable. Literals are checked by the validation, as far as gqlparser does not: of
	// Int, and of the schema's own scalars. A number is a json.Number, or in the default
	// of a variable an int64 or float64.
	//
	// Null is not checked, but for a variable of the type Boolean: gqlgen panics at a
	// condition of @skip or @include that is null, which a nullable variable with a
	// default can be.
	CheckScalar func(name string, value any) error

	// Authenticate, if set, returns who makes a request, or why it is refused. The
	// header is that of the request; for a WebSocket, it holds the texts in the payload
	// of connection_init, and the request is the handshake.
	//
	// It is called before anything else of a request is looked at, and at the init of a
	// WebSocket. For a stream it is called again at each StreamTimes.KeepAlive, and for a
	// WebSocket at each operation: the stream ends if the caller is refused or is no
	// longer the same. At the init of a WebSocket, a refusal with the status 403 closes
	// it with 4403, one with 503 with 1013, and every other one with 4401.
	Authenticate func(r *http.Request, header http.Header) (Caller, *Refusal)

	// WithCaller, if set, returns the context in which the caller's operations are
	// executed.
	WithCaller func(ctx context.Context, caller Caller) context.Context

	// Units, if set, says how much work behind the schema a field of an object type asks for:
	// own are the field's units, and times is how often these count, and those of what is
	// selected in the field. Neither is negative. The arguments are as the request has them;
	// a list may be a single element.
	Units func(typeName, fieldName string, args map[string]any) (own, times int)

	// Admit, if set, is called once before a query or mutation is executed, with the units that
	// it asks for, but not for none. The own units of a mutation's root fields are left out. If
	// Admit returns an error, nothing is executed, and the error goes to Presenter.
	Admit func(ctx context.Context, operation *graphql.OperationContext, units int) error

	// ShareKey, if set, lets subscriptions share what is executed: the response to an event
	// of a source (the package gqlhttp/source) is made once for all that have the same
	// document, operation name, variables, and key. The key stands for all that resolvers
	// read of the context, and of the request in it. ShareKey reports false for an operation
	// that is to be executed for each caller. If ShareKey is nil, every one is.
	ShareKey func(ctx context.Context, operation *graphql.OperationContext) (key string, shared bool)

	// Network returns what StreamLimits.PerNetwork counts by. It defaults to the IP
	// address in RemoteAddr, which behind a proxy is the proxy's.
	Network func(r *http.Request) string

	// TrackRefusals, if set, returns a context in which a rate limiter, Admit's too, notes
	// what it does to one request by plain HTTP, and a function that says afterwards whether all
	// of the request was refused, and after how many seconds to retry. The status is
	// then 429, with Retry-After.
	TrackRefusals func(ctx context.Context) (tracked context.Context, refused func() (seconds int, all bool))

	// NotExecuted makes the error of a request if RequestTimeout was over, or the client
	// was gone, before anything was executed. It defaults to one with the code
	// Codes.Unavailable.
	NotExecuted func(cause error) error

	// ShutdownExtensions are further extensions of the error that refuses a stream
	// during a shutdown.
	ShutdownExtensions map[string]any

	// TrustedDocuments are the documents that may be run by their documentId, and
	// perhaps the only ones.
	TrustedDocuments *TrustedDocuments

	// RequestTimeout is how long a query or mutation may take once its request is read.
	// It defaults to 10 seconds. Subscriptions have no such bound.
	RequestTimeout time.Duration

	RequestLimits RequestLimits
	StreamLimits  StreamLimits
	StreamTimes   StreamTimes

	// Introspection allows __schema and __type, and suggestions of names in errors.
	Introspection bool
}

// Caller is who makes a request. The zero Caller is anonymous.
type Caller struct {
	// Value is what Authenticate and WithCaller know of the caller. It must be
	// comparable: callers are the same if their Values are equal. A pointer to a new
	// value each time is another caller each time, which ends its streams.
	Value any

	// QuotaKey is what StreamLimits.PerCaller counts by; if empty, nothing is counted.
	QuotaKey string

	// Expires is when the caller's streams end; zero: never.
	Expires time.Time
}

// Codes are values of extensions.code. Each field says what it defaults to.
// GRAPHQL_PARSE_FAILED, GRAPHQL_VALIDATION_FAILED, and PERSISTED_QUERY_NOT_FOUND of an
// automatic persisted query are gqlgen's.
type Codes struct {
	BadRequest        string // BAD_REQUEST: refused by the transport; status 400
	TooComplex        string // QUERY_TOO_COMPLEX: beyond a limit of RequestLimits
	Forbidden         string // FORBIDDEN: not a trusted document; status 403
	RateLimited       string // RATE_LIMITED: beyond a limit of StreamLimits; status 429
	Unavailable       string // SERVICE_UNAVAILABLE: shutting down; status 503
	PersistedNotFound string // PERSISTED_QUERY_NOT_FOUND: an unknown documentId
	Internal          string // INTERNAL_SERVER_ERROR: status 500 where nothing was executed
}

// The defaults of RequestLimits.
const (
	DefaultBodyBytes   = 64 << 10
	DefaultTokens      = 1000
	DefaultDepth       = 12
	DefaultAliases     = 15
	DefaultRootFields  = 5
	DefaultDirectives  = 50
	DefaultFields      = 10000
	DefaultUnits       = 100
	DefaultAnswerBytes = 1 << 20
)

// RequestLimits bound what one request may ask for. A field that is zero is the
// default; a negative Aliases, Directives or Units allows none.
type RequestLimits struct {
	BodyBytes  int64 // of a request, or a WebSocket's message
	Tokens     int   // of a document
	Depth      int   // of fields in fields; below __schema and __type it does not count
	Aliases    int   // in an operation, its fragments included wherever they are used
	RootFields int   // of an operation
	Directives int   // in an operation, likewise
	Fields     int   // of an operation, likewise; the schema's Complexity multiplies those in lists

	// Units bounds what an operation asks for by Config.Units. A subscription can ask for
	// none: each of its responses would.
	Units int

	// AnswerBytes bounds the data that a query is answered with. The answer of a
	// mutation is not bounded: it says what was done.
	AnswerBytes int
}

// The defaults of StreamLimits.
const (
	DefaultSubscriptions       = 5000
	DefaultPerNetwork          = 200
	DefaultPerCaller           = 50
	DefaultBeforeInit          = 100
	DefaultOperationsPerSocket = 50
	DefaultMessagesPerSecond   = 100
)

// StreamLimits bound subscriptions and WebSockets. A field that is zero is the default.
type StreamLimits struct {
	Subscriptions       int // at a time, and as many WebSockets
	PerNetwork          int // of one network, likewise
	PerCaller           int // of one caller, likewise
	BeforeInit          int // WebSockets of one network whose connection_init is not acknowledged
	OperationsPerSocket int // at a time, of every kind
	MessagesPerSecond   int // from one WebSocket
}

// The defaults of StreamTimes.
const (
	DefaultInitTimeout  = 3 * time.Second
	DefaultKeepAlive    = 12 * time.Second
	DefaultWriteTimeout = 10 * time.Second
)

// StreamTimes are the timeouts of streams. A field that is zero is the default.
type StreamTimes struct {
	Init      time.Duration // from a WebSocket's handshake to its connection_init
	KeepAlive time.Duration // between comments, and of a WebSocket's silence until a ping
	Write     time.Duration // for the network to take one message
}

const defaultRequestTimeout = 10 * time.Second

func (c Config) withDefaults() Config {
	c.Codes = c.Codes.withDefaults()
	c.RequestLimits = c.RequestLimits.withDefaults()
	c.StreamLimits = c.StreamLimits.withDefaults()
	c.StreamTimes = c.StreamTimes.withDefaults()
	c.RequestTimeout = cmp.Or(c.RequestTimeout, defaultRequestTimeout)
	if c.Presenter == nil {
		c.Presenter = graphql.DefaultErrorPresenter
	}
	if c.Recover == nil {
		c.Recover = func(ctx context.Context, value any) error {
			err := graphql.DefaultRecover(ctx, value)
			errcode.Set(err, c.Codes.Internal)
			return err
		}
	}
	if c.Authenticate == nil {
		c.Authenticate = func(*http.Request, http.Header) (Caller, *Refusal) { return Caller{}, nil }
	}
	if c.WithCaller == nil {
		c.WithCaller = func(ctx context.Context, _ Caller) context.Context { return ctx }
	}
	if c.Network == nil {
		c.Network = remoteIP
	}
	if c.TrackRefusals == nil {
		c.TrackRefusals = func(ctx context.Context) (context.Context, func() (int, bool)) {
			return ctx, func() (int, bool) { return 0, false }
		}
	}
	if c.NotExecuted == nil {
		c.NotExecuted = func(error) error { return codedError(c.Codes.Unavailable, "The request was not executed in time.") }
	}
	if c.TrustedDocuments == nil {
		c.TrustedDocuments = &TrustedDocuments{}
	}
	return c
}

func (c Codes) withDefaults() Codes {
	return Codes{
		BadRequest:        cmp.Or(c.BadRequest, "BAD_REQUEST"),
		TooComplex:        cmp.Or(c.TooComplex, "QUERY_TOO_COMPLEX"),
		Forbidden:         cmp.Or(c.Forbidden, "FORBIDDEN"),
		RateLimited:       cmp.Or(c.RateLimited, "RATE_LIMITED"),
		Unavailable:       cmp.Or(c.Unavailable, "SERVICE_UNAVAILABLE"),
		PersistedNotFound: cmp.Or(c.PersistedNotFound, "PERSISTED_QUERY_NOT_FOUND"),
		Internal:          cmp.Or(c.Internal, "INTERNAL_SERVER_ERROR"),
	}
}

func (l RequestLimits) withDefaults() RequestLimits {
	l.BodyBytes = cmp.Or(l.BodyBytes, DefaultBodyBytes)
	l.Tokens = cmp.Or(l.Tokens, DefaultTokens)
	l.Depth = cmp.Or(l.Depth, DefaultDepth)
	l.Aliases = max(0, cmp.Or(l.Aliases, DefaultAliases))
	l.RootFields = cmp.Or(l.RootFields, DefaultRootFields)
	l.Directives = max(0, cmp.Or(l.Directives, DefaultDirectives))
	l.Fields = cmp.Or(l.Fields, DefaultFields)
	l.Units = max(0, cmp.Or(l.Units, DefaultUnits))
	l.AnswerBytes = cmp.Or(l.AnswerBytes, DefaultAnswerBytes)
	return l
}

func (l StreamLimits) withDefaults() StreamLimits {
	return StreamLimits{
		Subscriptions:       cmp.Or(l.Subscriptions, DefaultSubscriptions),
		PerNetwork:          cmp.Or(l.PerNetwork, DefaultPerNetwork),
		PerCaller:           cmp.Or(l.PerCaller, DefaultPerCaller),
		BeforeInit:          cmp.Or(l.BeforeInit, DefaultBeforeInit),
		OperationsPerSocket: cmp.Or(l.OperationsPerSocket, DefaultOperationsPerSocket),
		MessagesPerSecond:   cmp.Or(l.MessagesPerSecond, DefaultMessagesPerSecond),
	}
}

func (t StreamTimes) withDefaults() StreamTimes {
	return StreamTimes{
		Init:      cmp.Or(t.Init, DefaultInitTimeout),
		KeepAlive: cmp.Or(t.KeepAlive, DefaultKeepAlive),
		Write:     cmp.Or(t.Write, DefaultWriteTimeout),
	}
}

func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func codedError(code, message string) *gqlerror.Error {
	err := gqlerror.Errorf("%s", message)
	errcode.Set(err, code)
	return err
}
