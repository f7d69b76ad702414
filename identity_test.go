package main

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"spoollock/auth"
	"spoollock/auth/authtest"
	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/testwait"
)

// postAs sends a request with a credential, and returns its status and body.
func postAs(t *testing.T, url, credential, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graphql", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if credential != "" {
		request.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

const (
	takeOwn = `{"query":"mutation{tomarSpool(input:{tagSpool:\"MK-1\"}){lock{ownerId ownerName}}}"}`
	takeFor = `{"query":"mutation{tomarSpool(input:{tagSpool:\"MK-2\",workerId:\"acme.7\",workerNombre:\"Seven\"}){lock{ownerId ownerName}}}"}`
)

// newCredential makes a key by the command, as an operator does.
func newCredential(t *testing.T, file string) string {
	t.Helper()
	var out bytes.Buffer
	if err := auth.KeysCommand([]string{"new", "-file", file, "-namespace", "acme", "-name", "Acme Pipes"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// The program knows its callers by keys and by tokens, and lets nobody else in.
func TestIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keysFile := filepath.Join(dir, "keys.json")
	credential := newCredential(t, keysFile)
	provider := authtest.New(t)
	caller := lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleWorker}
	elsewhere := authtest.Claims(caller)
	elsewhere["aud"] = "others"
	good, other := provider.Token(caller), provider.Sign(nil, elsewhere)
	tokens := provider.Env()
	keys := map[string]string{"AUTH_KEYS_FILE": keysFile}
	for mode, variables := range map[string][]map[string]string{
		"jwt": {tokens}, "keys": {keys}, "jwt,keys": {tokens, keys},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"REDIS_URL": redisurl.EmbeddedText, "HOST": "127.0.0.1"}
			for _, some := range variables {
				maps.Copy(env, some)
			}
			env["AUTH_MODE"] = mode
			url, log := start(t, env)
			for _, wrong := range []string{"", "wrong", other, credential + "x"} {
				if status, body := postAs(t, url, wrong, takeOwn); status != http.StatusUnauthorized || !strings.Contains(body, "UNAUTHENTICATED") {
					t.Errorf("%q is answered %d %s", wrong, status, body)
				}
			}
			log.Find(t, "a credential is refused")
			if env["AUTH_JWKS"] != "" {
				if status, body := postAs(t, url, good, takeOwn); status != 200 || !strings.Contains(body, `{"ownerId":"93","ownerName":"MR(93)"}`) {
					t.Errorf("a token is answered %d %s", status, body)
				}
				if status, body := postAs(t, url, good, takeFor); status != 200 || !strings.Contains(body, `"message":"The caller is not worker acme.7, and may not act as that worker."`) ||
					!strings.Contains(body, `"extensions":{"code":"FORBIDDEN"}`) {
					t.Errorf("a token for another is answered %d %s", status, body)
				}
			}
			if env["AUTH_KEYS_FILE"] != "" {
				if status, body := postAs(t, url, credential, takeFor); status != 200 || !strings.Contains(body, `{"ownerId":"acme.7","ownerName":"Seven"}`) {
					t.Errorf("a key is answered %d %s", status, body)
				}
			}
			response, err := client.Get(url + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if !strings.Contains(string(body), `"auth":"`+mode+`"`) {
				t.Errorf("readiness is %s", body)
			}
			for _, secret := range []string{good, other, credential} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log has a credential:\n%s", log)
				}
			}
		})
	}
}

var (
	makesKey     = regexp.MustCompile(`(?m)^(?:(\w+)=\$\()?go run \. keys (new -file keys\.json .*?)\)?$`)
	startsAtAll  = regexp.MustCompile(`(?m)^(AUTH_MODE=keys .*) go run \. (-dev)$`)
	word         = regexp.MustCompile(`"[^"]*"|\S+`)
	shownVersion = regexp.MustCompile(`\b1\d{12}\b`)
)

// makeKeys makes the keys of a document by its commands, into the file, and returns the
// credentials by their variables.
func makeKeys(t *testing.T, document, file string) map[string]string {
	t.Helper()
	text := readFile(t, document)
	credentials := map[string]string{}
	for _, command := range makesKey.FindAllStringSubmatch(text, -1) {
		var args []string
		for _, arg := range word.FindAllString(strings.ReplaceAll(command[2], "keys.json", file), -1) {
			args = append(args, strings.Trim(arg, `"`))
		}
		var out bytes.Buffer
		if err := auth.KeysCommand(args, &out, io.Discard); err != nil {
			t.Fatalf("%s: %v", command[0], err)
		}
		credentials[command[1]] = strings.TrimSpace(out.String())
	}
	if made := strings.Count(text, "\ngo run . keys new ") + strings.Count(text, "$(go run . keys new "); made != len(credentials) {
		t.Fatalf("%d keys are made by %s, of %d", len(credentials), document, made)
	}
	return credentials
}

// What API.md does with keys is answered as it says.
func TestDocumentedRequestsWithKeys(t *testing.T) {
	t.Parallel()
	all := documents(t)
	api := all[slices.IndexFunc(all, func(d document) bool { return d.name == "docs/API.md" })]
	file := filepath.Join(t.TempDir(), "keys.json")
	credentials := makeKeys(t, api.name, file)
	started, requests := startsAtAll.FindStringSubmatch(api.text), api.requests(t, "8081")
	if started == nil || len(requests) == 0 {
		t.Fatalf("%s has %d such requests, and the start %q", api.name, len(requests), started)
	}
	env := map[string]string{}
	for assignment := range strings.FieldsSeq(strings.ReplaceAll(started[1], "keys.json", file)) {
		name, value, _ := strings.Cut(assignment, "=")
		env[name] = value
	}
	env["PORT"] = "0"
	url, log := start(t, env, started[2])
	var replaced []string // each version that the document shows, by the real one
	for _, shown := range requests {
		header, body, want := shown.header, strings.NewReplacer(replaced...).Replace(shown.body), shown.answer
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graphql", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		status := http.StatusUnauthorized
		if name, value, ok := strings.Cut(header, ": "); ok {
			status = http.StatusOK
			request.Header.Set(name, os.Expand(value, func(variable string) string { return credentials[variable] }))
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != status || !reflect.DeepEqual(comparable(t, string(got)), comparable(t, want)) {
			t.Fatalf("%s %s\nis answered %s\n%s, %v, want\n%s", header, body, response.Status, got, err, want)
		}
		answered := shownVersion.FindAllString(string(got), -1)
		for i, version := range shownVersion.FindAllString(want, -1) {
			replaced = append(replaced, version, answered[i])
		}
	}
	for _, credential := range credentials {
		if strings.Contains(log.String(), credential) {
			t.Errorf("the log has a credential:\n%s", log)
		}
	}
}

// The key that docs/SECURITY.md makes is one.
func TestKeyOfTheDocumentation(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	credentials := makeKeys(t, "docs/SECURITY.md", file)
	keys, err := auth.LoadKeys(t.Context(), file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := keys.Identify(t.Context(), credentials[""])
	if want := (lock.Caller{Worker: lock.Worker{ID: "acme", Name: "Acme Pipes"}, Role: lock.RolePartner}); err != nil || identity.Caller != want {
		t.Errorf("the key is of %+v, %v", identity.Caller, err)
	}
}

// Where there was no key set of the issuer yet, tokens are answered 503, and keys work.
func TestKeySetThatIsMissing(t *testing.T) {
	t.Parallel()
	provider := authtest.New(t)
	token := provider.Token(lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleWorker})
	keysFile := filepath.Join(t.TempDir(), "keys.json")
	credential := newCredential(t, keysFile)
	for mode, want := range map[string]struct {
		status    int
		readiness string
	}{"jwt": {503, "not ready"}, "jwt,keys": {200, "degraded"}} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var there atomic.Bool
			issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !there.Load() {
					http.Error(w, "away", http.StatusBadGateway)
					return
				}
				if r.URL.Path != "/keys" { // which is followed
					http.Redirect(w, r, "/keys", http.StatusFound)
					return
				}
				http.ServeFile(w, r, provider.Env()["AUTH_JWKS"])
			}))
			t.Cleanup(issuer.Close)
			env := provider.Env()
			env["REDIS_URL"], env["HOST"], env["AUTH_MODE"], env["AUTH_JWKS"] = redisurl.EmbeddedText, "127.0.0.1", mode, issuer.URL
			if mode != "jwt" {
				env["AUTH_KEYS_FILE"] = keysFile
			}
			url, log := start(t, env)
			log.Find(t, "cannot be fetched")
			if status, body := postAs(t, url, token, takeOwn); status != 503 || !strings.Contains(body, `"extensions":{"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryable":true}`) {
				t.Errorf("a token is answered %d %s", status, body)
			}
			if status, body := postAs(t, url, "wrong", takeOwn); status != 401 {
				t.Errorf("what is no token is answered %d %s", status, body)
			}
			awaitReadiness(t, url, want.status, want.readiness, "keySet")
			if state := readinessOf(t, url).Checks["keySet"]; state != "missing" {
				t.Errorf("the key set is %s", state)
			}
			if _, body := get(t, url+"/metrics"); !strings.Contains(body, "\nspoollock_key_set_age_seconds +Inf\n") || !strings.Contains(body, "\nspoollock_check_failing{check=\"keySet\"} 1\n") {
				t.Errorf("the metrics are %s", body)
			}
			if status, body := postAs(t, url, credential, takeFor); (status == 200) != (mode != "jwt") {
				t.Errorf("a key is answered %d %s", status, body)
			}
			there.Store(true)
			testwait.Until(t, "the token is accepted", func() bool {
				status, _ := postAs(t, url, token, takeOwn)
				return status == 200
			})
			awaitReadiness(t, url, 200, "ready")
			if state := readinessOf(t, url).Checks["keySet"]; state != "ok" {
				t.Errorf("with the key set, it is %s", state)
			}
		})
	}
}

// A file of keys that cannot be read is seen in the readiness, and the keys work.
func TestKeysFileThatBreaks(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.json")
	credential := newCredential(t, file)
	url, _ := start(t, map[string]string{
		"REDIS_URL": redisurl.EmbeddedText, "HOST": "127.0.0.1", "AUTH_MODE": "keys", "AUTH_KEYS_FILE": file,
	})
	if err := os.WriteFile(file, []byte(`{"keys":[]}x`), 0o600); err != nil {
		t.Fatal(err)
	}
	awaitReadiness(t, url, 200, "degraded", "keysFile")
	if state := readinessOf(t, url).Checks["keysFile"]; state != "stale" {
		t.Errorf("the file of keys is %s", state)
	}
	if status, body := postAs(t, url, credential, takeFor); status != 200 || !strings.Contains(body, "acme.7") {
		t.Errorf("a key is answered %d %s", status, body)
	}
}
