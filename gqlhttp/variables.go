package gqlhttp

import (
	"slices"

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
		value := operation.Variables[variable.Variable]
		err := checkValue(schema, variable.Type, value, checkScalar)
		if value == nil && variable.Type.NamedType == "Boolean" { // see Config.CheckScalar
			if scalarErr := checkScalar("Boolean", nil); scalarErr != nil {
				err = gqlerror.WrapPath(nil, scalarErr)
			}
		}
		if err != nil {
			err.Path = append(err.Path, ast.PathName(variable.Variable), ast.PathName("variable"))
			slices.Reverse(err.Path)
			return err
		}
	}
	return nil
}

// checkValue returns an error with the path to it in the value, innermost first.
func checkValue(
	schema *ast.Schema, typ *ast.Type, value any, checkScalar func(name string, value any) error,
) *gqlerror.Error {
	if value == nil {
		return nil
	}
	if typ.Elem != nil {
		for _, element := range graphql.CoerceList(value) {
			if err := checkValue(schema, typ.Elem, element, checkScalar); err != nil {
				return err
			}
		}
		return nil
	}
	if fields, ok := value.(map[string]any); ok {
		for _, field := range schema.Types[typ.NamedType].Fields {
			if err := checkValue(schema, field.Type, fields[field.Name], checkScalar); err != nil {
				err.Path = append(err.Path, ast.PathName(field.Name))
				return err
			}
		}
	}
	if err := checkScalar(typ.NamedType, value); err != nil {
		return gqlerror.WrapPath(nil, err)
	}
	return nil
}
