package graph_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/graph"
	"spoollock/lock"
)

// Everything a client can see is described, in whole sentences.
func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	describe(func(name, description string) {
		if !strings.HasSuffix(description, ".") {
			t.Errorf("%s is described as %q", name, description)
		}
	})
}

// describe calls yield with the name and the description of everything in the schema.
func describe(yield func(name, description string)) {
	schema := graph.NewSchema(nil, nil, nil).Schema()
	arguments := func(name string, definitions ast.ArgumentDefinitionList) {
		for _, argument := range definitions {
			yield(name+"."+argument.Name, argument.Description)
		}
	}
	for name, definition := range schema.Types {
		if definition.BuiltIn {
			continue
		}
		yield(name, definition.Description)
		for _, field := range definition.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			yield(name+"."+field.Name, field.Description)
			arguments(name+"."+field.Name, field.Arguments)
		}
		for _, value := range definition.EnumValues {
			yield(name+"."+value.Name, value.Description)
		}
	}
	for name, directive := range schema.Directives {
		if directive.Position.Src.BuiltIn {
			continue
		}
		yield("@"+name, directive.Description)
		arguments("@"+name, directive.Arguments)
	}
}

// One failure must never erase its neighbours, nor look like a free spool.
func TestRootFieldsThatCanFailAreNullable(t *testing.T) {
	t.Parallel()
	schema := graph.NewSchema(nil, nil, nil).Schema()
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation} {
		for _, field := range root.Fields {
			if field.Type.NonNull && !strings.HasPrefix(field.Name, "__") && field.Name != "lockLimits" {
				t.Errorf("%s.%s is %s", root.Name, field.Name, field.Type)
			}
		}
	}
}

// Each enum is bound to a type of package lock, in gqlgen.yml, and has the values of that
// type's constants.
func TestEnumsAreTheDomains(t *testing.T) {
	t.Parallel()
	bound := map[string][]string{
		"LockEnd":        constantsOf[lock.End](t),
		"ReleaseOutcome": constantsOf[lock.ReleaseOutcome](t),
		"Role":           constantsOf[lock.Role](t),
		"SpoolEventType": constantsOf[lock.EventType](t),
	}
	for name, definition := range graph.NewSchema(nil, nil, nil).Schema().Types {
		if definition.Kind != ast.Enum || definition.BuiltIn || strings.HasPrefix(name, "__") {
			continue
		}
		var values []string
		for _, value := range definition.EnumValues {
			values = append(values, value.Name)
		}
		slices.Sort(values)
		if !slices.Equal(values, bound[name]) {
			t.Errorf("the values of %s are\n%v, the constants are\n%v", name, values, bound[name])
		}
	}
}

// Variables can have the value of an enum in any letter case, and gqlgen hands it to a type
// that it is bound to as it was sent. An enum that becomes an input needs enum_values in
// gqlgen.yml.
func TestNoInputIsAnEnum(t *testing.T) {
	t.Parallel()
	schema := graph.NewSchema(nil, nil, nil).Schema()
	check := func(name string, input *ast.Type) {
		if definition := schema.Types[input.Name()]; definition.Kind == ast.Enum && !definition.BuiltIn {
			t.Errorf("%s is a %s, whose values are not checked well enough", name, definition.Name)
		}
	}
	for name, definition := range schema.Types {
		for _, field := range definition.Fields {
			if definition.Kind == ast.InputObject {
				check(name+"."+field.Name, field.Type)
			}
			for _, argument := range field.Arguments {
				check(name+"."+field.Name+"."+argument.Name, argument.Type)
			}
		}
	}
}

// A role is asked for where an operation begins: by each root field, and by no other.
func TestRolesAreAskedForOnRootFields(t *testing.T) {
	t.Parallel()
	schema := graph.NewSchema(nil, nil, nil).Schema()
	roots := []*ast.Definition{schema.Query, schema.Mutation, schema.Subscription}
	for name, definition := range schema.Types {
		root := slices.Contains(roots, definition)
		for _, field := range definition.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			if asks := field.Directives.ForName("requires") != nil; asks != root {
				t.Errorf("%s.%s asks for a role: %t, is a root field: %t", name, field.Name, asks, root)
			}
		}
	}
	if on := schema.Directives["requires"].Locations; !slices.Equal(on, []ast.DirectiveLocation{ast.LocationFieldDefinition}) {
		t.Errorf("the directive can stand on %v", on)
	}
}
