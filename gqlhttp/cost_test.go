package gqlhttp_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/complexity"
	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/gqlhttp"
)

// weighted is a schema in which a list counts as often as its length, and some fields count
// for more than one.
type weighted struct {
	graphql.ExecutableSchema
	schema *ast.Schema
}

func (w weighted) Schema() *ast.Schema { return w.schema }

func (weighted) Complexity(_ context.Context, typ, field string, children int, args map[string]any) (int, bool) {
	switch typ + "." + field {
	case "Query.things", "Box.things":
		first, _ := args["first"].(int64)
		if by, ok := args["by"].(map[string]any); ok {
			first, _ = by["first"].(int64)
		}
		return int(first) * children, true
	case "Ball.name":
		return 7, true
	case "Box.huge":
		return math.MaxInt, true
	}
	return 0, false
}

var weightedSchema = weighted{schema: gqlparser.MustLoadSchema(&ast.Source{Input: `
	type Query { things(first: Int = 3, by: By): [Thing] one: Thing }
	input By { first: Int }
	interface Thing { name: String }
	type Ball implements Thing { name: String }
	type Box implements Thing { name: String huge: Int things(first: Int): [Thing] }
`})}

// The formula has the value that gqlgen calculates anew for each request.
func TestCost(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`{ one { name } }`,
		`{ __schema { types { name } } __typename }`,
		`{ things { name } a: things(first: 5) { name ... on Ball { name } ... on Box { name } } }`,
		`query($n: Int) { things(first: $n) { name } one { name } }`,
		`query($n: Int = 4) { things(by: {first: $n}) { name } }`,
		`query($n: Int) { one { ...F } things { ...F } } fragment F on Box { name things(first: $n) { ...G ...G } } fragment G on Thing { name }`,
		`query($n: Int) { things(first: $n) { ... on Box { huge things(first: $n) { name } } } }`,
	} {
		parsed := gqlparser.MustLoadQueryWithRules(weightedSchema.schema, document, nil)
		operation := parsed.Operations[0]
		cost := gqlhttp.Cost(weightedSchema, operation)
		for _, variables := range []map[string]any{{}, {"n": nil}, {"n": int64(1)}, {"n": int64(1000)}, {"n": int64(-2)}} {
			want := complexity.Calculate(t.Context(), weightedSchema, operation, variables)
			if got := cost(variables); got != want {
				t.Errorf("%s with %v costs %d, want %d", document, variables, got, want)
			}
		}
	}
}

// A fragment is looked at once, however often it is used: here it would be 2^60 times.
func TestCostOfNestedFragments(t *testing.T) {
	t.Parallel()
	var document strings.Builder
	document.WriteString("{ one { ...F0 } }")
	for i := range 60 {
		fmt.Fprintf(&document, " fragment F%d on Thing { ...F%d ...F%d }", i, i+1, i+1)
	}
	document.WriteString(" fragment F60 on Thing { name }")
	parsed, err := gqlparser.LoadQueryWithRules(weightedSchema.schema, document.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := gqlhttp.Cost(weightedSchema, parsed.Operations[0])(nil); got < 1<<60 {
		t.Errorf("it costs %d", got)
	}
}
