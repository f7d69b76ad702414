package httpapi

import (
	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"spoollock/graph/scalar"
)

// checkVariables returns an error for the first variable of an operation that holds
// a value which is not of its scalar. It is called before anything is executed, as
// the resolvers' arguments are read one after the other: a root field would be done
// before the variable of the next is found wrong. What gqlparser checks by itself is
// taken for granted: what is missing, unknown, or a list or an object in a wrong place.
func checkVariables(schema *ast.Schema, operation *graphql.OperationContext) *gqlerror.Error {
	for _, variable := range operation.Operation.VariableDefinitions {
		path := ast.Path{ast.PathName("variable"), ast.PathName(variable.Variable)}
		value := operation.Variables[variable.Variable]
		if value == nil && decides(operation.Operation.SelectionSet, variable.Variable) {
			return gqlerror.WrapPath(path, &scalar.TypeError{Want: "true or false"})
		}
		if err := checkValue(schema, variable.Type, value, path); err != nil {
			return err
		}
	}
	return nil
}

// decides reports whether a @skip or @include asks the variable. Null is a value of one
// that may be null and has a default, but no answer; gqlgen would panic.
func decides(selections ast.SelectionSet, variable string) bool {
	for _, selection := range selections {
		var directives ast.DirectiveList
		var inner ast.SelectionSet
		switch selection := selection.(type) {
		case *ast.Field:
			directives, inner = selection.Directives, selection.SelectionSet
		case *ast.InlineFragment:
			directives, inner = selection.Directives, selection.SelectionSet
		case *ast.FragmentSpread:
			directives, inner = selection.Directives, selection.Definition.SelectionSet
		}
		for _, directive := range directives {
			if condition := directive.Arguments.ForName("if"); condition != nil &&
				condition.Value.Kind == ast.Variable && condition.Value.Raw == variable {
				return true
			}
		}
		if decides(inner, variable) {
			return true
		}
	}
	return false
}

func checkValue(schema *ast.Schema, typ *ast.Type, value any, path ast.Path) *gqlerror.Error {
	if value == nil {
		return nil
	}
	if typ.Elem != nil {
		for _, element := range graphql.CoerceList(value) {
			if err := checkValue(schema, typ.Elem, element, path); err != nil {
				return err
			}
		}
		return nil
	}
	if fields, ok := value.(map[string]any); ok {
		for _, field := range schema.Types[typ.NamedType].Fields {
			if err := checkValue(schema, field.Type, fields[field.Name], append(path, ast.PathName(field.Name))); err != nil {
				return err
			}
		}
	}
	if err := scalar.Check(typ.NamedType, value); err != nil {
		return gqlerror.WrapPath(path, err)
	}
	return nil
}
