package httpapi

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
)

// sdl serves the schema as it is executed, without what every schema has.
func sdl(schema *ast.Schema) http.HandlerFunc {
	var text bytes.Buffer
	formatter.NewFormatter(&text, formatter.WithIndent("  ")).FormatSchema(schema)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text.Bytes())
	}
}

// index says what is on.
func (h *Handler) index(w http.ResponseWriter, _ *http.Request) {
	links := []string{"/schema.graphql", "/healthz", "/readyz", "/metrics"}
	if h.config.Playground {
		links = append(links, "/playground")
	}
	var page strings.Builder
	page.WriteString("<!doctype html>\n<html lang=\"en\">\n<title>Spool locks</title>\n<h1>Spool locks</h1>\n<p>GraphQL is at <code>/graphql</code>, by POST.</p>\n")
	if h.config.AuthMode == "none" {
		page.WriteString("<p>Callers are anonymous: anyone who can connect can act as any worker.</p>\n")
	}
	if h.config.LimitsOff {
		page.WriteString("<p>LIMITS=off is for load tests only: nothing limits how much callers may do.</p>\n")
	}
	page.WriteString("<ul>\n")
	for _, link := range links {
		page.WriteString("<li><a href=\"" + link + "\">" + link + "</a></li>\n")
	}
	page.WriteString("</ul>\n</html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(page.String()))
}
