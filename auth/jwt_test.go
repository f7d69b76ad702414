package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"spoollock/auth"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

const (
	issuer   = "https://id.example"
	audience = "spools"
)

var quiet = slog.New(slog.DiscardHandler)

// signer is a key of the issuer.
type signer struct {
	kid    string
	method jwt.SigningMethod
	key    crypto.Signer
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// The keys are made once, as that takes a while.
var (
	rsaKey   = signer{"rsa", jwt.SigningMethodRS256, must(rsa.GenerateKey(rand.Reader, 2048))}
	otherRSA = signer{"rsa", jwt.SigningMethodRS256, must(rsa.GenerateKey(rand.Reader, 2048))}
	ecKey    = signer{"ec", jwt.SigningMethodES256, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	edKey    = newEd("ed")
)

func newEd(kid string) signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return signer{kid, jwt.SigningMethodEdDSA, must(key, err)}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk is the public half, as RFC 7517 and RFC 8037 have it.
func (s signer) jwk() map[string]string {
	all := map[string]string{"kid": s.kid, "use": "sig", "alg": s.method.Alg()}
	switch key := s.key.Public().(type) {
	case *rsa.PublicKey:
		maps.Copy(all, map[string]string{"kty": "RSA", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())})
	case *ecdsa.PublicKey:
		point := must(key.Bytes())
		maps.Copy(all, map[string]string{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])})
	case ed25519.PublicKey:
		maps.Copy(all, map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(key)})
	}
	return all
}

func set(signers ...signer) []byte {
	var keys []map[string]string
	for _, s := range signers {
		keys = append(keys, s.jwk())
	}
	return must(json.Marshal(map[string]any{"keys": keys}))
}

// claims are those of a good token, changed.
func claims(changes map[string]any) jwt.MapClaims {
	now := time.Now()
	all := jwt.MapClaims{
		"iss": issuer, "aud": audience, "sub": "93", "name": "MR(93)", "roles": []string{"WORKER"},
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

// token is one of those claims, with the header changed.
func (s signer) token(changes, header map[string]any) string {
	token := jwt.NewWithClaims(s.method, claims(changes))
	token.Header["kid"] = s.kid
	for name, value := range header {
		if token.Header[name] = value; value == nil {
			delete(token.Header, name)
		}
	}
	return must(token.SignedString(s.key))
}

func newJWT(t *testing.T, change func(*auth.JWTConfig)) *auth.JWT {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, set(rsaKey, ecKey, edKey), 0o600); err != nil {
		t.Fatal(err)
	}
	config := auth.JWTConfig{
		Keys: file, Issuer: issuer, Audience: audience, WorkerIDClaim: "sub", NameClaim: "name", RolesClaim: "roles",
	}
	change(&config)
	tokens, err := auth.NewJWT(t.Context(), config, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestTokensOfEachMethod(t *testing.T) {
	t.Parallel()
	tokens := newJWT(t, func(*auth.JWTConfig) {})
	for _, s := range []signer{rsaKey, ecKey, edKey} {
		for range 2 { // the second one is not verified again
			identity, err := tokens.Identify(t.Context(), s.token(nil, nil))
			if err != nil || identity.Caller != (lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleWorker}) {
				t.Errorf("%s: %+v, %v", s.kid, identity, err)
			}
			if left := time.Until(identity.Expires); left < time.Hour || left > time.Hour+time.Minute {
				t.Errorf("%s ends in %v", s.kid, left)
			}
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	keycloak := func(c *auth.JWTConfig) {
		c.WorkerIDClaim, c.NameClaim, c.RolesClaim = "employee.id", "https://acme.example/name", "realm_access.roles"
	}
	for name, test := range map[string]struct {
		config  func(*auth.JWTConfig)
		changes map[string]any
		want    lock.Caller
	}{
		"no name":  {func(*auth.JWTConfig) {}, map[string]any{"name": nil}, lock.Caller{Worker: lock.Worker{ID: "93", Name: "93"}, Role: lock.RoleWorker}},
		"no roles": {func(*auth.JWTConfig) {}, map[string]any{"roles": nil}, lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}}},
		"other roles, too": {
			func(*auth.JWTConfig) {}, map[string]any{"roles": []any{"offline_access", "VIEWER", "ADMIN", "WORKER", 7}},
			lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleAdmin},
		},
		"nested": {
			keycloak, map[string]any{
				"employee": map[string]any{"id": "94"}, "https://acme.example/name": "JP",
				"realm_access": map[string]any{"roles": []string{"PARTNER"}},
			},
			lock.Caller{Worker: lock.Worker{ID: "94", Name: "JP"}, Role: lock.RolePartner},
		},
		"one audience of several": {func(*auth.JWTConfig) {}, map[string]any{"aud": []string{"other", audience}}, lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleWorker}},
		"a clock that is behind":  {func(*auth.JWTConfig) {}, map[string]any{"iat": time.Now().Add(20 * time.Second).Unix()}, lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleWorker}},
		"a clock that is ahead":   {func(*auth.JWTConfig) {}, map[string]any{"exp": time.Now().Add(-20 * time.Second).Unix()}, lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleWorker}},
	} {
		t.Run(name, func(t *testing.T) { // not in parallel: some of the times are near
			identity, err := newJWT(t, test.config).Identify(t.Context(), edKey.token(test.changes, nil))
			if err != nil || identity.Caller != test.want {
				t.Errorf("%+v, %v; want %+v", identity.Caller, err, test.want)
			}
		})
	}
}

// unsigned is a token whose header and signature are as they are given.
func unsigned(header map[string]any, signature string) string {
	return encode(must(json.Marshal(header))) + "." + encode(must(json.Marshal(claims(nil)))) + "." + signature
}

// Each is refused, for its own reason.
func TestCraftedTokens(t *testing.T) {
	t.Parallel()
	tokens := newJWT(t, func(*auth.JWTConfig) {})
	public := must(x509.MarshalPKIXPublicKey(rsaKey.key.Public()))
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	hmacWith := func(secret []byte) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(nil))
		token.Header["kid"] = "rsa"
		return must(token.SignedString(secret))
	}
	signedBy := func(method jwt.SigningMethod) string {
		s := rsaKey
		s.method = method
		return s.token(nil, nil)
	}
	good := edKey.token(nil, nil)
	parts := strings.Split(good, ".")
	now := time.Now()
	for name, test := range map[string]struct{ token, reason string }{
		"nothing":                   {"", "none is shown"},
		"no token":                  {"93", "malformed"},
		"two parts":                 {parts[0] + "." + parts[1], "malformed"},
		"five parts":                {good + ".a.b", "malformed"},
		"no JSON":                   {"e30x." + parts[1] + "." + parts[2], "malformed"},
		"padded":                    {parts[0] + "." + parts[1] + "." + parts[2] + "==", "malformed"},
		"none":                      {unsigned(map[string]any{"alg": "none", "kid": "rsa"}, ""), "signing method none is invalid"},
		"None":                      {unsigned(map[string]any{"alg": "None", "kid": "rsa"}, ""), "signing method"},
		"no alg":                    {unsigned(map[string]any{"kid": "rsa"}, parts[2]), "signing method"},
		"HS256 with the public key": {hmacWith(asPEM), "signing method HS256 is invalid"},
		"HS256 with the key as DER": {hmacWith(public), "signing method HS256 is invalid"},
		"RS384":                     {signedBy(jwt.SigningMethodRS384), "signing method RS384 is invalid"},
		"PS256":                     {signedBy(jwt.SigningMethodPS256), "signing method PS256 is invalid"},
		"another's key":             {otherRSA.token(nil, nil), "signature is invalid"},
		"an unknown key":            {newEd("new").token(nil, nil), "key"},
		"no kid":                    {edKey.token(nil, map[string]any{"kid": nil}), "kid"},
		"a kid that is a number":    {edKey.token(nil, map[string]any{"kid": 7}), "kid"},
		"another method's kid":      {edKey.token(nil, map[string]any{"kid": "rsa"}), "alg"},
		"a key in the header":       {newEd("new").token(nil, map[string]any{"jwk": newEd("new").jwk()}), "key"},
		"a URL in the header":       {newEd("new").token(nil, map[string]any{"jku": "https://evil.example"}), "key"},
		"crit":                      {edKey.token(nil, map[string]any{"crit": []string{"exp"}}), "crit"},
		"other claims":              {parts[0] + "." + encode([]byte(`{"sub":"94"}`)) + "." + parts[2], "signature is invalid"},
		"no signature":              {parts[0] + "." + parts[1] + ".", "signature is invalid"},
		"another audience":          {edKey.token(map[string]any{"aud": "others"}, nil), "audience"},
		"no audience":               {edKey.token(map[string]any{"aud": nil}, nil), "aud"},
		"another issuer":            {edKey.token(map[string]any{"iss": issuer + "/"}, nil), "issuer"},
		"no issuer":                 {edKey.token(map[string]any{"iss": nil}, nil), "iss"},
		"no exp":                    {edKey.token(map[string]any{"exp": nil}, nil), "exp"},
		"exp that is a text":        {edKey.token(map[string]any{"exp": "tomorrow"}, nil), "exp"},
		"expired":                   {edKey.token(map[string]any{"exp": now.Add(-31 * time.Second).Unix()}, nil), "expired"},
		"not yet":                   {edKey.token(map[string]any{"nbf": now.Add(time.Minute).Unix()}, nil), "not valid yet"},
		"issued in the future":      {edKey.token(map[string]any{"iat": now.Add(time.Minute).Unix()}, nil), "before issued"},
		"no sub":                    {edKey.token(map[string]any{"sub": nil}, nil), "claim sub"},
		"sub that is a number":      {edKey.token(map[string]any{"sub": 93}, nil), "sub"},
		"sub that is no worker id":  {edKey.token(map[string]any{"sub": "auth0|93"}, nil), "claim sub"},
		"sub that is unknown":       {edKey.token(map[string]any{"sub": "unknown"}, nil), "claim sub: worker id is reserved"},
		"sub that is empty":         {edKey.token(map[string]any{"sub": ""}, nil), "claim sub"},
		"name that is blank":        {edKey.token(map[string]any{"name": " "}, nil), "claim name"},
		"name that is a number":     {edKey.token(map[string]any{"name": 7}, nil), "claim name"},
		"roles that are a text":     {edKey.token(map[string]any{"roles": "ADMIN"}, nil), "claim roles"},
		"too long":                  {edKey.token(map[string]any{"more": strings.Repeat("x", 9000)}, nil), "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				identity, err := tokens.Identify(t.Context(), test.token)
				if !errors.Is(err, auth.ErrRefused) || !strings.Contains(err.Error(), test.reason) || identity != (auth.Identity{}) {
					t.Errorf("%+v, %v; want a refusal for %q", identity, err, test.reason)
				}
				if err != nil && test.token != "" && strings.Contains(err.Error(), test.token) {
					t.Errorf("the refusal repeats the token: %v", err)
				}
			}
		})
	}
}

// issuing is an issuer's server, whose keys change.
type issuing struct {
	*httptest.Server
	mu   sync.Mutex
	keys []byte // nil: it is broken
}

func (i *issuing) have(signers ...signer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys = nil; signers != nil {
		i.keys = set(signers...)
	}
}

// While the issuer's keys are rotated, and while it is away, no good token is refused for
// longer than the keys are fetched anew, and none that is not is accepted.
func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	i := &issuing{}
	i.have(rsaKey)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(150 * time.Millisecond) // as one that is far away
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.keys == nil {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		_, _ = w.Write(i.keys)
	}))
	t.Cleanup(i.Close)
	ctx := testwait.Context(t)
	tokens, err := auth.NewJWT(ctx, auth.JWTConfig{
		Keys: i.URL, Issuer: issuer, Audience: audience, WorkerIDClaim: "sub", NameClaim: "name", RolesClaim: "roles",
		Refresh: 200 * time.Millisecond, RefreshUnknown: 50 * time.Millisecond,
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	identify := func(s signer) error {
		n++ // so that no token was verified before
		_, err := tokens.Identify(ctx, s.token(map[string]any{"jti": n}, nil))
		return err
	}
	testwait.Until(t, "the first key is known", func() bool { return identify(rsaKey) == nil })

	requests, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for m := 0; requests.Err() == nil; m++ {
				if _, err := tokens.Identify(ctx, ecKey.token(map[string]any{"jti": m}, nil)); err == nil {
					t.Error("a token of a key that the issuer never had is accepted")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	i.have(rsaKey, edKey)
	testwait.Until(t, "the next key is known", func() bool { return identify(edKey) == nil })
	if err := identify(rsaKey); err != nil {
		t.Errorf("beside the next key, the first one is refused: %v", err)
	}
	i.have()
	for range 50 {
		if err := identify(edKey); err != nil {
			t.Errorf("while the issuer is away, a good token is refused: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	i.have(edKey)
	testwait.Until(t, "the first key is forgotten", func() bool { return identify(rsaKey) != nil })
	if err := identify(edKey); err != nil {
		t.Errorf("without the first key, the next one is refused: %v", err)
	}
	stop()
	running.Wait()
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, keys := range []string{broken, filepath.Join(t.TempDir(), "none.json")} {
		if _, err := auth.NewJWT(t.Context(), auth.JWTConfig{Keys: keys}, quiet); err == nil {
			t.Errorf("%s can be used", keys)
		}
	}
}

// A key that is not for signatures verifies none; one that does not say what it is for
// does.
func TestUsesOfKeys(t *testing.T) {
	t.Parallel()
	for use, good := range map[string]bool{"sig": true, "": true, "enc": false} {
		jwk := edKey.jwk()
		if jwk["use"] = use; use == "" {
			delete(jwk, "use")
		}
		file := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(file, must(json.Marshal(map[string]any{"keys": []any{jwk}})), 0o600); err != nil {
			t.Fatal(err)
		}
		tokens := newJWT(t, func(c *auth.JWTConfig) { c.Keys = file })
		if _, err := tokens.Identify(t.Context(), edKey.token(nil, nil)); (err == nil) != good {
			t.Errorf("a token of a key for %q gets %v", use, err)
		}
	}
}

// A URL of keys can have a secret in its query, and so can what it redirects to.
func TestURLOfKeysIsNotLogged(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"gone": nil,
		"a status": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
		},
		"no keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "key=hunter2") },
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", gone.URL+"/?key=hunter2")
			w.WriteHeader(http.StatusFound)
		},
		"a bad redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://%zz/?key=hunter2")
			w.WriteHeader(http.StatusFound)
		},
		"a redirect to itself": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "?key=hunter2")
			w.WriteHeader(http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := gone.URL
			if answer != nil {
				server := httptest.NewServer(answer)
				t.Cleanup(server.Close)
				url = server.URL
			}
			log := redistest.NewLog(t)
			config := auth.JWTConfig{
				Keys: strings.Replace(url, "://", "://user:hunter2@", 1) + "/keys?key=hunter2", Issuer: issuer, Audience: audience,
				WorkerIDClaim: "sub", NameClaim: "name", RolesClaim: "roles",
			}
			_, err := auth.NewJWT(t.Context(), config, log.Logger())
			log.Find(t, "cannot be fetched")
			if strings.Contains(log.String()+fmt.Sprint(err), "hunter2") {
				t.Errorf("%v, and the log is\n%s", err, log)
			}
		})
	}
	bad := auth.JWTConfig{Keys: "https://%zz/?key=hunter2", WorkerIDClaim: "sub"}
	if _, err := auth.NewJWT(t.Context(), bad, quiet); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a URL that is none: %v", err)
	}
}
