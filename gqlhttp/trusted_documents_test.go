package gqlhttp_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spoollock/gqlhttp"
)

const (
	countDocument = "query Count($s: Boolean! = false) { count @skip(if: $s) }\n"
	addDocument   = "mutation Add($n: Int!) { add(n: $n) }\n"
)

func documents(t *testing.T, only bool) *gqlhttp.TrustedDocuments {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"count.graphql": countDocument, "add.graphql": addDocument, "README.md": "no document",
		"crlf.graphql": "query CRLF($s: Boolean!) {\r\n  count @skip(if: $s)\r\n}\r\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := gqlhttp.LoadTrustedDocuments(os.DirFS(dir), only, newCounter().Schema(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestTrustedDocuments(t *testing.T) {
	t.Parallel()
	const (
		found    = goodAnswer
		unknown  = `"code":"PERSISTED_QUERY_NOT_FOUND"`
		refused  = `"code":"FORBIDDEN"`
		both     = "a query or a documentId, not both"
		persist  = `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"%s"}}`
		variable = `"variables":{"s":false}`
	)
	other := "query Other($s: Boolean!) { count @skip(if: $s) }"
	quoted := strings.TrimSuffix(countDocument, "\n") + `\n`
	for name, c := range map[string]struct {
		body         string
		open, closed string // the answer where other documents are run, and where not
	}{
		"by hash":              {`{"documentId":"sha256:` + hash(countDocument) + `",` + variable + `}`, found, found},
		"by name":              {`{"documentId":"count",` + variable + `}`, found, found},
		"by hash, with LF":     {`{"documentId":"sha256:` + hash("query CRLF($s: Boolean!) {\n  count @skip(if: $s)\n}\n") + `",` + variable + `}`, found, found},
		"by hash, with CRLF":   {`{"documentId":"sha256:` + hash("query CRLF($s: Boolean!) {\r\n  count @skip(if: $s)\r\n}\r\n") + `",` + variable + `}`, found, found},
		"in full":              {`{"query":"` + quoted + `",` + variable + `}`, found, found},
		"as a persisted query": {`{` + fmt.Sprintf(persist, hash(countDocument)) + `,` + variable + `}`, unknown, found},
		"unknown":              {`{"documentId":"sha256:` + hash(other) + `"}`, unknown, unknown},
		"a hash in upper case": {`{"documentId":"sha256:` + strings.ToUpper(hash(countDocument)) + `"}`, unknown, unknown},
		"empty":                {`{"documentId":""}`, unknown, unknown},
		"a path":               {`{"documentId":"../count"}`, unknown, unknown},
		"another document":     {`{"query":"` + other + `",` + variable + `}`, found, refused},
		"one to be persisted":  {`{"query":"` + other + `",` + fmt.Sprintf(persist, hash(other)) + `,` + variable + `}`, found, refused},
		"an empty query":       {`{"query":""}`, `"code":"GRAPHQL_VALIDATION_FAILED"`, `"code":"GRAPHQL_VALIDATION_FAILED"`},
		"both":                 {`{"documentId":"count","query":"` + quoted + `"}`, both, both},
		"no text":              {`{"documentId":7}`, "The body must be", "The body must be"},
		"in the extensions":    {`{"query":"` + quoted + `","extensions":{"documentId":"add"},` + variable + `}`, found, found},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for only, want := range map[bool]string{false: c.open, true: c.closed} {
				a := serve(t, gqlhttp.Config{TrustedDocuments: documents(t, only)})
				response, answer := a.post(c.body)
				if !strings.Contains(answer, want) {
					t.Errorf("nothing else %t: answer is %s, want %s", only, answer, want)
				}
				if (response.StatusCode == http.StatusForbidden) != (want == refused) {
					t.Errorf("nothing else %t: status is %d", only, response.StatusCode)
				}
			}
		})
	}
}

func TestTrustedDocumentsByGET(t *testing.T) {
	t.Parallel()
	a := serve(t, gqlhttp.Config{TrustedDocuments: documents(t, true)})
	get := func(id, variables string) (int, string) {
		values := url.Values{"documentId": {id}, "variables": {variables}}
		response, answer := a.do(http.MethodGet, "?"+values.Encode(), "")
		return response.StatusCode, answer
	}
	if status, answer := get("count", `{"s":false}`); status != http.StatusOK || answer != goodAnswer {
		t.Errorf("a query by GET is answered %d %s", status, answer)
	}
	if status, answer := get("add", `{"n":1}`); status != http.StatusMethodNotAllowed {
		t.Errorf("a mutation by GET is answered %d %s", status, answer)
	}
}

func TestDocumentsThatAreNotLoaded(t *testing.T) {
	t.Parallel()
	schema := newCounter().Schema()
	dir := t.TempDir()
	load := func(dir string, checkScalar func(string, any) error) error {
		_, err := gqlhttp.LoadTrustedDocuments(os.DirFS(dir), true, schema, checkScalar)
		return err
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if load(dir, nil) == nil {
		t.Error("a directory without documents is loaded")
	}
	if load(filepath.Join(dir, "none"), nil) == nil {
		t.Error("a directory that is not there is loaded")
	}
	write("add.graphql", "mutation { add(n: 7) }")
	if err := load(dir, nil); err != nil {
		t.Errorf("a document is not loaded: %v", err)
	}
	tooLarge := func(string, any) error { return errors.New("too large") }
	if err := load(dir, tooLarge); err == nil || !strings.Contains(err.Error(), "add.graphql") {
		t.Errorf("a document with a literal that is not of its type gives %v", err)
	}
	write("old.graphql", "{ noSuchField }")
	if err := load(dir, nil); err == nil || !strings.Contains(err.Error(), "old.graphql") {
		t.Errorf("a document that is not of the schema gives %v", err)
	}
}
