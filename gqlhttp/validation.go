package gqlhttp

import (
	"encoding/json"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// validationRules returns a fresh set of rules, because gqlgen changes it. Without
// introspection, no rule suggests a name either. checkScalar may be nil.
func validationRules(introspection bool, checkScalar func(name string, value any) error) *rules.Rules {
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
			if !ofItsType(value, checkScalar) {
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

// ofItsType reports whether a literal is one of its scalar type, as far as gqlparser
// leaves that open: it checks the kinds of the literals of built-in types, and neither
// the range of an Int nor objects in the place of a scalar.
func ofItsType(literal *ast.Value, checkScalar func(name string, value any) error) bool {
	scalar := literal.Definition
	if scalar == nil || scalar.Kind != ast.Scalar || literal.Kind == ast.Variable || literal.Kind == ast.NullValue {
		return true
	}
	if literal.Kind == ast.ObjectValue {
		return false
	}
	if scalar.OneOf("Float", "String", "Boolean", "ID") || scalar.Name == "Int" && literal.Kind != ast.IntValue {
		return true
	}
	if literal.Kind == ast.ListValue && literal.ExpectedType != nil && literal.ExpectedType.Elem != nil {
		return true // its elements are checked
	}
	value, ok := valueOf(literal)
	return checkScalar == nil || ok && checkScalar(scalar.Name, value) == nil
}

// valueOf is a literal as the JSON of a variable would be read. Lists and enums have
// none that is a scalar's.
func valueOf(literal *ast.Value) (value any, ok bool) {
	switch literal.Kind {
	case ast.IntValue, ast.FloatValue:
		return json.Number(literal.Raw), true
	case ast.StringValue, ast.BlockValue:
		return literal.Raw, true
	case ast.BooleanValue:
		return literal.Raw == "true", true
	default:
		return nil, false
	}
}
