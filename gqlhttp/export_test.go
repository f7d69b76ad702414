package gqlhttp

import (
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// Visits is how many selections are looked at to know the size of a document.
func Visits(document string) int {
	parsed, err := parser.ParseQuery(&ast.Source{Input: document})
	if err != nil {
		panic(err)
	}
	sizes := newSizer(parsed)
	sizes.roots()
	return sizes.visits
}
