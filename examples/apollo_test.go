// Package examples_test runs the clients that partners copy.
package examples_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"spoollock/repository/redistest"
)

// service builds the service, starts it on a free port as go run . -dev does,
// and returns its GraphQL URL.
func service(t *testing.T) (url string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "spoollock")
	if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	process := exec.Command(binary, "-dev")
	process.Env = append(os.Environ(), "PORT=0", "LOG_FORMAT=json")
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

func TestApollo(t *testing.T) {
	t.Parallel()
	redistest.NeedProgram(t, "node", "needs Node.js 20 or newer")
	_, err := os.Stat("apollo/node_modules")
	redistest.Need(t, err, "needs make packages")

	npm := func(script string, env ...string) string {
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
	npm("build")
	got := npm("start", "GRAPHQL_URL="+service(t))
	got = regexp.MustCompile(`\d{4}-\S+Z`).ReplaceAllString(got, "MOMENT")
	const want = "MK-1335-CW-25238-012 is ours until MOMENT\n" +
		"MK-1335-CW-25238-012 is held by MR(93) until MOMENT\n"
	if got != want {
		t.Fatalf("the client prints\n%s, want\n%s", got, want)
	}
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
