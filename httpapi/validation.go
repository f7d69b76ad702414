package httpapi

import (
	"encoding/json"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"spoollock/graph/scalar"
)

// validation returns a fresh set of rules, as gqlgen changes it. Without
// introspection, no rule suggests a name either.
func validation(introspection bool) *rules.Rules {
	set := rules.NewDefaultRules()
	// gqlgen puts @defer into every schema; its answers would not be what a client of
	// this endpoint can read.
	set.AddRule("NoDefer", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnDirective(func(_ *core.Walker, directive *ast.Directive) {
			if directive.Name == "defer" {
				addError(core.Message("@defer is not offered."), core.At(directive.Position))
			}
		})
	})
	// What gqlparser leaves to the execution, which would blame the input.
	set.AddRule("ScalarsOfCorrectType", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnValue(func(_ *core.Walker, value *ast.Value) {
			if !ofItsType(value) {
				addError(core.Message("The value at this place is not of the type %s.", value.Definition.Name), core.At(value.Position))
			}
		})
	})
	// What gqlgen leaves to the execution, which would take it for a fault of its own.
	set.AddRule("OneStream", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnOperation(func(_ *core.Walker, operation *ast.OperationDefinition) {
			if operation.Operation == ast.Subscription && !oneStream(operation.SelectionSet) {
				addError(core.Message("A subscription must have one root field, without @skip or @include."), core.At(operation.Position))
			}
		})
	})
	if introspection {
		return set
	}
	for with, without := range map[string]core.Rule{
		rules.KnownArgumentNamesRule.Name:  rules.KnownArgumentNamesRuleWithoutSuggestions,
		rules.KnownTypeNamesRule.Name:      rules.KnownTypeNamesRuleWithoutSuggestions,
		rules.ValuesOfCorrectTypeRule.Name: rules.ValuesOfCorrectTypeRuleWithoutSuggestions,
	} {
		set.RemoveRule(with)
		set.AddRule(without.Name, without.RuleFunc)
	}
	set.AddRule("NoIntrospection", func(observers *core.Events, addError core.AddErrFunc) {
		observers.OnField(func(_ *core.Walker, field *ast.Field) {
			if field.Name == "__schema" || field.Name == "__type" {
				addError(core.Message("Introspection is switched off."), core.At(field.Position))
			}
		})
	})
	return set
}

// oneStream reports whether all root fields are one by their response name, and none
// may be left out.
func oneStream(roots ast.SelectionSet) bool {
	name, visited := "", map[string]bool{} // a fragment may yet be in itself
	var one func(ast.SelectionSet) bool
	one = func(selections ast.SelectionSet) bool {
		for _, selection := range selections {
			var directives ast.DirectiveList
			var inner ast.SelectionSet
			switch selection := selection.(type) {
			case *ast.Field:
				if name != "" && name != selection.Alias {
					return false
				}
				name, directives = selection.Alias, selection.Directives
			case *ast.InlineFragment:
				directives, inner = selection.Directives, selection.SelectionSet
			case *ast.FragmentSpread:
				directives = selection.Directives
				if selection.Definition != nil && !visited[selection.Name] {
					visited[selection.Name] = true
					inner = selection.Definition.SelectionSet
				}
			}
			if directives.ForName("skip") != nil || directives.ForName("include") != nil || !one(inner) {
				return false
			}
		}
		return true
	}
	return one(roots)
}

// ofItsType reports whether a literal is in the range of its type where that is a
// number, and no object where it is any scalar.
func ofItsType(value *ast.Value) bool {
	if value.Definition == nil || value.Kind == ast.Variable || value.Kind == ast.NullValue {
		return true
	}
	number := json.Number(value.Raw)
	switch {
	case value.Definition.Kind == ast.Scalar && value.Kind == ast.ObjectValue:
		return false
	case value.Definition.Name == "Long":
		_, err := scalar.UnmarshalLong(number)
		return value.Kind == ast.IntValue && err == nil
	case value.Definition.Name == "Int" && value.Kind == ast.IntValue:
		_, err := scalar.UnmarshalInt(number)
		return err == nil
	default:
		return true
	}
}
