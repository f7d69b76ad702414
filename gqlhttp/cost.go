package gqlhttp

import (
	"context"
	"math"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// cost is the complexity of a selection as a formula of the variables, made once for a
// document. Its value is that of [github.com/99designs/gqlgen/complexity.Calculate], which
// walks the whole document for each request.
type cost struct {
	fixed   int
	varying []term
}

// term is a part of a cost that depends on the variables: a field with what is selected in
// it, or without a field all that a fragment selects.
type term struct {
	field *ast.Field
	inner *cost
}

// newCost makes the formula of an operation of a valid document. It looks at each fragment
// once, however often it is used.
func newCost(ctx context.Context, schema graphql.ExecutableSchema, operation *ast.OperationDefinition) *cost {
	fragments := map[string]*cost{}
	var of func(ast.SelectionSet) *cost
	of = func(selections ast.SelectionSet) *cost {
		total := &cost{}
		for _, selection := range selections {
			var part term
			switch selection := selection.(type) {
			case *ast.Field:
				if selection.Definition.Type.Name() == "__Schema" {
					continue
				}
				part = term{selection, of(selection.SelectionSet)}
			case *ast.InlineFragment:
				part = term{nil, of(selection.SelectionSet)}
			case *ast.FragmentSpread:
				if fragments[selection.Name] == nil {
					fragments[selection.Name] = of(selection.Definition.SelectionSet)
				}
				part = term{nil, fragments[selection.Name]}
			}
			if len(part.inner.varying) > 0 || part.field != nil && varies(part.field.Arguments) {
				total.varying = append(total.varying, part)
			} else {
				total.fixed = add(total.fixed, part.with(ctx, schema, nil))
			}
		}
		return total
	}
	return of(operation.SelectionSet)
}

// with returns the complexity with the variables of a request.
func (c *cost) with(ctx context.Context, schema graphql.ExecutableSchema, variables map[string]any) int {
	total := c.fixed
	for _, part := range c.varying {
		total = add(total, part.with(ctx, schema, variables))
	}
	return total
}

func (t term) with(ctx context.Context, schema graphql.ExecutableSchema, variables map[string]any) int {
	children := t.inner.with(ctx, schema, variables)
	if t.field == nil {
		return children
	}
	types := []*ast.Definition{t.field.ObjectDefinition}
	if t.field.ObjectDefinition.Kind == ast.Interface {
		types = schema.Schema().GetPossibleTypes(t.field.ObjectDefinition) // the most expensive counts
	}
	arguments, highest := t.field.ArgumentMap(variables), 0
	for _, typ := range types {
		own, custom := schema.Complexity(ctx, typ.Name, t.field.Name, children, arguments)
		if !custom || own < 1 {
			own = add(1, children)
		}
		highest = max(highest, own)
	}
	return highest
}

// varies reports whether an argument has a variable.
func varies(arguments ast.ArgumentList) bool {
	for _, argument := range arguments {
		if hasVariable(argument.Value) {
			return true
		}
	}
	return false
}

func hasVariable(value *ast.Value) bool {
	for _, child := range value.Children {
		if hasVariable(child.Value) {
			return true
		}
	}
	return value.Kind == ast.Variable
}

// add returns the sum of numbers that are not negative, or the largest int.
func add(a, b int) int {
	if sum := a + b; sum >= a {
		return sum
	}
	return math.MaxInt
}
