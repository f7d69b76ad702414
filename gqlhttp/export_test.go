package gqlhttp

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
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

// Cost makes the formula of an operation.
func Cost(config Config, operation *ast.OperationDefinition) func(variables map[string]any) (fields, units, changes int) {
	by := scale{config.Schema, config.Units}
	formula := newCost(context.Background(), by, operation)
	return func(variables map[string]any) (fields, units, changes int) {
		total := formula.with(context.Background(), by, variables)
		return total.fields, total.units, total.changes
	}
}

// sizedEvent is an event of a size.
type sizedEvent struct{ n, size int }

// Size implements [source.Sized].
func (e sizedEvent) Size() int { return e.size }

// KeptResponses makes n shared responses of a size to events of a size, and returns how many are
// kept, and the bytes of both.
func KeptResponses(n, size, sizeOfEvent int) (entries, bytes int) {
	data := make([]byte, size)
	var s sharedResponses
	for i := range n {
		s.response(sharedEvent{event: sizedEvent{i, sizeOfEvent}}, func() *graphql.Response { return &graphql.Response{Data: data} })
	}
	entries = len(s.newer) + len(s.older)
	return entries, entries * (size + sizeOfEvent)
}
