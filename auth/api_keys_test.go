package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"spoollock/auth"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func acme(expires time.Duration) auth.Key {
	return auth.Key{Namespace: "acme", Name: "Acme Pipes", Scopes: []lock.Role{"VIEWER", "PARTNER"}, Expires: time.Now().Add(expires)}
}

// loadKeys loads a file of keys, which is read again until the test ends.
func loadKeys(t *testing.T, file string, log *slog.Logger) (*auth.Keys, error) {
	t.Helper()
	return auth.LoadKeys(t.Context(), file, log)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	first := must(auth.AddKey(file, acme(time.Hour)))
	log := redistest.NewLog(t)
	keys := must(loadKeys(t, file, log.Logger()))
	ctx := testwait.Context(t)
	identity, err := keys.Identify(ctx, first)
	if want := (lock.Caller{Worker: lock.Worker{ID: "acme", Name: "Acme Pipes"}, Role: lock.RolePartner}); err != nil || identity.Caller != want {
		t.Fatalf("%+v, %v", identity, err)
	}
	text := string(must(os.ReadFile(file)))
	id, secret, _ := strings.Cut(first, ".")
	if strings.Contains(text, secret) || !strings.Contains(text, id) {
		t.Errorf("the file is %s", text)
	}
	if info := must(os.Stat(file)); info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
	for _, wrong := range []string{"", ".", id, id + ".", id + "." + secret + "x", id + "." + secret[1:], "x." + secret, secret, strings.ToUpper(id) + "." + secret} {
		if identity, err := keys.Identify(ctx, wrong); !errors.Is(err, auth.ErrRefused) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %+v, %v", wrong, identity, err)
		}
	}

	// The next key is known without a restart, beside the first one.
	second := must(auth.AddKey(file, acme(time.Hour)))
	good := func(credential string) bool {
		_, err := keys.Identify(ctx, credential)
		return err == nil
	}
	testwait.Until(t, "the next key is known", func() bool { return good(second) })
	if _, err := keys.Identify(ctx, first); err != nil {
		t.Errorf("beside the next key, the first one is refused: %v", err)
	}
	if _, err := auth.AddKey(file, acme(time.Hour)); err == nil {
		t.Error("a third key lives beside two")
	}

	// A file that cannot be read changes nothing.
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the log says that the file cannot be read", func() bool {
		if _, err := keys.Identify(ctx, second); err != nil {
			t.Fatalf("a broken file takes the keys away: %v", err)
		}
		return strings.Contains(log.String(), "cannot be read")
	})

	// A key that is taken out is refused.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	third := must(auth.AddKey(file, acme(time.Hour)))
	testwait.Until(t, "a key that was taken out is refused", func() bool { return !good(first) })
	if _, err := keys.Identify(ctx, third); err != nil {
		t.Error(err)
	}
}

func TestKeysThatHaveEnded(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	ended := must(auth.AddKey(file, acme(-time.Second)))
	must(auth.AddKey(file, acme(-time.Second)))
	live := must(auth.AddKey(file, acme(time.Hour)))
	keys := must(loadKeys(t, file, quiet))
	if _, err := keys.Identify(t.Context(), ended); !errors.Is(err, auth.ErrRefused) || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("a key that has ended: %v", err)
	}
	if identity, err := keys.Identify(t.Context(), live); err != nil || identity.Expires.IsZero() {
		t.Errorf("%+v, %v", identity, err)
	}
}

func TestFilesOfKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	good := acme(time.Hour)
	good.ID, good.SHA256 = "acme-1", strings.Repeat("0", 64)
	file := func(keys ...auth.Key) string { return string(must(json.Marshal(map[string]any{"keys": keys}))) }
	with := func(change func(*auth.Key)) string {
		key := good
		change(&key)
		return file(key)
	}
	other := func(id string) auth.Key { key := good; key.ID = id; return key }
	for name, content := range map[string]string{
		"no JSON":         "keys",
		"a field unknown": `{"keys":[],"secret":"x"}`,
		"nothing":         "",
		"null":            "null",
		"no keys":         "{}",
		"keys of null":    `{"keys":null}`,
		"trailing text":   file(good) + "x",
		"two objects":     file(good) + file(),
		"keys twice":      `{"keys":[],"keys":[]}`,
		"a name twice":    strings.Replace(file(good), `"id":`, `"name":"x","id":`, 1),
		"too large":       file(good) + strings.Repeat(" ", 1<<20),
		"a dot in an id":  with(func(k *auth.Key) { k.ID = "a.b" }),
		"no id":           with(func(k *auth.Key) { k.ID = "" }),
		"no digest":       with(func(k *auth.Key) { k.SHA256 = "" }),
		"half a digest":   with(func(k *auth.Key) { k.SHA256 = k.SHA256[:32] }),
		"no scope":        with(func(k *auth.Key) { k.Scopes = nil }),
		"no role":         with(func(k *auth.Key) { k.Scopes = []lock.Role{"ROOT"} }),
		"a dotted name":   with(func(k *auth.Key) { k.Namespace = "acme.eu" }),
		"the unknown":     with(func(k *auth.Key) { k.Namespace = "unknown" }),
		"no namespace":    with(func(k *auth.Key) { k.Namespace = "" }),
		"no name":         with(func(k *auth.Key) { k.Name = "" }),
		"an id twice":     file(good, good),
		"three of one":    file(good, other("acme-2"), other("acme-3")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := loadKeys(t, path, quiet); err == nil {
				t.Errorf("%s is read", content)
			}
		})
	}
	if _, err := loadKeys(t, filepath.Join(t.TempDir(), "none"), quiet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file gives %v", err)
	}
}

// A token is for nobody who has a key, nor for a partner's worker.
func TestTokensOrKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	key := must(auth.AddKey(file, acme(time.Hour)))
	keys := must(loadKeys(t, file, quiet))
	either := func(token lock.WorkerID) auth.Identify {
		return auth.TokensOrKeys(auth.Static(lock.Caller{Worker: lock.Worker{ID: token}}), keys)
	}
	for _, credential := range []string{"a.b.c", "", "a"} {
		if identity, err := either("93")(t.Context(), credential); err != nil || identity.Worker.ID != "93" {
			t.Errorf("%q stands for %s, %v", credential, identity.Worker.ID, err)
		}
	}
	if identity, err := either("93")(t.Context(), key); err != nil || identity.Worker.ID != "acme" {
		t.Errorf("the key stands for %s, %v", identity.Worker.ID, err)
	}
	for worker, refused := range map[lock.WorkerID]bool{
		"acme": true, "acme.7": true, "acme.7.x": true, "acme7": false, "acm": false, "ACME": false, "7.acme": false,
	} {
		if _, err := either(worker)(t.Context(), "a.b.c"); errors.Is(err, auth.ErrRefused) != refused {
			t.Errorf("a token of %s gets %v", worker, err)
		}
	}
}

// A file that could not be read is read when it can be, though it looks as it did.
func TestKeysThatCouldNotBeRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	credential := must(auth.AddKey(file, acme(time.Hour)))
	log := redistest.NewLog(t)
	keys := must(loadKeys(t, file, log.Logger()))
	ctx := testwait.Context(t)
	known := func() bool {
		_, err := keys.Identify(ctx, credential)
		return err == nil
	}
	set := func(text string) {
		t.Helper()
		moment := time.Now().Truncate(time.Hour)
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, moment, moment)); err != nil {
			t.Fatal(err)
		}
	}
	set(`{"keys": [}`)
	testwait.Until(t, "the log says so", func() bool { return known() && strings.Contains(log.String(), "cannot be read") })
	set(`{"keys":[]}`)
	testwait.Until(t, "a key that was taken out is refused", func() bool { return !known() })
	if strings.Count(log.String(), "cannot be read") != 1 {
		t.Errorf("the log is %s", log)
	}
}

// What is written by other programs is read all the same: a byte order mark and CRLF.
func TestKeysOfAnotherEditor(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	credential := must(auth.AddKey(file, acme(time.Hour)))
	text := strings.ReplaceAll(string(must(os.ReadFile(file))), "\n", "\r\n")
	write(t, file, "\ufeff"+text)
	keys := must(loadKeys(t, file, quiet))
	if _, err := keys.Identify(t.Context(), credential); err != nil {
		t.Errorf("a byte order mark and CRLF: %v", err)
	}
	write(t, file, "\ufeff{\"keys\":[]}\r\n")
	testwait.Until(t, "a key that was taken out is refused", func() bool {
		_, err := keys.Identify(t.Context(), credential)
		return err != nil
	})
	if _, err := auth.AddKey(file, acme(time.Hour)); err != nil {
		t.Errorf("a key is added to a file with a byte order mark: %v", err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil { //nolint:gosec // a file of the test
		t.Fatal(err)
	}
}

// A change counts though size and time of the file are as they were.
func TestKeysThatChangeInPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "keys.json")
	key := acme(time.Hour)
	key.Expires = key.Expires.Truncate(time.Second)
	first, second := must(auth.AddKey(file, key)), must(auth.AddKey(filepath.Join(dir, "next.json"), key))
	text, next := string(must(os.ReadFile(file))), string(must(os.ReadFile(filepath.Join(dir, "next.json"))))
	if len(text) != len(next) {
		t.Fatalf("the files have %d and %d bytes", len(text), len(next))
	}
	moment := time.Now().Truncate(time.Hour)
	set := func(text string) {
		write(t, file, text)
		if err := os.Chtimes(file, moment, moment); err != nil {
			t.Fatal(err)
		}
	}
	set(text)
	keys := must(loadKeys(t, file, quiet))
	if _, err := keys.Identify(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	set(next)
	testwait.Until(t, "the next key is known, and the first refused", func() bool {
		_, err := keys.Identify(t.Context(), second)
		_, refused := keys.Identify(t.Context(), first)
		return err == nil && errors.Is(refused, auth.ErrRefused)
	})
}

// A file that has become a named pipe holds up no caller, and the keys are as they were.
func TestKeysOfANamedPipe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	credential := must(auth.AddKey(file, acme(time.Hour)))
	log := redistest.NewLog(t)
	keys := must(loadKeys(t, file, log.Logger()))
	pipe := file + ".pipe"
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Rename(pipe, file)); err != nil {
		t.Fatal(err)
	}
	// What hangs at the pipe is let go when the test ends.
	t.Cleanup(func() {
		if writer, err := os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = writer.Close()
		}
	})
	answered := make(chan error, 1)
	go func() {
		var err error
		for err == nil && !strings.Contains(log.String(), "is not a regular file") {
			time.Sleep(5 * time.Millisecond)
			_, err = keys.Identify(context.Background(), credential)
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("a named pipe takes the keys away: %v", err)
		}
	case <-time.After(testwait.Patience / 4):
		t.Fatal("callers wait for a named pipe")
	}
	added := make(chan error, 1)
	go func() {
		_, err := auth.AddKey(file, acme(time.Hour))
		added <- err
	}()
	select {
	case err := <-added:
		if err == nil {
			t.Error("a key is added to a named pipe")
		}
	case <-time.After(testwait.Patience / 4):
		t.Fatal("keys new waits for a named pipe")
	}
}

// The log warns of a file whose mode lets others write it, or read it.
func TestModesOfKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	must(auth.AddKey(file, acme(time.Hour)))
	log := redistest.NewLog(t)
	must(loadKeys(t, file, log.Logger()))
	for mode, want := range map[os.FileMode]string{0o644: "can be read by others", 0o602: "can be written by others"} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		log.Find(t, want)
	}
}

// Of keys that are made by several processes at once, none is lost.
func TestKeysCommandInParallel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "keys.json")
	link := filepath.Join(dir, "link.json") // through which some of them come
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	must(auth.AddKey(file, acme(time.Hour)))
	const n = 12
	outputs, running := make([]strings.Builder, n), make([]*exec.Cmd, n)
	for i := range n {
		name := []string{file, link}[i%2]
		running[i] = exec.Command(os.Args[0], "new", "-file", name, "-namespace", fmt.Sprintf("n%d", i), "-name", "N") //nolint:gosec // it is this test
		running[i].Env = append(os.Environ(), asKeysCommand+"=1")
		running[i].Stdout = &outputs[i]
		if err := running[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range running {
		if err := command.Wait(); err != nil {
			t.Errorf("keys new: %v", err)
		}
	}
	keys := must(loadKeys(t, file, quiet))
	for i := range n {
		if _, err := keys.Identify(t.Context(), strings.TrimSpace(outputs[i].String())); err != nil {
			t.Errorf("of %d keys, number %d: %v", n, i, err)
		}
	}
}
