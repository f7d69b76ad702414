package gqlhttp

import (
	"maps"
	"net/http"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// Refusal is why a request is not even looked at as GraphQL. It is answered with
// Status and, in JSON, one error. As an [http.Handler], it refuses a request.
type Refusal struct {
	Status int

	// Code is the error's extensions.code. Where a Handler refuses, it defaults to
	// Codes.BadRequest.
	Code string

	// Message is for a person. It should not quote the request, which may hold secrets.
	Message string

	// RetryAfterSeconds, if not zero, is sent as Retry-After and as the extension
	// retryAfterSeconds.
	RetryAfterSeconds int

	Header     http.Header    // further ones of the answer
	Extensions map[string]any // further ones of the error
}

// ServeHTTP implements [http.Handler]. The answer is application/json.
func (r *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) { r.write(w, typeJSON) }

func (r *Refusal) write(w http.ResponseWriter, answerType string) {
	for name, values := range r.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if r.RetryAfterSeconds != 0 {
		w.Header().Set("Retry-After", strconv.Itoa(r.RetryAfterSeconds))
	}
	writeResponse(w, answerType, r.Status, &graphql.Response{Errors: r.errors()})
}

func (r *Refusal) errors() gqlerror.List {
	extensions := map[string]any{"code": r.Code}
	if r.RetryAfterSeconds != 0 {
		extensions["retryAfterSeconds"] = r.RetryAfterSeconds
	}
	maps.Copy(extensions, r.Extensions)
	return gqlerror.List{{Message: r.Message, Extensions: extensions}}
}

func badRequest(message string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Message: message}
}

func notAllowed(message, methods string) *Refusal {
	return &Refusal{Status: http.StatusMethodNotAllowed, Message: message, Header: http.Header{"Allow": {methods}}}
}

// refuse answers with a refusal. One without a code has that of a bad request.
func (h *Handler) refuse(w http.ResponseWriter, answerType string, refused *Refusal) {
	if refused.Code == "" {
		withCode := *refused
		withCode.Code = h.config.Codes.BadRequest
		refused = &withCode
	}
	refused.write(w, answerType)
}
