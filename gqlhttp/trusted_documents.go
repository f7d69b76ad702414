package gqlhttp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// TrustedDocuments are those that an operator has put into a directory, to be run
// by their identifier. The draft of the specification calls
// them persisted documents (GraphQL over HTTP, appendix A).
type TrustedDocuments struct {
	texts map[string]string // by identifier
	only  bool
}

// LoadTrustedDocuments reads the files of dir that end in .graphql. Each is one
// document, with two identifiers: "sha256:" and the hexadecimal SHA-256 of its
// text, and its name without the ending. If the lines of a file end in CRLF, the SHA-256
// with LF identifies it too: a client's copy can have either. With only, no other document
// is run.
//
// An error names the file that is not a document of the schema. Literals are checked by
// checkScalar, see [Config]; it may be nil.
func LoadTrustedDocuments(
	dir fs.FS, only bool, schema *ast.Schema, checkScalar func(name string, value any) error,
) (*TrustedDocuments, error) {
	files, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("read trusted documents: %w", err)
	}
	d := &TrustedDocuments{texts: map[string]string{}, only: only}
	for _, file := range files {
		name, isDocument := strings.CutSuffix(file.Name(), ".graphql")
		if !isDocument {
			continue
		}
		text, err := fs.ReadFile(dir, file.Name())
		if err != nil {
			return nil, fmt.Errorf("read trusted documents: %w", err)
		}
		if _, errs := gqlparser.LoadQueryWithRules(schema, string(text), validationRules(true, checkScalar)); errs != nil {
			return nil, fmt.Errorf("trusted document %s: %w", file.Name(), errs)
		}
		d.texts[name] = string(text)
		d.texts[identifier(string(text))] = string(text)
		d.texts[identifier(strings.ReplaceAll(string(text), "\r\n", "\n"))] = string(text)
	}
	if len(d.texts) == 0 {
		return nil, errors.New("no trusted document: the directory has no file that ends in .graphql")
	}
	return d, nil
}

func identifier(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// documentID is the extension in which a request's documentId travels, because gqlgen
// has no other place for it.
const documentID = "documentId"

// trusted is the extension that has a request run the document of its documentId. It
// is a cache of automatic persisted queries, too.
type trusted struct {
	documents *TrustedDocuments
	codes     Codes
}

// ExtensionName implements [graphql.HandlerExtension].
func (trusted) ExtensionName() string { return "TrustedDocuments" }

// Validate implements [graphql.HandlerExtension].
func (trusted) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters implements [graphql.OperationParameterMutator].
func (t trusted) MutateOperationParameters(_ context.Context, params *graphql.RawParams) *gqlerror.Error {
	if id, given := params.Extensions[documentID].(string); given {
		text, ok := t.documents.texts[id]
		if !ok {
			return codedError(t.codes.PersistedNotFound, "There is no document with this documentId.")
		}
		params.Query = text
		return nil
	}
	// Without a query, an automatic persisted one is asked for: see Get.
	if !t.documents.only || params.Query == "" {
		return nil
	}
	if _, known := t.documents.texts[identifier(params.Query)]; !known {
		return codedError(t.codes.Forbidden, "Only trusted documents are run here.")
	}
	return nil
}

// Get implements [graphql.Cache], of automatic persisted queries where nothing but
// trusted documents is run: clients that send only a hash find them by it.
func (t trusted) Get(_ context.Context, hash string) (string, bool) {
	text, ok := t.documents.texts["sha256:"+hash]
	return text, ok
}

// Add implements [graphql.Cache]. Nothing is added.
func (trusted) Add(context.Context, string, string) {}
