package graph_test

import (
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/graph"
)

// Everything a client can see is described, in whole sentences.
func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	check := func(name, description string) {
		if !strings.HasSuffix(description, ".") {
			t.Errorf("%s is described as %q", name, description)
		}
	}
	for name, definition := range graph.NewSchema(nil, nil, nil).Schema().Types {
		if definition.BuiltIn {
			continue
		}
		check(name, definition.Description)
		for _, field := range definition.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			check(name+"."+field.Name, field.Description)
			for _, argument := range field.Arguments {
				check(name+"."+field.Name+"."+argument.Name, argument.Description)
			}
		}
		if definition.Kind == ast.Enum {
			for _, value := range definition.EnumValues {
				check(name+"."+value.Name, value.Description)
			}
		}
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
