//go:build faults

package faults_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"spoollock/faults"
	"spoollock/lock"
)

// issuer says of callers who they are, by tokens.
type issuer struct {
	env     []string // of a service that believes it
	admin   string   // the credential of an administrator, who acts for all workers
	private ed25519.PrivateKey
}

// newIssuer leaves its key in the directory.
func newIssuer(dir string) (*issuer, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "kid": "1", "alg": "EdDSA", "use": "sig", "x": base64.RawURLEncoding.EncodeToString(public),
	}}})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "jwks.json")
	i := &issuer{
		env:     []string{"AUTH_MODE=jwt", "AUTH_JWKS=" + file, "AUTH_ISSUER=https://id.example", "AUTH_AUDIENCE=spools"},
		private: private,
	}
	i.admin = i.credential("boss", lock.RoleAdmin)
	return i, os.WriteFile(file, set, 0o600)
}

func (i *issuer) credential(worker string, role lock.Role) string {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://id.example", "aud": "spools", "exp": time.Now().Add(24 * time.Hour).Unix(), "sub": worker, "roles": []string{string(role)},
	})
	token.Header["kid"] = "1"
	signed, err := token.SignedString(i.private)
	if err != nil {
		panic(err) // the key is its own
	}
	return signed
}

// credentialFor is what an operation is sent with: a resume is for the worker alone, and
// everything else is sent on behalf of all workers, by an administrator.
func credentialFor(o *faults.Operation) string {
	if o.Kind == faults.Resume {
		return callers.credential(o.Owner(), lock.RoleWorker)
	}
	return callers.admin
}
