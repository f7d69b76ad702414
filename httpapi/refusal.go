package httpapi

import (
	"maps"
	"net/http"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"spoollock/graph"
)

// refusal is why a request is not even looked at as GraphQL. Its message never
// quotes the request, which may hold a token.
type refusal struct {
	status  int
	code    string // empty: BAD_REQUEST
	message string
	allow   string // the methods of a 405

	extensions map[string]any // besides the code
}

// retryAfter is the extension that goes out as the header Retry-After, too.
const retryAfter = "retryAfterSeconds"

func badRequest(message string) *refusal {
	return &refusal{status: http.StatusBadRequest, message: message}
}

func refuse(w http.ResponseWriter, answerType string, r *refusal) {
	if r.allow != "" {
		w.Header().Set("Allow", r.allow)
	}
	if seconds, ok := r.extensions[retryAfter].(int); ok {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	write(w, answerType, r.status, &graphql.Response{Errors: r.errors()})
}

func (r *refusal) errors() gqlerror.List {
	code := r.code
	if code == "" {
		code = graph.CodeBadRequest
	}
	extensions := map[string]any{"code": code}
	maps.Copy(extensions, r.extensions)
	return gqlerror.List{{Message: r.message, Extensions: extensions}}
}
