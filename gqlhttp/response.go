package gqlhttp

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// statusOf is the status of a document that was not executed.
func (h *Handler) statusOf(answerType string, errs gqlerror.List) int {
	for _, err := range errs {
		switch err.Extensions["code"] {
		case h.config.Codes.BadRequest:
			return http.StatusBadRequest
		case h.config.Codes.Forbidden:
			return http.StatusForbidden
		case h.config.Codes.Internal:
			return http.StatusInternalServerError
		}
	}
	if answerType == typeResponse {
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// maxErrors is how many errors of a document that was not executed are answered. Of
// one that was, all are: a null in the data without its error would be taken for a
// value.
const maxErrors = 5

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Values of headers, made once. They are shared by all answers: nothing may change them.
var (
	noStore      = []string{"no-store"}
	contentTypes = map[string][]string{
		typeJSON:     {typeJSON + "; charset=utf-8"},
		typeResponse: {typeResponse + "; charset=utf-8"},
	}
)

// writeResponse writes an answer.
func writeResponse(w http.ResponseWriter, answerType string, status int, response *graphql.Response) {
	buffer := buffers.Get().(*bytes.Buffer) //nolint:errcheck // nothing else is in the pool
	defer buffers.Put(buffer)
	buffer.Reset()
	encodeResponse(buffer, response)
	header := w.Header()
	header["Content-Type"] = contentTypes[answerType]
	header["Cache-Control"] = noStore
	header["Content-Length"] = []string{strconv.Itoa(buffer.Len())}
	w.WriteHeader(status)
	_, _ = w.Write(buffer.Bytes())
}

// encodeResponse encodes a response. The data is JSON already and is not touched again;
// where nothing was executed, there is none.
func encodeResponse(buffer *bytes.Buffer, response *graphql.Response) {
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
	if err != nil { // Config.Presenter has put into an error what cannot be encoded
		text = []byte(`[{"message":"The error cannot be shown."}]`)
	}
	buffer.Write(text)
}
