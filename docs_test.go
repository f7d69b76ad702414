package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/joho/godotenv"

	"spoollock/config"
	"spoollock/graph"
)

// A document is README.md, or one in docs.
type document struct {
	name   string // from the root: "docs/API.md"
	text   string
	blocks []block
}

// A block is a fenced block of a document.
type block struct {
	language string
	text     string
}

var fence = regexp.MustCompile("(?sm)^```(\\w*)\n(.*?)^```$")

// documents are the README, and then the others in the order of their names.
func documents(t *testing.T) (all []document) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("docs has %v, %v", files, err)
	}
	for _, file := range append([]string{filepath.Join(root, "README.md")}, files...) {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		d := document{name: name, text: readFile(t, name)}
		for _, found := range fence.FindAllStringSubmatch(d.text, -1) {
			d.blocks = append(d.blocks, block{language: found[1], text: found[2]})
		}
		all = append(all, d)
	}
	return all
}

// readFile reads a file by its name from the root.
func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A shownRequest is a request that a document shows, with the answer.
type shownRequest struct {
	port   string
	header string // of the credential; empty: none
	stream bool   // answer is the data of the first event
	body   string
	answer string
}

var (
	curl  = regexp.MustCompile(`(?s)^curl -s(N?) localhost:(\d+)/graphql(?: -H "([^"]*)")? -H 'Content-Type: application/json'(?: -H 'Accept: text/event-stream')? -d '([^']*)'\n$`)
	event = regexp.MustCompile(`^event: next\ndata: (.*)\n$`)
)

// requests are those that the document shows to the port: 8080, or 8081 for those with
// keys, which only API.md has. A block that has a curl command must be nothing else, and
// the next block must be its answer.
func (d document) requests(t *testing.T, port string) (requests []shownRequest) {
	t.Helper()
	for i, b := range d.blocks {
		if !strings.Contains(b.text, "curl ") {
			continue
		}
		found := curl.FindStringSubmatch(b.text)
		if found == nil || i+1 == len(d.blocks) || found[2] != "8080" && (found[2] != "8081" || d.name != "docs/API.md") {
			t.Fatalf("%s shows a request that is not understood, goes to no tested port, or has no answer:\n%s", d.name, b.text)
		}
		request := shownRequest{port: found[2], header: found[3], stream: found[1] != "", body: found[4]}
		switch next := d.blocks[i+1]; {
		case !request.stream && next.language == "json":
			request.answer = next.text
		case request.stream && event.MatchString(next.text):
			request.answer = event.FindStringSubmatch(next.text)[1]
		default:
			t.Fatalf("%s shows no answer to\n%s", d.name, b.text)
		}
		if request.port == port {
			requests = append(requests, request)
		}
	}
	return requests
}

// What the documents show of the clients is in the examples, which have tests of their
// own.
func TestDocumentedClients(t *testing.T) {
	t.Parallel()
	sources := map[string]string{} // all of a language, by its name in the documents
	err := fs.WalkDir(os.DirFS(root), "examples", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Name() == "node_modules" || entry.Name() == "build" {
			return fs.SkipDir
		}
		if !entry.IsDir() && !strings.HasSuffix(path, "_test.go") {
			sources[strings.TrimPrefix(filepath.Ext(path), ".")] += readFile(t, path) + "\x00"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{}
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if !slices.Contains([]string{"ts", "go", "py"}, b.language) {
				continue
			}
			shown[b.language]++
			if !strings.Contains(sources[b.language], b.text) {
				t.Errorf("%s shows what is not in the examples:\n%s", d.name, b.text)
			}
		}
	}
	if want := map[string]int{"ts": 3, "go": 1, "py": 1}; !maps.Equal(shown, want) {
		t.Errorf("the documents show clients %v, want %v", shown, want)
	}
}

// What the documents name in backticks is there: files, and tests in their package,
// which is named before them unless it is the program's own.
func TestDocumentedNames(t *testing.T) {
	t.Parallel()
	tests := testsByPackage(t)
	file := regexp.MustCompile("`([\\w./*-]+\\.(?:go|lua|graphqls|md|ts|py|mjs|yml|acl))`")
	test := regexp.MustCompile("(?:`([a-z/]+)`\\s+)?((?:`Test\\w+`,?\\s*(?:and )?)+)")
	name := regexp.MustCompile(`Test\w+`)
	named := 0
	for _, d := range documents(t) {
		for _, found := range file.FindAllStringSubmatch(d.text, -1) {
			named++
			if matches, err := filepath.Glob(filepath.Join(root, found[1])); err != nil || len(matches) == 0 {
				t.Errorf("%s names the file %s, which does not exist", d.name, found[1])
			}
		}
		for _, found := range test.FindAllStringSubmatch(d.text, -1) {
			for _, wanted := range name.FindAllString(found[2], -1) {
				named++
				if !slices.ContainsFunc(tests[wanted], func(folder string) bool { return isPackage(folder, found[1]) }) {
					t.Errorf("%s names the test %s of the package %q, and it is in %q", d.name, wanted, found[1], tests[wanted])
				}
			}
		}
	}
	if named < 200 {
		t.Errorf("only %d names are found", named)
	}
}

// isPackage reports whether a folder is the one that a document calls so: by its path,
// or by its last element.
func isPackage(folder, called string) bool {
	if called == "" {
		return folder == "."
	}
	return folder == called || filepath.Base(folder) == called
}

// testsByPackage are the folders in which there is a test, by the test's name.
func testsByPackage(t *testing.T) map[string][]string {
	t.Helper()
	folders := map[string][]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != "."):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range source.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil {
				folders[function.Name.Name] = append(folders[function.Name.Name], filepath.ToSlash(filepath.Dir(path)))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return folders
}

// Each link of the documents to another file, or to a heading, leads there.
func TestDocumentedLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	for _, d := range documents(t) {
		prose := fence.ReplaceAllString(d.text, "")
		for _, found := range link.FindAllStringSubmatch(prose, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			target := d.name
			if found[1] != "" {
				target = filepath.Join(filepath.Dir(d.name), found[1])
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s: %v", d.name, found[1], err)
				continue
			}
			if found[2] != "" && !slices.Contains(anchors(readFile(t, target)), found[2]) {
				t.Errorf("%s links to %s%s, of %v", d.name, found[1], found[2], anchors(readFile(t, target)))
			}
		}
	}
}

// anchors are those that GitHub gives the headings of a document.
func anchors(text string) (all []string) {
	dropped := regexp.MustCompile(`[^\w\- ]`)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all = append(all, "#"+strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(heading[1]), ""), " ", "-"))
	}
	return all
}

var (
	variableRow = regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| (.*?) \\| (.*?) \\|(?: (.*?) \\|)?$")
	literal     = regexp.MustCompile("^`([^`]*)`$")
	bounds      = regexp.MustCompile(`^(\d+) to (\d+)\b`)
)

// OPERATIONS.md has each variable of .env.example and no other, with its default and
// with the bounds of config; what README.md has of them is the same.
func TestDocumentedVariables(t *testing.T) {
	t.Parallel()
	example, err := godotenv.Unmarshal(readFile(t, ".env.example"))
	if err != nil {
		t.Fatal(err)
	}
	// Their defaults depend on other variables.
	depends := map[string]bool{"HOST": true, "AUTH_MODE": true}
	checkDefault := func(document, name, cell string) {
		value, listed := example[name]
		switch want := literal.FindStringSubmatch(cell); {
		case !listed:
			t.Errorf("%s has %s, which .env.example has not", document, name)
		case depends[name]:
		case want == nil && (cell != "none" || value != ""), want != nil && want[1] != value:
			t.Errorf("%s has %s with the default %s, and .env.example %q", document, name, cell, value)
		}
	}
	documented := map[string]bool{}
	for _, row := range variableRow.FindAllStringSubmatch(readFile(t, "docs/OPERATIONS.md"), -1) {
		name, values := row[1], row[3]
		if documented[name] {
			t.Errorf("OPERATIONS.md has %s twice", name)
		}
		documented[name] = true
		checkDefault("OPERATIONS.md", name, row[2])
		problem := problemOf(name)
		if bound := bounds.FindStringSubmatch(values); bound != nil {
			if want := fmt.Sprintf("%s must be a whole number from %s to %s", name, bound[1], bound[2]); problem != want {
				t.Errorf("OPERATIONS.md has %s with %s, and config says %q", name, values, problem)
			}
		} else if strings.Contains(problem, "whole number") {
			t.Errorf("OPERATIONS.md has %s without bounds, and config says %q", name, problem)
		}
	}
	for name := range example {
		if !documented[name] {
			t.Errorf("OPERATIONS.md has no %s", name)
		}
	}
	matter := variableRow.FindAllStringSubmatch(readFile(t, "README.md"), -1)
	if len(matter) != 10 {
		t.Errorf("README.md has %d variables, want 10", len(matter))
	}
	for _, row := range matter {
		checkDefault("README.md", row[1], row[2])
	}
}

// problemOf is what config says of the variable if its value is nonsense; empty: nothing.
func problemOf(name string) string {
	_, err := config.Load(environment(map[string]string{name: "\x00"}), true, "")
	if err == nil {
		return ""
	}
	for problem := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(problem, name+" must be a whole number") {
			return problem
		}
	}
	return ""
}

// The table of operations in API.md has each root field of the schema with its role.
func TestDocumentedOperations(t *testing.T) {
	t.Parallel()
	documented := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| ((?:`[a-z]\\w+`(?:, )?)+) \\| `([A-Z]+)` \\|")
	for _, found := range row.FindAllStringSubmatch(readFile(t, "docs/API.md"), -1) {
		for field := range strings.SplitSeq(found[1], ", ") {
			documented[strings.Trim(field, "`")] = found[2]
		}
	}
	schema := graph.NewSchema(nil, nil, nil).Schema()
	served := map[string]string{}
	for _, field := range slices.Concat(schema.Query.Fields, schema.Mutation.Fields, schema.Subscription.Fields) {
		if !strings.HasPrefix(field.Name, "__") {
			served[field.Name] = field.Directives.ForName("requires").Arguments.ForName("role").Value.Raw
		}
	}
	if !maps.Equal(documented, served) {
		t.Errorf("API.md has the operations\n%v, and the schema\n%v", documented, served)
	}
}

// The table of packages in ARCHITECTURE.md has each package of the program, and what it
// imports of the others.
func TestDocumentedImports(t *testing.T) {
	t.Parallel()
	documented := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| .* \\| (.*?)\\s*\\|$")
	for _, found := range row.FindAllStringSubmatch(readFile(t, "docs/ARCHITECTURE.md"), -1) {
		documented[found[1]] = strings.ReplaceAll(found[2], "`", "")
	}
	imported := map[string]map[string]bool{} // by top folder
	folders, seen := []string{"."}, map[string]bool{}
	for len(folders) > 0 {
		folder := folders[0]
		folders = folders[1:]
		if seen[folder] {
			continue
		}
		seen[folder] = true
		top, _, _ := strings.Cut(folder, "/")
		for _, path := range importsOf(t, folder) {
			target, own := strings.CutPrefix(path, "spoollock/")
			if !own {
				continue
			}
			folders = append(folders, target)
			targetTop, _, _ := strings.Cut(target, "/")
			if imported[targetTop] == nil {
				imported[targetTop] = map[string]bool{}
			}
			if top != "." && targetTop != top {
				imported[top][targetTop] = true
			}
		}
	}
	actual := map[string]string{}
	for name, targets := range imported {
		actual[name] = strings.Join(slices.Sorted(maps.Keys(targets)), ", ")
	}
	for _, name := range slices.Sorted(maps.Keys(actual)) {
		if want, ok := documented[name]; !ok || want != actual[name] {
			t.Errorf("ARCHITECTURE.md has that %s imports %q, and it imports %q", name, want, actual[name])
		}
	}
	for name := range documented {
		if _, ok := actual[name]; !ok {
			t.Errorf("ARCHITECTURE.md has the package %s, which is not of the program", name)
		}
	}
}

// importsOf are the imports of the files of a folder that are not tests.
func importsOf(t *testing.T, folder string) (paths []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range source.Imports {
			paths = append(paths, strings.Trim(spec.Path.Value, `"`))
		}
	}
	return paths
}
