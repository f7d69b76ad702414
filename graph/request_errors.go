package graph

import (
	"cmp"
	"context"
	"regexp"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"spoollock/lock"
)

// reasonWrongType says that the value of an input is missing or has another type than
// the schema's.
const reasonWrongType lock.Reason = "WRONG_TYPE"

// documentError describes what is wrong with a document. Messages that quote its
// values are replaced, because a value may be a token; those that quote names are not.
func documentError(err *gqlerror.Error) (string, map[string]any) {
	extensions := map[string]any{"code": err.Extensions["code"]}
	switch {
	case err.Extensions["code"] == CodeQueryTooComplex:
		return err.Message, err.Extensions
	case err.Extensions["code"] == errcode.ParseFailed:
		return "The document cannot be parsed at this place.", extensions
	case err.Rule == rules.ValuesOfCorrectTypeRule.Name, err.Rule == rules.ValuesOfCorrectTypeRuleWithoutSuggestions.Name:
		return "The value at this place is missing, unknown, or not of the type that the schema asks for.", extensions
	case err.Rule == "" && err.Extensions["code"] == errcode.ValidationFailed:
		return "The document has no such operation.", extensions
	default:
		message := []rune(err.Message)
		return string(message[:min(len(message), 200)]), extensions
	}
}

// validName is what a schema can call an input. What a client calls one that does not
// exist may be anything, and is not repeated.
var validName = regexp.MustCompile(`^[_A-Za-z][_0-9A-Za-z]{0,63}$`)

// wrongTypeFacts says that the value of an input is missing or has another type than the
// schema's. The field is the last name of the input's path.
func wrongTypeFacts(ctx context.Context, path ast.Path, problem string) *facts {
	field := ""
	for i, element := range path {
		if s, ok := element.(ast.PathName); ok && validName.MatchString(string(s)) {
			field = string(s)
			if i == 1 && isVariablePath(path) {
				field = inputOfVariable(graphql.GetOperationContext(ctx), field)
			}
		}
	}
	return &facts{
		code: CodeBadUserInput, message: field + " " + problem + ".",
		field: &field, reason: new(reasonWrongType),
	}
}

// isVariablePath reports whether gqlparser gave the path to a variable: its name is next in
// the path.
func isVariablePath(path ast.Path) bool { return len(path) > 1 && path[0] == ast.PathName("variable") }

// inputOfVariable is what the schema calls the first input of the operation that takes the
// variable.
func inputOfVariable(operation *graphql.OperationContext, variable string) string {
	input := inputIn(operation.Operation.SelectionSet, variable)
	for _, fragment := range operation.Doc.Fragments {
		input = cmp.Or(input, inputIn(fragment.SelectionSet, variable))
	}
	return cmp.Or(input, variable) // only for a directive of the operation itself
}

func inputIn(selections ast.SelectionSet, variable string) (input string) {
	for _, selection := range selections {
		var arguments ast.ArgumentList
		var directives ast.DirectiveList
		var inner ast.SelectionSet
		switch s := selection.(type) {
		case *ast.Field:
			arguments, directives, inner = s.Arguments, s.Directives, s.SelectionSet
		case *ast.InlineFragment:
			directives, inner = s.Directives, s.SelectionSet
		case *ast.FragmentSpread:
			directives = s.Directives
		}
		input = cmp.Or(input, inputAmong(arguments, variable))
		for _, directive := range directives {
			input = cmp.Or(input, inputAmong(directive.Arguments, variable))
		}
		input = cmp.Or(input, inputIn(inner, variable))
	}
	return input
}

func inputAmong(arguments ast.ArgumentList, variable string) (input string) {
	for _, argument := range arguments {
		input = cmp.Or(input, inputAt(argument.Name, argument.Value, variable))
	}
	return input
}

// inputAt is the name of the input, or of a field of it, if its value is the variable.
func inputAt(name string, value *ast.Value, variable string) (input string) {
	if value.Kind == ast.Variable && value.Raw == variable {
		return name
	}
	for _, child := range value.Children {
		input = cmp.Or(input, inputAt(cmp.Or(child.Name, name), child.Value, variable))
	}
	return input
}
