package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"spoollock/repository"
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
	if err := makeKey([]string{"new", "-file", file, "-namespace", "acme", "-name", "Acme Pipes"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// The program knows its callers by keys and by tokens, and lets nobody else in.
func TestIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keysFile, jwks := filepath.Join(dir, "keys.json"), filepath.Join(dir, "jwks.json")
	credential := newCredential(t, keysFile)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "kid": "1", "alg": "EdDSA", "use": "sig", "x": base64.RawURLEncoding.EncodeToString(public),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(jwks, set, 0o600); err != nil {
		t.Fatal(err)
	}
	token := func(audience string) string {
		token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"iss": "https://id.example", "aud": audience, "exp": time.Now().Add(time.Hour).Unix(),
			"sub": "93", "name": "MR(93)", "roles": []string{"WORKER"},
		})
		token.Header["kid"] = "1"
		signed, err := token.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good, other := token("spools"), token("others")
	tokens := map[string]string{"AUTH_JWKS": jwks, "AUTH_ISSUER": "https://id.example", "AUTH_AUDIENCE": "spools"}
	keys := map[string]string{"AUTH_KEYS_FILE": keysFile}
	for mode, variables := range map[string][]map[string]string{
		"jwt": {tokens}, "keys": {keys}, "jwt,keys": {tokens, keys},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{"AUTH_MODE": mode, "REDIS_URL": repository.EmbeddedURL, "HOST": "127.0.0.1"}
			for _, some := range variables {
				maps.Copy(env, some)
			}
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
				if status, body := postAs(t, url, good, takeFor); status != 200 || !strings.Contains(body, `"code":"FORBIDDEN","required":"ADMIN"`) {
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
	for name, args := range map[string][]string{
		"no file": {"new", "-namespace", "acme", "-name", "x"}, "a dot": {"new", "-file", keysFile, "-namespace", "a.b", "-name", "x"},
		"no days": {"new", "-file", keysFile, "-namespace", "b", "-name", "x", "-days", "0"}, "words": {"new", "now"},
	} {
		if err := makeKey(args, io.Discard, io.Discard); err == nil {
			t.Errorf("%s: a key is made", name)
		}
	}
}
