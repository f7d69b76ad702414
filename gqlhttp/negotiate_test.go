package gqlhttp_test

import (
	"net/http"
	"strings"
	"testing"

	"spoollock/gqlhttp"
)

func TestNegotiation(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{})
	for accept, want := range map[string]string{
		"":                                  jsonType,
		"*/*":                               jsonType,
		"application/*":                     jsonType,
		"application/json":                  jsonType,
		"APPLICATION/JSON; Charset=UTF-8":   jsonType,
		"application/graphql-response+json": responseType,
		"application/graphql-response+json,application/json;q=0.9":     responseType,
		"application/json;q=0.9, application/graphql-response+json":    responseType,
		"application/json, application/graphql-response+json":          jsonType,
		"application/graphql-response+json, application/json":          responseType,
		"application/graphql-response+json;q=0.1, */*;q=0.5":           jsonType,
		"application/json;q=0, */*":                                    responseType,
		"text/html, application/xhtml+xml, */*;q=0.8":                  jsonType,
		"application/json;q=broken, application/graphql-response+json": responseType,
	} {
		response, body := a.post(good, "Accept", accept)
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != want || body != goodAnswer {
			t.Errorf("Accept %q is answered %d %s %s", accept, response.StatusCode, got, body)
		}
	}
	for _, accept := range []string{"text/html", "application/json;q=0", "application/json; charset=latin1", "multipart/mixed"} {
		response, body := a.post(good, "Accept", accept)
		if response.StatusCode != http.StatusNotAcceptable || !strings.Contains(body, `"code":"BAD_REQUEST"`) {
			t.Errorf("Accept %q is answered %d %s", accept, response.StatusCode, body)
		}
	}
}
