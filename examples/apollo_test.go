// Package examples_test runs the clients that partners copy.
package examples_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	goast "go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/graph"
	"spoollock/repository/redistest"
)

// build builds the service and returns the program.
func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "spoollock")
	if out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// service starts the program on a free port as go run . -dev does, in the
// environment given, and returns its GraphQL URL.
func service(t *testing.T, program string, env ...string) (url string) {
	t.Helper()
	process := exec.Command(program, "-dev")
	process.Env = append(append(os.Environ(), "PORT=0", "LOG_FORMAT=json"), env...)
	log, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := process.Wait(); err != nil {
			t.Error(err)
		}
	})
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var record struct{ GraphQL string }
		if err := json.Unmarshal(lines.Bytes(), &record); err == nil && record.GraphQL != "" {
			go io.Copy(io.Discard, log) //nolint:errcheck // it ends with the process
			return record.GraphQL
		}
	}
	t.Fatal("the service did not say where it listens")
	return ""
}

// npm runs a script of the examples' package and returns what it prints.
func npm(t *testing.T, script string, env ...string) string {
	t.Helper()
	command := exec.Command("npm", "--silent", "run", script)
	command.Dir = "apollo"
	command.Env = append(os.Environ(), env...)
	command.Stderr = t.Output()
	out, err := command.Output()
	if err != nil {
		t.Fatalf("npm run %s: %v\n%s", script, err, out)
	}
	return string(out)
}

func TestApollo(t *testing.T) {
	t.Parallel()
	redistest.NeedProgram(t, "node", "needs Node.js 20 or newer")
	_, err := os.Stat("apollo/node_modules")
	redistest.Need(t, err, "needs make packages")
	npm(t, "build")
	program := build(t)
	t.Run("tomar", func(t *testing.T) {
		t.Parallel()
		testTomar(t, program)
	})
	t.Run("operations", func(t *testing.T) {
		t.Parallel()
		testOperations(t, program)
	})
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		testErrors(t, program)
	})
}

func testTomar(t *testing.T, program string) {
	got := npm(t, "start", "GRAPHQL_URL="+service(t, program))
	got = regexp.MustCompile(`\d{4}-\S+Z`).ReplaceAllString(got, "MOMENT")
	const want = "MK-1335-CW-25238-012 is ours until MOMENT\n" +
		"MK-1335-CW-25238-012 is held by MR(93) until MOMENT\n"
	if got != want {
		t.Fatalf("the client prints\n%s, want\n%s", got, want)
	}
}

// Every root field of the schema is answered in every way of sending it.
func testOperations(t *testing.T, program string) {
	out := npm(t, "operations", "GRAPHQL_URL="+service(t, program, "REDIS_URL="+redistest.Start(t).URL))
	var answered map[string][]string
	if err := json.Unmarshal([]byte(out), &answered); err != nil {
		t.Fatal(err)
	}
	schema := graph.NewSchema(nil, nil, nil).Schema()
	operations := fields(schema.Query, schema.Mutation)
	for way, want := range map[string][]string{
		"POST": operations, "APQ": operations, "GET": operations, "SUBSCRIPTION": fields(schema.Subscription),
	} {
		if !slices.Equal(answered[way], want) {
			t.Errorf("by %s, %v are answered, of %v", way, answered[way], want)
		}
	}
}

// fields are the names of all fields of the types, sorted. A schema has no type for
// what it does not offer.
func fields(types ...*ast.Definition) (names []string) {
	for _, definition := range types {
		if definition == nil {
			continue
		}
		for _, field := range definition.Fields {
			if !strings.HasPrefix(field.Name, "__") {
				names = append(names, field.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Every code that the service has is met, and the extensions beside it are read.
func testErrors(t *testing.T, program string) {
	server := redistest.Start(t)
	other := server.Client()
	defer other.Close() //nolint:errcheck // a client of the test
	if err := errors.Join(
		other.Set(t.Context(), "spool_lock:FOREIGN", "95:1f0c7a52-6a55-4c0b-9f4e-2b7f2f7f3b10", 0).Err(),
		other.LPush(t.Context(), "spool_lock:BROKEN", "x").Err(),
	); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	proxy := redistest.StartProxy(t, server.Addr, func(request []byte) bool {
		if bytes.Contains(request, []byte("spool_lock:SLOW")) {
			<-end
		}
		return bytes.Contains(request, []byte("spool_lock:LOST"))
	})
	defer close(end)
	gone := redistest.Start(t)
	gone.Kill()

	out := npm(t, "errors",
		"GRAPHQL_URL="+service(t, program, "REDIS_URL="+proxy.URL,
			"TRUSTED_PROXIES=127.0.0.1", "MAX_CONNECTIONS_PER_ADDRESS=1",
			// SLOW is to be slower than any machine that runs this.
			"REDIS_OPERATION_TIMEOUT_MS=60000", "REQUEST_TIMEOUT_SECONDS=60"),
		"DOWN_GRAPHQL_URL="+service(t, program, "REDIS_URL="+gone.URL))
	var read map[string][]string
	if err := json.Unmarshal([]byte(out), &read); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(read)), codes(t); !slices.Equal(got, want) {
		t.Errorf("the client has met\n%v, of\n%v", got, want)
	}
}

// codes are the values of the constants in package graph that begin with Code, and
// gqlgen's own two codes, sorted.
func codes(t *testing.T) []string {
	t.Helper()
	found := []string{errcode.ParseFailed, errcode.ValidationFailed}
	sources, err := filepath.Glob("../graph/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		goast.Inspect(file, func(node goast.Node) bool {
			spec, ok := node.(*goast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
				return true
			}
			code, err := strconv.Unquote(spec.Values[0].(*goast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, code)
			return false
		})
	}
	slices.Sort(found)
	return found
}

// The README shows the client as it is.
func TestReadmeShowsTheClient(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	client, err := os.ReadFile("apollo/tomar.ts")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```ts\n"+string(client)+"```") {
		t.Fatal("README.md does not hold examples/apollo/tomar.ts")
	}
}
