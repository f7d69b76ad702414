package auth_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
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

func TestKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	first := must(auth.AddKey(file, acme(time.Hour)))
	log := redistest.NewLog(t)
	keys := must(auth.LoadKeys(file, log.Logger()))
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
	keys := must(auth.LoadKeys(file, quiet))
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
			if _, err := auth.LoadKeys(path, quiet); err == nil {
				t.Errorf("%s is read", content)
			}
		})
	}
	if _, err := auth.LoadKeys(filepath.Join(t.TempDir(), "none"), quiet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file gives %v", err)
	}
}

// A token is for nobody who has a key, nor for a partner's worker.
func TestTokensOrKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	key := must(auth.AddKey(file, acme(time.Hour)))
	keys := must(auth.LoadKeys(file, quiet))
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
	keys := must(auth.LoadKeys(file, log.Logger()))
	ctx := testwait.Context(t)
	known := func() bool {
		_, err := keys.Identify(ctx, credential)
		return err == nil
	}
	write := func(text string) {
		t.Helper()
		moment := time.Now().Truncate(time.Hour)
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, moment, moment)); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"keys": [}`)
	testwait.Until(t, "the log says so", func() bool { return known() && strings.Contains(log.String(), "cannot be read") })
	write(`{"keys":[]}`)
	testwait.Until(t, "a key that was taken out is refused", func() bool { return !known() })
	if strings.Count(log.String(), "cannot be read") != 1 {
		t.Errorf("the log is %s", log)
	}
}
