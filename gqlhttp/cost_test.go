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
	type Mutation { order(numbers: [Int]): [Thing] }
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
		cost := gqlhttp.Cost(gqlhttp.Config{Schema: weightedSchema}, operation)
		for _, variables := range []map[string]any{{}, {"n": nil}, {"n": int64(1)}, {"n": int64(1000)}, {"n": int64(-2)}} {
			want := complexity.Calculate(t.Context(), weightedSchema, operation, variables)
			if got, units, _ := cost(variables); got != want || units != 0 {
				t.Errorf("%s with %v costs %d and %d units, want %d and none", document, variables, got, units, want)
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
	config := gqlhttp.Config{Schema: weightedSchema, Units: weightedUnits}
	if fields, units, _ := gqlhttp.Cost(config, parsed.Operations[0])(nil); fields < 1<<60 || units < 1<<60 {
		t.Errorf("it costs %d and %d units", fields, units)
	}
}

// weightedUnits has a unit for each name, one more of a ball, and the things that are asked
// for, their list of numbers included. To order is a change.
func weightedUnits(typ, field string, args map[string]any) (own, times int) {
	switch typ + "." + field {
	case "Ball.name":
		return 2, 1
	case "Box.name", "Query.one":
		return 1, 1
	case "Query.things", "Box.things":
		first, _ := args["first"].(int64)
		return 1, int(first)
	case "Mutation.order":
		return 1, len(graphql.CoerceList(args["numbers"]))
	}
	return 0, 1
}

// A field's own units and those selected in it count as many times as the field says; those
// of a mutation's root fields themselves are changes.
func TestUnits(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]struct{ units, changes int }{
		`{ __typename }`:         {0, 0},
		`{ one { __typename } }`: {1, 0},
		`{ one { name } }`:       {1 + 2, 0}, // a ball is the more expensive thing
		`{ one { a: name b: name ... on Box { name } } }`:                                                                    {1 + 2 + 2 + 1, 0},
		`query($n: Int) { things(first: $n) { name } }`:                                                                      {7 * (1 + 2), 0},
		`query($n: Int) { one { ...F } } fragment F on Box { things(first: $n) { ...G ...G } } fragment G on Thing { name }`: {1 + 7*(1+2*2), 0},
		`mutation($n: Int) { order(numbers: [1, $n, 3]) { name } }`:                                                          {3 * (1 + 2), 3},
		`mutation { a: order(numbers: 1) { __typename } ...F } fragment F on Mutation { order(numbers: [1, 2]) { name } }`:   {1 + 2*(1+2), 3},
	} {
		operation := gqlparser.MustLoadQueryWithRules(weightedSchema.schema, document, nil).Operations[0]
		_, units, changes := gqlhttp.Cost(gqlhttp.Config{Schema: weightedSchema, Units: weightedUnits}, operation)(map[string]any{"n": int64(7)})
		if units != want.units || changes != want.changes {
			t.Errorf("%s asks for %d units and %d changes, want %+v", document, units, changes, want)
		}
	}
}
