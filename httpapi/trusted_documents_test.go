package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spoollock/gqlhttp"
	"spoollock/graph"
	"spoollock/graph/scalar"
	"spoollock/httpapi"
)

const (
	askDocument  = "query Ask($tag: ID!) { spoolLock(tagSpool: $tag) { ownerId } }\n"
	takeDocument = "mutation Take($input: TomarSpoolInput!) { tomarSpool(input: $input) { replayed } }\n"
)

func documents(t *testing.T, only bool) *gqlhttp.TrustedDocuments {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ask.graphql": askDocument, "take.graphql": takeDocument, "README.md": "no document",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := gqlhttp.LoadTrustedDocuments(dir, only, graph.NewSchema(nil, nil, nil).Schema(), scalar.Check)
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
		found    = `{"data":{"spoolLock":null}}`
		unknown  = `"code":"PERSISTED_QUERY_NOT_FOUND"`
		refused  = `"code":"FORBIDDEN"`
		both     = "a query or a documentId, not both"
		persist  = `"extensions":{"persistedQuery":{"version":1,"sha256Hash":"%s"}}`
		variable = `"variables":{"tag":"MK-1"}`
	)
	other := "query Other($tag: ID!) { spoolLock(tagSpool: $tag) { ownerName } }"
	quoted := strings.TrimSuffix(askDocument, "\n") + `\n`
	for name, c := range map[string]struct {
		body         string
		open, closed string // the answer where other documents are run, and where not
	}{
		"by hash":              {`{"documentId":"sha256:` + hash(askDocument) + `",` + variable + `}`, found, found},
		"by name":              {`{"documentId":"ask",` + variable + `}`, found, found},
		"in full":              {`{"query":"` + quoted + `",` + variable + `}`, found, found},
		"as a persisted query": {`{` + fmt.Sprintf(persist, hash(askDocument)) + `,` + variable + `}`, unknown, found},
		"unknown":              {`{"documentId":"sha256:` + hash(other) + `"}`, unknown, unknown},
		"a hash in upper case": {`{"documentId":"sha256:` + strings.ToUpper(hash(askDocument)) + `"}`, unknown, unknown},
		"empty":                {`{"documentId":""}`, unknown, unknown},
		"a path":               {`{"documentId":"../ask"}`, unknown, unknown},
		"another document":     {`{"query":"` + other + `",` + variable + `}`, found, refused},
		"one to be persisted":  {`{"query":"` + other + `",` + fmt.Sprintf(persist, hash(other)) + `,` + variable + `}`, found, refused},
		"an empty query":       {`{"query":""}`, `"code":"GRAPHQL_VALIDATION_FAILED"`, `"code":"GRAPHQL_VALIDATION_FAILED"`},
		"both":                 {`{"documentId":"ask","query":"` + quoted + `"}`, both, both},
		"no text":              {`{"documentId":7}`, "The body must be", "The body must be"},
		"in the extensions":    {`{"query":"` + quoted + `","extensions":{"documentId":"take"},` + variable + `}`, found, found},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for only, want := range map[bool]string{false: c.open, true: c.closed} {
				a := newAPI(t, "embedded://", func(config *httpapi.Config) { config.TrustedDocuments = documents(t, only) })
				status, answer := a.send(http.MethodPost, "/graphql", "application/json", c.body)
				if !strings.Contains(answer, want) {
					t.Errorf("nothing else %t: answer is %s, want %s", only, answer, want)
				}
				if (status == http.StatusForbidden) != (want == refused) {
					t.Errorf("nothing else %t: status is %d", only, status)
				}
			}
		})
	}
}

func TestTrustedDocumentsByGET(t *testing.T) {
	t.Parallel()
	a := newAPI(t, "embedded://", func(config *httpapi.Config) { config.TrustedDocuments = documents(t, true) })
	get := func(id, variables string) (int, string) {
		values := url.Values{"documentId": {id}, "variables": {variables}}
		return a.send(http.MethodGet, "/graphql?"+values.Encode(), "", "")
	}
	if status, answer := get("ask", `{"tag":"MK-1"}`); status != http.StatusOK || answer != `{"data":{"spoolLock":null}}` {
		t.Errorf("a query by GET is answered %d %s", status, answer)
	}
	if status, answer := get("take", `{"input":{"tagSpool":"MK-1","workerId":"93","workerNombre":"MR"}}`); status != http.StatusMethodNotAllowed {
		t.Errorf("a mutation by GET is answered %d %s", status, answer)
	}
}

func TestDocumentsThatAreNotLoaded(t *testing.T) {
	t.Parallel()
	schema := graph.NewSchema(nil, nil, nil).Schema()
	dir := t.TempDir()
	if _, err := gqlhttp.LoadTrustedDocuments(dir, true, schema, scalar.Check); err == nil {
		t.Error("a directory without documents is loaded")
	}
	if _, err := gqlhttp.LoadTrustedDocuments(filepath.Join(dir, "none"), true, schema, scalar.Check); err == nil {
		t.Error("a directory that is not there is loaded")
	}
	if err := os.WriteFile(filepath.Join(dir, "old.graphql"), []byte("{ noSuchField }"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := gqlhttp.LoadTrustedDocuments(dir, true, schema, scalar.Check)
	if err == nil || !strings.Contains(err.Error(), "old.graphql") {
		t.Errorf("a document that is not of the schema gives %v", err)
	}
}
