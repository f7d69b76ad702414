package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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

// read makes parameters of a request.
func (t transport) read(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, *refusal) {
	switch r.Method {
	case http.MethodPost:
		return t.readBody(w, r)
	case http.MethodGet:
		return readQuery(r.URL.RawQuery)
	default:
		return nil, &refusal{
			status: http.StatusMethodNotAllowed, message: "The method must be GET or POST.", allow: "GET, POST",
		}
	}
}

// parameters is the JSON of a request. What else it holds is ignored, as the
// specification wants it.
type parameters struct {
	Query         *string        `json:"query"`
	DocumentID    *string        `json:"documentId"` // of the draft's appendix on persisted documents
	OperationName *string        `json:"operationName"`
	Variables     map[string]any `json:"variables"`
	Extensions    map[string]any `json:"extensions"`
}

func (t transport) readBody(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, *refusal) {
	if !isUTF8(r.Header.Get("Content-Type"), typeJSON) || r.Header.Get("Content-Encoding") != "" {
		return nil, &refusal{
			status:  http.StatusUnsupportedMediaType,
			message: "The Content-Type must be " + typeJSON + ", in UTF-8 and not encoded.",
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, t.limits.BodyBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &refusal{
			status:  http.StatusRequestEntityTooLarge,
			message: "The body may have at most " + strconv.FormatInt(t.limits.BodyBytes, 10) + " bytes.",
		}
	}
	if err != nil {
		return nil, badRequest("The body could not be read.")
	}
	var p parameters
	if !decode(body, &p) {
		return nil, badRequest("The body must be one JSON object of query or documentId, operationName, variables and extensions, without a name that stands twice.")
	}
	return p.raw()
}

// readQuery reads what a GET carries.
func readQuery(query string) (*graphql.RawParams, *refusal) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, badRequest("The query string could not be read.")
	}
	var p parameters
	for name, value := range values {
		if len(value) != 1 || !utf8.ValidString(value[0]) {
			return nil, badRequest("The query string must be UTF-8, with each name once.")
		}
		ok := true
		switch name {
		case "query":
			p.Query = &value[0]
		case "documentId":
			p.DocumentID = &value[0]
		case "operationName":
			p.OperationName = &value[0]
		case "variables":
			ok = decode([]byte(value[0]), &p.Variables)
		case "extensions":
			ok = decode([]byte(value[0]), &p.Extensions)
		}
		if !ok {
			return nil, badRequest("The " + name + " must be a JSON object, without a name that stands twice.")
		}
	}
	return p.raw()
}

func (p parameters) raw() (*graphql.RawParams, *refusal) {
	raw := &graphql.RawParams{Variables: p.Variables, Extensions: p.Extensions}
	if p.OperationName != nil {
		raw.OperationName = *p.OperationName
	}
	delete(raw.Extensions, documentID)
	switch {
	case p.Query != nil && p.DocumentID != nil:
		return nil, badRequest("The request must have a query or a documentId, not both.")
	case p.Query != nil:
		raw.Query = *p.Query
	case p.DocumentID != nil:
		raw.Extensions = map[string]any{documentID: *p.DocumentID}
	case p.Extensions["persistedQuery"] == nil:
		return nil, badRequest("The query is missing.")
	}
	return raw, nil
}

// numbers keeps a number as it is written, so that nothing of a large one is lost
// before its scalar is known.
var numbers = jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(decoder *jsontext.Decoder, value *any) error {
	if decoder.PeekKind() != '0' {
		return errors.ErrUnsupported // this one is not for here
	}
	text, err := decoder.ReadValue()
	*value = json.Number(text)
	return err
}))

// decode is strict, as its library is by default: it reports false for a name that
// stands twice, broken UTF-8, anything after the value, and a value of another
// type.
func decode(text []byte, into any) bool {
	return jsonv2.Unmarshal(text, into, numbers) == nil
}

// isUTF8 reports whether a header names the media type, with no charset or UTF-8.
func isUTF8(header, mediaType string) bool {
	got, options, err := mime.ParseMediaType(header)
	charset, given := options["charset"]
	return err == nil && got == mediaType && (!given || strings.EqualFold(charset, "utf-8"))
}

// statusOf is the status of a document that was not executed.
func statusOf(answerType string, errs gqlerror.List) int {
	for _, err := range errs {
		switch err.Extensions["code"] {
		case graph.CodeBadRequest:
			return http.StatusBadRequest
		case graph.CodeForbidden:
			return http.StatusForbidden
		case graph.CodeInternal:
			return http.StatusInternalServerError
		}
	}
	if answerType == typeResponse {
		return http.StatusBadRequest
	}
	return http.StatusOK
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

// maxErrors is how many errors of a document that was not executed are answered. Of
// one that was, all are: without its error, a null in the data would say that a
// spool is free.
const maxErrors = 5

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// write writes an answer.
func write(w http.ResponseWriter, answerType string, status int, response *graphql.Response) {
	buffer := buffers.Get().(*bytes.Buffer) //nolint:errcheck // nothing else is in the pool
	defer buffers.Put(buffer)
	buffer.Reset()
	encode(buffer, response)
	header := w.Header()
	header.Set("Content-Type", answerType+"; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(buffer.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(buffer.Bytes())
}

// encode encodes a response. The data is JSON already and is not touched again;
// where nothing was executed, there is none.
func encode(buffer *bytes.Buffer, response *graphql.Response) {
	buffer.WriteByte('{')
	if len(response.Errors) > 0 {
		buffer.WriteString(`"errors":`)
		encodeErrors(buffer, response.Errors)
	}
	if response.Data != nil {
		if len(response.Errors) > 0 {
			buffer.WriteByte(',')
		}
		buffer.WriteString(`"data":`)
		buffer.Write(response.Data)
	}
	buffer.WriteByte('}')
}

func encodeErrors(buffer *bytes.Buffer, errs gqlerror.List) {
	text, err := json.Marshal(errs)
	if err != nil {
		panic(err) // what the presenter puts into an error can be encoded
	}
	buffer.Write(text)
}
