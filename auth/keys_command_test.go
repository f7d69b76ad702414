package auth_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"spoollock/auth"
	"spoollock/lock"
)

// The credential is all that goes to standard output, and it is good.
func TestKeysCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	var stdout, help bytes.Buffer
	args := []string{"new", "-file", file, "-namespace", "acme", "-name", "Acme Pipes", "-scope", "WORKER", "-days", "2"}
	if err := auth.KeysCommand(args, &stdout, &help); err != nil {
		t.Fatal(err)
	}
	credential, rest, _ := strings.Cut(stdout.String(), "\n")
	if rest != "" || help.String() != "This is shown once. Send it as Authorization: Bearer …, or as X-API-Key.\n" {
		t.Errorf("after the credential comes %q, and the help is %q", rest, help.String())
	}
	identity, err := must(loadKeys(t, file, quiet)).Identify(t.Context(), credential)
	if want := (lock.Caller{Worker: lock.Worker{ID: "acme", Name: "Acme Pipes"}, Role: lock.RoleWorker}); err != nil || identity.Caller != want {
		t.Errorf("the key is of %+v, %v", identity.Caller, err)
	}
}

func TestKeysCommandShowsItsUsage(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"nothing": nil, "another word": {"old"}, "-h": {"new", "-h"}} {
		var stdout, help bytes.Buffer
		err := auth.KeysCommand(args, &stdout, &help)
		if err != nil || stdout.Len() > 0 || !strings.HasPrefix(help.String(), "Usage: spoollock keys new -file FILE") {
			t.Errorf("%s: %v, %q, %q", name, err, stdout.String(), help.String())
		}
	}
}

func TestKeysCommandRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	for name, args := range map[string][]string{
		"no file":         {"new", "-namespace", "acme", "-name", "x"},
		"a dot":           {"new", "-file", file, "-namespace", "a.b", "-name", "x"},
		"the unknown":     {"new", "-file", file, "-namespace", "unknown", "-name", "x"},
		"no days":         {"new", "-file", file, "-namespace", "b", "-name", "x", "-days", "0"},
		"ten years":       {"new", "-file", file, "-namespace", "b", "-name", "x", "-days", "3651"},
		"no role":         {"new", "-file", file, "-namespace", "b", "-name", "x", "-scope", "BOSS"},
		"an unknown flag": {"new", "-file", file, "-forever"},
		"words":           {"new", "now"},
	} {
		var stdout bytes.Buffer
		if err := auth.KeysCommand(args, &stdout, &bytes.Buffer{}); err == nil || stdout.Len() > 0 {
			t.Errorf("%s: a key is made, %q", name, stdout.String())
		}
	}
}
