// Package authtest is an OpenID Connect provider for tests.
package authtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"spoollock/auth"
	"spoollock/lock"
)

// The issuer and the audience of its tokens, and the name of its key.
const (
	issuer   = "https://id.example"
	audience = "spools"
	kid      = "1"
)

// Provider signs tokens.
type Provider struct {
	file string // of its keys, for AUTH_JWKS
	key  ed25519.PrivateKey
}

// New returns a Provider with a key of its own.
func New(t testing.TB) *Provider {
	t.Helper()
	p, err := NewIn(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// NewIn returns a Provider whose public key is in the directory.
func NewIn(dir string) (*Provider, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	p := &Provider{file: filepath.Join(dir, "jwks.json"), key: private}
	keys := encode(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "use": "sig", "x": base64.RawURLEncoding.EncodeToString(public),
	}}})
	return p, os.WriteFile(p.file, keys, 0o600)
}

func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // what tests sign can be encoded
	}
	return text
}

// Env has a service know callers by the tokens.
func (p *Provider) Env() map[string]string {
	return map[string]string{"AUTH_MODE": "jwt", "AUTH_JWKS": p.file, "AUTH_ISSUER": issuer, "AUTH_AUDIENCE": audience}
}

// JWT knows callers by the tokens.
func (p *Provider) JWT(t testing.TB) *auth.JWT {
	t.Helper()
	tokens, err := auth.NewJWT(t.Context(), auth.JWTConfig{
		Keys: p.file, Issuer: issuer, Audience: audience, WorkerIDClaim: "sub", NameClaim: "name", RolesClaim: "roles",
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// Token is the caller's for an hour.
func (p *Provider) Token(caller lock.Caller) string {
	return p.Sign(nil, Claims(caller))
}

// Claims are those of the caller's token.
func Claims(caller lock.Caller) map[string]any {
	return map[string]any{
		"iss": issuer, "aud": audience, "exp": time.Now().Add(time.Hour).Unix(),
		"sub": caller.Worker.ID, "name": caller.Worker.Name, "roles": []lock.Role{caller.Role},
	}
}

// Sign returns a token of any claims, whose header has more, or other members than it
// should have.
func (p *Provider) Sign(header map[string]any, claims any) string {
	all := map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": kid}
	for name, value := range header {
		all[name] = value
	}
	signed := base64.RawURLEncoding.EncodeToString(encode(all)) + "." + base64.RawURLEncoding.EncodeToString(encode(claims))
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(p.key, []byte(signed)))
}
