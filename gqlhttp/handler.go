package gqlhttp

import (
	"context"
	"net/http"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// documentCacheSize is how many parsed documents are kept, and how many persisted ones.
// A front end has some dozens; a stranger can fill both.
const documentCacheSize = 200

// Handler serves GraphQL. It is safe for concurrent use.
type Handler struct {
	config  Config // with its defaults
	exec    *executor.Executor
	streams *streams
	shared  sharedResponses
}

// New returns a Handler.
func New(config Config) *Handler {
	config = config.withDefaults()
	return &Handler{config: config, exec: newExecutor(config), streams: newStreams(config.StreamLimits)}
}

func newExecutor(config Config) *executor.Executor {
	exec := executor.New(config.Schema)
	exec.SetErrorPresenter(config.Presenter)
	exec.SetRecoverFunc(config.Recover)
	if config.AroundRootFields != nil {
		exec.AroundRootFields(config.AroundRootFields)
	}
	documents := lru.New[*ast.QueryDocument](documentCacheSize)
	exec.SetQueryCache(documents)
	trusted := trusted{config.TrustedDocuments, config.Codes}
	persisted := graphql.Cache[string](lru.New[string](documentCacheSize))
	if config.TrustedDocuments.only {
		persisted = trusted
	}
	exec.Use(trusted)                         // chooses the document
	exec.Use(newSizeCheck(config, documents)) // before it is persisted
	exec.Use(extension.AutomaticPersistedQuery{Cache: persisted})
	// Always on, so that gqlgen's own refusal, which has no code, never comes up.
	exec.Use(extension.Introspection{})
	exec.SetDisableSuggestion(!config.Introspection)
	exec.SetDefaultRulesFn(func() *rules.Rules { return validationRules(config.Introspection, config.CheckScalar) })
	return exec
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	defer func() {
		if value := recover(); value != nil {
			writeResponse(w, typeJSON, http.StatusInternalServerError, h.panicked(ctx, value))
		}
	}()
	if IsHandshake(r) {
		h.serveWebSocket(w, r)
		return
	}
	caller, refused := h.config.Authenticate(r, r.Header)
	if refused != nil {
		h.refuse(w, typeJSON, refused)
		return
	}
	ctx = h.operationContext(ctx, caller)
	accepted := parseAccept(r.Header.Values("Accept"))
	if prefersEvents(r, accepted) {
		h.serveEvents(ctx, w, r, caller)
	} else {
		h.serveRequest(ctx, w, r, accepted)
	}
}

// operationContext is the context of an operation of the caller.
func (h *Handler) operationContext(ctx context.Context, caller Caller) context.Context {
	return graphql.StartOperationTrace(h.config.WithCaller(ctx, caller))
}

// sameCaller reports whether the header still stands for the caller. It doesn't if that
// panics, which would end the process in the goroutine of a stream.
func (h *Handler) sameCaller(r *http.Request, header http.Header, caller Caller) (same bool) {
	ctx := r.Context()
	defer func() {
		if value := recover(); value != nil {
			h.panicked(ctx, value) // for the presenter, which may log it
			same = false
		}
	}()
	again, refused := h.config.Authenticate(r, header)
	return refused == nil && again.Value == caller.Value
}

// Shutdown ends the streams, which [http.Server.Shutdown] cannot: subscriptions at
// once, WebSockets when their queries and mutations under way are answered. It
// returns when all are over. When ctx is done before, it cuts them off and returns
// the cause; they may take a moment more. None begins from then on.
func (h *Handler) Shutdown(ctx context.Context) error { return h.streams.shutdown(ctx) }

// Streams counts the streams.
func (h *Handler) Streams() StreamCounts { return h.streams.counts() }

// prepare makes an operation of a request. One that cannot be executed has a
// response instead.
func (h *Handler) prepare(ctx context.Context, params *graphql.RawParams) (operation *graphql.OperationContext, response *graphql.Response) {
	defer func() {
		if value := recover(); value != nil {
			response = h.panicked(ctx, value)
		}
	}()
	operation, errs := h.exec.CreateOperationContext(ctx, params)
	if errs != nil {
		errs = errs[:min(len(errs), maxErrors)]
		response = h.exec.DispatchError(graphql.WithOperationContext(ctx, operation), errs)
	}
	return operation, response
}

// execute answers a query or a mutation, within the time of a request.
func (h *Handler) execute(ctx context.Context, operation *graphql.OperationContext) (response *graphql.Response) {
	defer func() {
		if value := recover(); value != nil {
			response = h.panicked(ctx, value)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, h.config.RequestTimeout)
	defer cancel()
	if err := h.admit(ctx, operation); err != nil {
		return h.exec.DispatchError(graphql.WithOperationContext(ctx, operation), gqlerror.List{gqlerror.WrapIfUnwrapped(err)})
	}
	responses, ctx := h.exec.DispatchOperation(ctx, operation)
	response = responses(ctx)
	most := h.config.RequestLimits.AnswerBytes
	if response != nil && len(response.Data) > most && operation.Operation.Operation == ast.Query {
		// Only of a query: the answer of a mutation says what was done.
		return h.exec.DispatchError(ctx, gqlerror.List{tooComplex(h.config.Codes, "answerBytes", most, len(response.Data))})
	}
	if response == nil { // the time was up before anything was executed, or the client is gone
		return h.exec.DispatchError(ctx, gqlerror.List{gqlerror.WrapIfUnwrapped(h.config.NotExecuted(context.Cause(ctx)))})
	}
	return response
}

// admit asks Config.Admit for the units of an operation.
func (h *Handler) admit(ctx context.Context, operation *graphql.OperationContext) error {
	units, asks := operation.Stats.GetExtension(admittedUnits).(int)
	if !asks || h.config.Admit == nil {
		return nil
	}
	return h.config.Admit(ctx, operation, units)
}

// panicked makes a response of a panic.
func (h *Handler) panicked(ctx context.Context, value any) *graphql.Response {
	return h.exec.DispatchError(ctx, gqlerror.List{gqlerror.WrapIfUnwrapped(h.config.Recover(ctx, value))})
}
