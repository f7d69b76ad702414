package graph_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/errcode"

	"spoollock/graph"
	"spoollock/lock"
)

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	word   = regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)
)

// words returns the upper-case words in backquotes, where there can be several in one
// pair, sorted and each once.
func words(text string) []string {
	found := map[string]bool{}
	for _, match := range quoted.FindAllStringSubmatch(text, -1) {
		for _, name := range strings.Fields(match[1]) {
			if word.MatchString(name) {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// allCodes are the constants of package graph and gqlgen's own two codes.
func allCodes(t *testing.T) []string {
	t.Helper()
	codes := constants(t, ".", called("Code"))
	codes = append(codes, errcode.ParseFailed, errcode.ValidationFailed)
	slices.Sort(codes)
	return codes
}

// operationCodes are what an operation can answer: the codes of clientErrors.
func operationCodes(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	for name, test := range clientErrors {
		var extensions struct{ Code string }
		if err := json.Unmarshal([]byte(test.extensions), &extensions); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found[extensions.Code] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// errorTables is the document with the tables of error codes. The head of each begins with
// "code". The first table has what operations answer.
const errorTables = "../docs/API.md"

func TestCodesAreInTheDocuments(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(errorTables)
	if err != nil {
		t.Fatal(err)
	}
	tables := strings.Split(string(document), "\n| code |")[1:]
	var columns []string // the first column of each table
	for _, table := range tables {
		table, _, _ = strings.Cut(table, "\n\n")
		var column strings.Builder
		for row := range strings.Lines(table) {
			if cells := strings.Split(row, "|"); len(cells) > 1 {
				column.WriteString(cells[1])
			}
		}
		columns = append(columns, column.String())
	}
	if got, want := words(strings.Join(columns, "")), allCodes(t); !slices.Equal(got, want) {
		t.Fatalf("the tables in %s have\n%v, the codes are\n%v", errorTables, got, want)
	}
	if got, want := words(columns[0]), operationCodes(t); !slices.Equal(got, want) {
		t.Errorf("the first table in %s has\n%v, operations answer\n%v", errorTables, got, want)
	}
}

// SpoolError lists what an item can fail with: what an operation can, but for the caller
// who is refused before any item.
func TestItemCodesAreInTheSchema(t *testing.T) {
	t.Parallel()
	field := graph.NewSchema(nil, nil, nil).Schema().Types["SpoolError"].Fields.ForName("code")
	want := slices.DeleteFunc(operationCodes(t), func(code string) bool { return code == graph.CodeUnauthenticated })
	if got := words(field.Description); !slices.Equal(got, want) {
		t.Errorf("the description of SpoolError.code has\n%v, the codes are\n%v", got, want)
	}
}

// Each upper-case word in the descriptions is a code, a reason, an outcome, a value of an
// enum or a variable, and each code that an operation can answer is among them.
func TestCodesInTheSchemaExist(t *testing.T) {
	t.Parallel()
	existing := slices.Concat(
		allCodes(t), constantsOf[lock.Reason](t), constants(t, ".", called("reason")),
		constantsOf[lock.Outcome](t), constantsOf[lock.End](t), constantsOf[lock.ReleaseOutcome](t), []string{"FLOOR_REBUILD_SECONDS", "SPOOL_MEMORY_DAYS"},
	)
	var named []string
	describe(func(name, description string) {
		for _, word := range words(description) {
			named = append(named, word)
			if !slices.Contains(existing, word) {
				t.Errorf("%s is described with %s, which does not exist", name, word)
			}
		}
	})
	for _, code := range operationCodes(t) {
		if !slices.Contains(named, code) {
			t.Errorf("the schema does not name %s", code)
		}
	}
}
