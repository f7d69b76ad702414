package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"spoollock/graph"
	"spoollock/lock"
	"spoollock/ratelimit"
)

// transport is GraphQL over HTTP, as the working draft of the specification has
// it (https://graphql.github.io/graphql-over-http/draft/): POST with JSON, and
// GET for queries. gqlgen's own transports miss a tenth of its audit and quote the
// request in errors.
type transport struct {
	limits  Limits
	timeout time.Duration // from the last byte of a request on
}

// The media types of an answer. Under the older one, a document that is refused is
// answered 200; under the newer one, 400.
const (
	typeJSON     = "application/json"
	typeResponse = "application/graphql-response+json"
)

// Supports implements [graphql.Transport]: whatever the others leave. An upgrade
// that is offered is not taken.
func (transport) Supports(*http.Request) bool { return true }

// Do implements [graphql.Transport].
func (t transport) Do(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) {
	answerType, ok := negotiate(r.Header.Values("Accept"), typeJSON, typeResponse)
	if !ok {
		refuse(w, typeJSON, &refusal{
			status:  http.StatusNotAcceptable,
			message: "The answer can be " + typeResponse + " or " + typeJSON + ", in UTF-8.",
		})
		return
	}
	params, refused := t.read(w, r)
	if refused != nil {
		refuse(w, answerType, refused)
		return
	}
	params.Headers = r.Header
	operation, response := prepare(r.Context(), exec, params)
	if response != nil {
		write(w, answerType, statusOf(answerType, response.Errors), response)
		return
	}
	switch kind := operation.Operation.Operation; {
	case kind == ast.Mutation && r.Method == http.MethodGet:
		refuse(w, answerType, &refusal{
			status: http.StatusMethodNotAllowed, message: "A mutation needs POST.", allow: http.MethodPost,
		})
	case kind == ast.Subscription:
		refuse(w, answerType, &refusal{
			status:  http.StatusNotAcceptable,
			message: "A subscription needs a WebSocket of " + subprotocol + ", or POST with Accept: " + typeEvents + ".",
		})
	default:
		ctx, tally := ratelimit.WithTally(r.Context())
		response, status := t.execute(ctx, exec, operation), http.StatusOK
		if response.Data == nil {
			status = statusOf(typeJSON, response.Errors)
		}
		if wait, limited := tally.Refused(); limited {
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", strconv.Itoa(graph.WholeSeconds(wait)))
		}
		write(w, answerType, status, response)
	}
}

// prepare makes an operation of a request. One that cannot be executed has a
// response instead.
func prepare(ctx context.Context, exec graphql.GraphExecutor, params *graphql.RawParams) (operation *graphql.OperationContext, response *graphql.Response) {
	defer func() {
		if value := recover(); value != nil {
			response = panicked(ctx, exec, value)
		}
	}()
	operation, errs := exec.CreateOperationContext(ctx, params)
	if errs != nil {
		errs = errs[:min(len(errs), maxErrors)]
		response = exec.DispatchError(graphql.WithOperationContext(ctx, operation), errs)
	}
	return operation, response
}

// execute answers a query or a mutation, within the time of a request.
func (t transport) execute(
	ctx context.Context, exec graphql.GraphExecutor, operation *graphql.OperationContext,
) (response *graphql.Response) {
	defer func() {
		if value := recover(); value != nil {
			response = panicked(ctx, exec, value)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	responses, ctx := exec.DispatchOperation(ctx, operation)
	response = responses(ctx)
	if response != nil && len(response.Data) > t.limits.AnswerBytes && operation.Operation.Operation == ast.Query {
		// Only of a query: the answer of a mutation says what was done, and holds tokens.
		return exec.DispatchError(ctx, gqlerror.List{tooComplex("answerBytes", t.limits.AnswerBytes, len(response.Data))})
	}
	if response == nil { // the time was up before anything was executed, or the caller is gone
		late := &lock.UnavailableError{Outcome: lock.NotApplied, Err: context.Cause(ctx)}
		return exec.DispatchError(ctx, gqlerror.List{gqlerror.Wrap(late)})
	}
	return response
}
