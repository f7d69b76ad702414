package gqlhttp

import (
	"context"
	"math"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// amount is how much a selection asks for.
type amount struct {
	fields  int // see RequestLimits.Fields
	units   int // see Config.Units
	changes int // of the units, those of a mutation's root fields themselves
}

func (a amount) add(b amount) amount {
	return amount{add(a.fields, b.fields), add(a.units, b.units), add(a.changes, b.changes)}
}

// highest returns the higher of each of the amounts' numbers.
func (a amount) highest(b amount) amount {
	return amount{max(a.fields, b.fields), max(a.units, b.units), max(a.changes, b.changes)}
}

// scale is what the amount of a field is measured by.
type scale struct {
	schema graphql.ExecutableSchema
	units  func(typeName, fieldName string, args map[string]any) (own, times int) // see Config.Units; nil: none
}

// amountOf returns what a field of an object type asks for, with what is selected in it.
func (s scale) amountOf(ctx context.Context, typ *ast.Definition, field string, inner amount, args map[string]any) amount {
	fields, custom := s.schema.Complexity(ctx, typ.Name, field, inner.fields, args)
	if !custom || fields < 1 {
		fields = add(1, inner.fields)
	}
	if s.units == nil {
		return amount{fields: fields}
	}
	own, times := s.units(typ.Name, field, args)
	total := amount{fields: fields, units: multiply(times, add(own, inner.units))}
	if typ == s.schema.Schema().Mutation {
		total.changes = multiply(times, own)
	}
	return total
}

// cost is the amount of a selection as a formula of the variables, made once for a document.
// Its fields are those of [github.com/99designs/gqlgen/complexity.Calculate], which walks the
// whole document for each request.
type cost struct {
	fixed   amount
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
func newCost(ctx context.Context, by scale, operation *ast.OperationDefinition) *cost {
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
				total.fixed = total.fixed.add(part.with(ctx, by, nil))
			}
		}
		return total
	}
	return of(operation.SelectionSet)
}

// with returns the amount with the variables of a request.
func (c *cost) with(ctx context.Context, by scale, variables map[string]any) amount {
	total := c.fixed
	for _, part := range c.varying {
		total = total.add(part.with(ctx, by, variables))
	}
	return total
}

func (t term) with(ctx context.Context, by scale, variables map[string]any) amount {
	inner := t.inner.with(ctx, by, variables)
	if t.field == nil {
		return inner
	}
	types := []*ast.Definition{t.field.ObjectDefinition}
	if t.field.ObjectDefinition.Kind == ast.Interface {
		types = by.schema.Schema().GetPossibleTypes(t.field.ObjectDefinition) // the most expensive counts
	}
	arguments, highest := t.field.ArgumentMap(variables), amount{}
	for _, typ := range types {
		highest = highest.highest(by.amountOf(ctx, typ, t.field.Name, inner, arguments))
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

// multiply returns the product of numbers that are not negative, or the largest int.
func multiply(a, b int) int {
	if a > 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}
