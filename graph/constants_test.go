package graph_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// constants returns the values, sorted, of the string constants that the package in dir
// declares and keep keeps.
func constants(t *testing.T, dir string, keep func(*ast.ValueSpec) bool) (values []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !keep(spec) {
				return true
			}
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
			return false
		})
	}
	slices.Sort(values)
	return values
}

// constantsOf returns the values of the constants of package lock that have the type.
func constantsOf[T ~string](t *testing.T) []string {
	t.Helper()
	name := reflect.TypeFor[T]().Name()
	return constants(t, "../lock", func(spec *ast.ValueSpec) bool {
		declared, ok := spec.Type.(*ast.Ident)
		return ok && declared.Name == name
	})
}

// called keeps the constants whose names begin with prefix.
func called(prefix string) func(*ast.ValueSpec) bool {
	return func(spec *ast.ValueSpec) bool { return strings.HasPrefix(spec.Names[0].Name, prefix) }
}
