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
		// No input of the schema is a Boolean, so it is for the if of @skip or @include,
		// where gqlgen panics at a null that a default had made possible.
		if variable.Type.NamedType == "Boolean" && operation.Variables[variable.Variable] == nil {
			return gqlerror.WrapPath(path, &scalar.TypeError{Want: "true or false"})
		}
		if err := checkValue(schema, variable.Type, operation.Variables[variable.Variable], path); err != nil {
			return err
		}
	}
	return nil
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
