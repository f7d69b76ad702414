package gqlhttp

import (
	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// checkVariables returns an error for the first variable of an operation that holds
// a value which is not of its scalar. It is called before anything is executed, because
// the resolvers' arguments are read one after the other: a root field would be done
// before the variable of the next is found wrong. What gqlparser checks by itself is
// taken for granted: what is missing, unknown, or a list or an object in a wrong place.
func checkVariables(
	schema *ast.Schema, operation *graphql.OperationContext, checkScalar func(name string, value any) error,
) *gqlerror.Error {
	if checkScalar == nil {
		return nil
	}
	for _, variable := range operation.Operation.VariableDefinitions {
		value, path := operation.Variables[variable.Variable], ast.Path{ast.PathName("variable"), ast.PathName(variable.Variable)}
		if value == nil && variable.Type.NamedType == "Boolean" { // see Config.CheckScalar
			if err := checkScalar("Boolean", nil); err != nil {
				return gqlerror.WrapPath(path, err)
			}
		}
		if err := checkValue(schema, variable.Type, value, path, checkScalar); err != nil {
			return err
		}
	}
	return nil
}

func checkValue(
	schema *ast.Schema, typ *ast.Type, value any, path ast.Path, checkScalar func(name string, value any) error,
) *gqlerror.Error {
	if value == nil {
		return nil
	}
	if typ.Elem != nil {
		for _, element := range graphql.CoerceList(value) {
			if err := checkValue(schema, typ.Elem, element, path, checkScalar); err != nil {
				return err
			}
		}
		return nil
	}
	if fields, ok := value.(map[string]any); ok {
		for _, field := range schema.Types[typ.NamedType].Fields {
			if err := checkValue(schema, field.Type, fields[field.Name], append(path, ast.PathName(field.Name)), checkScalar); err != nil {
				return err
			}
		}
	}
	if err := checkScalar(typ.NamedType, value); err != nil {
		return gqlerror.WrapPath(path, err)
	}
	return nil
}
