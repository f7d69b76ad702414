package gqlhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// readRequest makes parameters of a request.
func (h *Handler) readRequest(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, *Refusal) {
	switch r.Method {
	case http.MethodPost:
		return h.readBody(w, r)
	case http.MethodGet:
		return readQuery(r.URL.RawQuery)
	default:
		return nil, notAllowed("The method must be GET or POST.", "GET, POST")
	}
}

// parameters is the JSON of a request. What else it holds is ignored, as the
// specification wants it.
type parameters struct {
	Query         *string `json:"query"`
	DocumentID    *string `json:"documentId"` // of the draft's appendix on persisted documents
	OperationName *string `json:"operationName"`
	Variables     object  `json:"variables"`
	Extensions    object  `json:"extensions"`
}

func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, *Refusal) {
	if !isUTF8(r.Header.Get("Content-Type"), typeJSON) || r.Header.Get("Content-Encoding") != "" {
		return nil, &Refusal{
			Status:  http.StatusUnsupportedMediaType,
			Message: "The Content-Type must be " + typeJSON + ", in UTF-8 and not encoded.",
		}
	}
	most := h.config.RequestLimits.BodyBytes
	body := buffers.Get().(*bytes.Buffer) //nolint:errcheck // nothing else is in the pool
	defer buffers.Put(body)
	body.Reset()
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, most))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &Refusal{
			Status:  http.StatusRequestEntityTooLarge,
			Message: "The body may have at most " + strconv.FormatInt(most, 10) + " bytes.",
		}
	}
	if err != nil {
		return nil, badRequest("The body could not be read.")
	}
	var p parameters
	if !decode(body.Bytes(), &p) {
		return nil, badRequest("The body must be one JSON object of query or documentId, operationName, variables and extensions, without a name that stands twice.")
	}
	return p.rawParams()
}

// readQuery reads what a GET carries.
func readQuery(query string) (*graphql.RawParams, *Refusal) {
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
	return p.rawParams()
}

func (p parameters) rawParams() (*graphql.RawParams, *Refusal) {
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

// object is a JSON object. It keeps a number as it is written, so that nothing of a large
// one is lost before its scalar is known.
type object map[string]any

// UnmarshalJSONFrom implements [jsonv2.UnmarshalerFrom].
func (o *object) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := readValue(decoder)
	if err != nil || value == nil {
		return err
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return errors.New("it is no object")
	}
	*o = fields
	return nil
}

func readValue(decoder *jsontext.Decoder) (any, error) {
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '"':
		return token.String(), nil
	case '0':
		return json.Number(token.String()), nil
	case 't', 'f':
		return token.Bool(), nil
	case '{':
		fields := map[string]any{}
		for decoder.PeekKind() != '}' {
			name, err := decoder.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String() // before the next token takes its place
			if fields[key], err = readValue(decoder); err != nil {
				return nil, err
			}
		}
		_, err = decoder.ReadToken()
		return fields, err
	case '[':
		elements := []any{}
		for decoder.PeekKind() != ']' {
			element, err := readValue(decoder)
			if err != nil {
				return nil, err
			}
			elements = append(elements, element)
		}
		_, err = decoder.ReadToken()
		return elements, err
	default:
		return nil, nil
	}
}

// decode is strict, as its library is by default: it reports false for a name that
// stands twice, broken UTF-8, anything after the value, and a value of another
// type.
func decode(text []byte, into any) bool {
	return jsonv2.Unmarshal(text, into) == nil
}

// isUTF8 reports whether a header names the media type, with no charset or UTF-8.
func isUTF8(header, mediaType string) bool {
	if header == mediaType { // as most clients send it
		return true
	}
	got, options, err := mime.ParseMediaType(header)
	charset, given := options["charset"]
	return err == nil && got == mediaType && (!given || strings.EqualFold(charset, "utf-8"))
}
