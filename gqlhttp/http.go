package gqlhttp

import (
	"context"
	"net/http"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
)

// The media types of an answer. Under the older one, a document that is refused is
// answered 200; under the newer one, 400.
const (
	typeJSON     = "application/json"
	typeResponse = "application/graphql-response+json"
)

// serveRequest is GraphQL over HTTP, as the working draft of the specification has
// it (https://graphql.github.io/graphql-over-http/draft/): POST with JSON, and
// GET for queries. gqlgen's own transports miss a tenth of its audit and quote the
// request in errors. An upgrade that is offered is not taken.
func (h *Handler) serveRequest(ctx context.Context, w http.ResponseWriter, r *http.Request, accepted []mediaRange) {
	answerType, ok := negotiate(accepted, typeJSON, typeResponse)
	if !ok {
		h.refuse(w, typeJSON, &Refusal{
			Status:  http.StatusNotAcceptable,
			Message: "The answer can be " + typeResponse + " or " + typeJSON + ", in UTF-8.",
		})
		return
	}
	params, refused := h.readRequest(w, r)
	if refused != nil {
		h.refuse(w, answerType, refused)
		return
	}
	params.Headers = r.Header
	operation, response := h.prepare(ctx, params)
	if response != nil {
		writeResponse(w, answerType, h.statusOf(answerType, response.Errors), response)
		return
	}
	switch kind := operation.Operation.Operation; {
	case kind == ast.Mutation && r.Method == http.MethodGet:
		h.refuse(w, answerType, notAllowed("A mutation needs POST.", http.MethodPost))
	case kind == ast.Subscription:
		h.refuse(w, answerType, &Refusal{
			Status:  http.StatusNotAcceptable,
			Message: "A subscription needs a WebSocket of " + subprotocol + ", or POST with Accept: " + typeEvents + ".",
		})
	default:
		ctx, refused := h.config.TrackRefusals(ctx)
		response, status := h.execute(ctx, operation), http.StatusOK
		if response.Data == nil {
			status = h.statusOf(typeJSON, response.Errors)
		}
		if seconds, all := refused(); all {
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", strconv.Itoa(seconds))
		}
		writeResponse(w, answerType, status, response)
	}
}
