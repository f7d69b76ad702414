package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/graph"
	"spoollock/web"
)

func get(path string, header ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	web.Playground().ServeHTTP(recorder, request)
	return recorder
}

func TestPlaygroundIsWhole(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/playground", "/playground/"} {
		page := get(path)
		if page.Code != http.StatusOK || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
			t.Fatalf("%s is %d %s", path, page.Code, page.Header().Get("Content-Type"))
		}
		if policy := page.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self';") || !strings.Contains(policy, "default-src 'none'") {
			t.Fatalf("the policy is %q", policy)
		}
		references := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
		if len(references) != 7 {
			t.Fatalf("the page refers to %v", references)
		}
		for _, reference := range references {
			if reference[1] == "data:," { // no icon
				continue
			}
			if !strings.HasPrefix(reference[1], "/playground/") {
				t.Errorf("the page asks another machine for %s", reference[1])
			}
			if found := get(reference[1]); found.Code != http.StatusOK || found.Body.Len() == 0 {
				t.Errorf("%s is %d", reference[1], found.Code)
			}
		}
	}
}

// Every example of the playground's tabs is a document that the schema allows.
func TestPlaygroundExamples(t *testing.T) {
	t.Parallel()
	source := get("/playground/page.js").Body.String()
	lock := regexp.MustCompile(`const LOCK = "([^"]+)"`).FindStringSubmatch(source)
	documents := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(source, -1)
	schema := graph.NewSchema(nil, nil, nil).Schema()
	fields := map[string]bool{}
	for _, document := range documents {
		text := strings.ReplaceAll(document[1], "${LOCK}", lock[1])
		parsed, err := gqlparser.LoadQueryWithRules(schema, text, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, selection := range parsed.Operations[0].SelectionSet {
			fields[selection.(*ast.Field).Name] = true
		}
	}
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation, schema.Subscription} {
		for _, field := range root.Fields {
			if !fields[field.Name] && !strings.HasPrefix(field.Name, "__") {
				t.Errorf("there is no example of %s", field.Name)
			}
		}
	}
}

func TestPlaygroundFilesAreNotSentAgain(t *testing.T) {
	t.Parallel()
	first := get("/playground/page.js")
	again := get("/playground/page.js", "If-None-Match", first.Header().Get("ETag"))
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Fatalf("the same file is answered %d with %d bytes", again.Code, again.Body.Len())
	}
}

func TestPlaygroundServesNothingElse(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/playground/refresh", "/playground/nothing", "/playground/../web.go", "/playground/playground/page.js"} {
		if found := get(path); found.Code != http.StatusNotFound {
			t.Errorf("%s is %d", path, found.Code)
		}
	}
}
