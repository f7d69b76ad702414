package auth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"spoollock/auth"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// answering is an issuer whose answer changes.
type answering struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	n      int // answers of this kind
}

func newAnswering(t *testing.T) *answering {
	t.Helper()
	a := &answering{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		answer := a.answer
		a.mu.Unlock()
		answer(w, r)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.n++
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *answering) with(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.n = answer, 0
}

func (a *answering) text(text []byte) {
	a.with(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

// given waits until the present answer was given n times, and all but the last are used.
func (a *answering) given(t *testing.T, n int) {
	t.Helper()
	testwait.Until(t, "the issuer is asked", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.n >= n
	})
}

// fast has the keys fetched often.
func fast(keys string) func(*auth.JWTConfig) {
	return func(c *auth.JWTConfig) {
		c.Keys, c.Refresh, c.RefreshUnknown = keys, 20*time.Millisecond, 5*time.Millisecond
	}
}

func startJWT(t *testing.T, log *slog.Logger, change func(*auth.JWTConfig)) *auth.JWT {
	t.Helper()
	config := auth.JWTConfig{Issuer: issuer, Audience: audience, WorkerIDClaim: "sub", NameClaim: "name", RolesClaim: "roles"}
	change(&config)
	return must(auth.NewJWT(t.Context(), config, log))
}

// try shows a token that the key signs and that was not shown before.
func try(tokens *auth.JWT, s signer) error {
	_, err := tokens.Identify(context.Background(), s.token(map[string]any{"jti": rand.Text()}, nil))
	return err
}

func accepts(tokens *auth.JWT, s signer) func() bool {
	return func() bool { return try(tokens, s) == nil }
}

// with are the members of a key, changed; nil removes one.
func with(s signer, changes map[string]any) map[string]any {
	all := map[string]any{}
	for name, value := range s.jwk() {
		all[name] = value
	}
	all["kid"] = "odd"
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

func setOf(keys ...any) []byte { return must(json.Marshal(map[string]any{"keys": keys})) }

// certificate is one of the key, in base64.
func certificate(s signer) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	return base64.StdEncoding.EncodeToString(must(x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)))
}

// oddKeys are keys that are skipped.
func oddKeys() map[string]any {
	small := signer{"odd", jwt.SigningMethodRS256, must(rsa.GenerateKey(rand.Reader, 1024))} //nolint:gosec // that is what is refused
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	point := must(p384.PublicKey.Bytes())
	raw := func(text string) json.RawMessage { return json.RawMessage(text) }
	return map[string]any{
		"no kty":                with(edKey, map[string]any{"kty": nil}),
		"another kty":           with(edKey, map[string]any{"kty": "AKP"}),
		"a kty that is none":    with(edKey, map[string]any{"kty": 7}),
		"a symmetric key":       map[string]any{"kty": "oct", "kid": "odd", "alg": "HS256", "k": "c2VjcmV0"},
		"another curve":         map[string]any{"kty": "EC", "kid": "odd", "crv": "P-384", "x": encode(point[1:49]), "y": encode(point[49:])},
		"secp256k1":             with(ecKey, map[string]any{"crv": "secp256k1"}),
		"Ed448":                 with(edKey, map[string]any{"crv": "Ed448"}),
		"X25519":                with(edKey, map[string]any{"crv": "X25519"}),
		"no crv":                with(ecKey, map[string]any{"crv": nil}),
		"use enc":               with(edKey, map[string]any{"use": "enc"}),
		"an unknown use":        with(edKey, map[string]any{"use": "tls"}),
		"use of a number":       with(edKey, map[string]any{"use": 1}),
		"other key_ops":         with(edKey, map[string]any{"key_ops": []string{"encrypt", "wrapKey"}}),
		"key_ops of a text":     with(edKey, map[string]any{"key_ops": "verify"}),
		"x5c of a text":         with(rsaKey, map[string]any{"x5c": "MII"}),
		"x5c that is none":      with(rsaKey, map[string]any{"x5c": []string{"AAAA"}}),
		"x5c not in base64":     with(rsaKey, map[string]any{"x5c": []string{"%"}}),
		"x5c of another key":    with(rsaKey, map[string]any{"x5c": []string{certificate(otherRSA)}}),
		"another alg":           with(rsaKey, map[string]any{"alg": "RS512"}),
		"the alg of another":    with(ecKey, map[string]any{"alg": "RS256"}),
		"alg of a number":       with(edKey, map[string]any{"alg": 256}),
		"off the curve":         with(ecKey, map[string]any{"y": encode(bytes.Repeat([]byte{1}, 32))}),
		"a long coordinate":     with(ecKey, map[string]any{"x": encode(bytes.Repeat([]byte{1}, 33))}),
		"a point of order 1":    with(edKey, map[string]any{"x": encode(append([]byte{1}, make([]byte, 31)...))}),
		"a short point":         with(edKey, map[string]any{"x": encode(make([]byte, 31))}),
		"e is 1":                with(rsaKey, map[string]any{"e": "AQ"}),
		"e is 2":                with(rsaKey, map[string]any{"e": "Ag"}),
		"e is 4":                with(rsaKey, map[string]any{"e": "BA"}),
		"e is too large":        with(rsaKey, map[string]any{"e": "AQAAAAAB"}),
		"1024 bits":             with(small, nil),
		"an even modulus":       with(rsaKey, map[string]any{"n": encode(append(bytes.Repeat([]byte{0xff}, 255), 0xfe))}),
		"a huge modulus":        with(rsaKey, map[string]any{"n": encode(bytes.Repeat([]byte{0xff}, 3000))}),
		"no n":                  with(rsaKey, map[string]any{"n": nil}),
		"no e":                  with(rsaKey, map[string]any{"e": nil}),
		"no x":                  with(edKey, map[string]any{"x": nil}),
		"no y":                  with(ecKey, map[string]any{"y": nil}),
		"x not in base64url":    with(edKey, map[string]any{"x": "+/+/"}),
		"a name twice":          raw(`{"kty":"OKP","kid":"odd","crv":"Ed25519","crv":"Ed25519","x":"` + edKey.jwk()["x"] + `"}`),
		"text that is not UTF8": raw("{\"kty\":\"RSA\",\"kid\":\"odd\",\"name\":\"\xe9\"}"),
	}
}

// A key that is not understood is skipped, by file and by URL; the log says so once.
func TestKeysThatAreSkipped(t *testing.T) {
	t.Parallel()
	good := signer{"good", edKey.method, edKey.key}
	for name, odd := range oddKeys() {
		text := []byte(`{"keys":[` + string(rawJSON(odd)) + "," + string(rawJSON(good.jwk())) + `]}`)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := func(where string, tokens *auth.JWT, log *redistest.Log) {
				testwait.Until(t, where+": the good key is used", accepts(tokens, good))
				for _, s := range []signer{rsaKey, ecKey, edKey} {
					s.kid = "odd"
					if err := try(tokens, s); !errors.Is(err, auth.ErrRefused) {
						t.Errorf("%s: a token of the odd key: %v", where, err)
					}
				}
				if n := strings.Count(log.String(), "a key of AUTH_JWKS is skipped"); n != 1 || !strings.Contains(log.String(), "kid=odd reason=") {
					t.Errorf("%s: the log has %d such keys:\n%s", where, n, log)
				}
			}
			file := filepath.Join(t.TempDir(), "jwks.json")
			write(t, file, string(text))
			log := redistest.NewLog(t)
			check("file", startJWT(t, log.Logger(), func(c *auth.JWTConfig) { c.Keys = file }), log)
			i := newAnswering(t)
			i.text(text)
			log = redistest.NewLog(t)
			tokens := startJWT(t, log.Logger(), fast(i.URL))
			i.given(t, 2)
			i.text(append(text, ' '))
			i.given(t, 3)
			check("URL", tokens, log)
		})
	}
}

func rawJSON(value any) []byte {
	if raw, ok := value.(json.RawMessage); ok {
		return raw
	}
	return must(json.Marshal(value))
}

// What is not needed of a key is not judged, nor is how it is written.
func TestKeysThatAreUsed(t *testing.T) {
	t.Parallel()
	point := must(ecKey.key.Public().(*ecdsa.PublicKey).Bytes())
	for name, test := range map[string]struct {
		key signer
		jwk map[string]any
	}{
		"no alg and no use":      {edKey, with(edKey, map[string]any{"alg": nil, "use": nil})},
		"null":                   {edKey, with(edKey, map[string]any{"alg": json.RawMessage("null"), "use": json.RawMessage("null"), "key_ops": json.RawMessage("null")})},
		"key_ops":                {edKey, with(edKey, map[string]any{"key_ops": []string{"sign", "verify"}})},
		"no key_ops":             {edKey, with(edKey, map[string]any{"key_ops": []string{}})},
		"x5t of a number":        {edKey, with(edKey, map[string]any{"x5t": 7, "x5u": 7, "iat": "x", "ext": true})},
		"its own certificate":    {rsaKey, with(rsaKey, map[string]any{"x5c": []string{certificate(rsaKey)}})},
		"an Ed25519 certificate": {edKey, with(edKey, map[string]any{"x5c": []string{certificate(edKey)}})},
		"padding":                {edKey, with(edKey, map[string]any{"x": edKey.jwk()["x"] + "="})},
		"zeros before n":         {rsaKey, with(rsaKey, map[string]any{"n": encode(append([]byte{0}, rsaKey.key.Public().(*rsa.PublicKey).N.Bytes()...))})},
		"zeros before x":         {ecKey, with(ecKey, map[string]any{"x": encode(append([]byte{0}, point[1:33]...))})},
		"a private key":          {edKey, with(edKey, map[string]any{"d": encode(edKey.key.(ed25519.PrivateKey).Seed())})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "jwks.json")
			write(t, file, string(setOf(test.jwk)))
			tokens := startJWT(t, quiet, func(c *auth.JWTConfig) { c.Keys = file })
			test.key.kid = "odd"
			if err := try(tokens, test.key); err != nil {
				t.Error(err)
			}
		})
	}
}

// Keys with one kid are all tried, and one for encryption hides none.
func TestKeysWithOneID(t *testing.T) {
	t.Parallel()
	var signers []signer
	var keys []any
	for range 5 {
		s := newEd("odd")
		signers = append(signers, s)
		keys = append(keys, with(s, map[string]any{"use": "enc"}), with(s, nil))
	}
	for _, s := range []signer{rsaKey, otherRSA, ecKey} {
		s.kid = "odd"
		signers = append(signers, s)
		keys = append(keys, with(s, nil), with(s, map[string]any{"use": "enc"}))
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	write(t, file, string(setOf(keys...)))
	tokens := startJWT(t, quiet, func(c *auth.JWTConfig) { c.Keys = file })
	for i, s := range signers {
		if err := try(tokens, s); (err == nil) != (i != 4) { // the fifth of its kind
			t.Errorf("key %d, %s: %v", i, s.method.Alg(), err)
		}
	}
}

// Of a set, 100 keys are used; those that are skipped do not count.
func TestSetOfManyKeys(t *testing.T) {
	t.Parallel()
	var signers []signer
	var keys []any
	for i := range 101 {
		s := newEd(fmt.Sprint(i))
		signers = append(signers, s)
		keys = append(keys, map[string]any{"kty": "oct", "kid": s.kid, "k": "eA"}, s.jwk())
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	write(t, file, string(setOf(keys...)))
	tokens := startJWT(t, quiet, func(c *auth.JWTConfig) { c.Keys = file })
	for i, s := range signers {
		if err := try(tokens, s); (err == nil) != (i < 100) {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

// A set replaces the former one, even if all its keys are skipped.
func TestSetOfSkippedKeys(t *testing.T) {
	t.Parallel()
	i := newAnswering(t)
	i.text(set(edKey))
	tokens := startJWT(t, quiet, fast(i.URL))
	shown := edKey.token(nil, nil)
	testwait.Until(t, "the key is known", func() bool {
		_, err := tokens.Identify(t.Context(), shown)
		return err == nil
	})
	i.text(setOf(with(edKey, map[string]any{"use": "enc"})))
	testwait.Until(t, "the key is refused, though the token was verified before", func() bool {
		_, err := tokens.Identify(t.Context(), shown)
		return errors.Is(err, auth.ErrRefused)
	})
}

// An issuer that says it has no keys is believed the third time in a row.
func TestEmptySets(t *testing.T) {
	t.Parallel()
	i := newAnswering(t)
	permits, asked := make(chan []byte), make(chan struct{})
	i.with(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
			_, _ = w.Write(<-permits)
		case <-r.Context().Done():
		}
	})
	tokens := startJWT(t, quiet, fast(i.URL))
	empty, full := []byte(`{"keys":[]}`), set(edKey)
	<-asked
	for n, step := range []struct {
		answer []byte
		good   bool
	}{
		{empty, false}, {empty, false}, {full, true},
		{empty, true}, {empty, true}, {full, true},
		{empty, true}, {[]byte("{}"), true}, {empty, true}, {empty, true}, {empty, false},
		{full, true},
	} {
		permits <- step.answer
		<-asked // the answer has been used
		switch err := try(tokens, edKey); {
		case (err == nil) != step.good:
			t.Errorf("after answer %d, a token of the issuer gets %v", n, err)
		case n < 2 && !errors.Is(err, auth.ErrUnavailable):
			t.Errorf("after answer %d, without a set, a token gets %v", n, err)
		}
	}
	permits <- full
}

// What callers have fetched early does not count as another answer.
func TestEmptySetsThatAreFetchedEarly(t *testing.T) {
	t.Parallel()
	i := newAnswering(t)
	i.text(set(edKey))
	tokens := startJWT(t, quiet, func(c *auth.JWTConfig) { c.Keys, c.Refresh, c.RefreshUnknown = i.URL, time.Hour, time.Millisecond })
	testwait.Until(t, "the key is known", accepts(tokens, edKey))
	i.text([]byte(`{"keys":[]}`))
	testwait.Until(t, "the issuer is asked ten times", func() bool {
		if err := try(tokens, newEd("new")); err == nil {
			t.Fatal("a token of another is accepted")
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.n >= 10
	})
	if err := try(tokens, edKey); err != nil {
		t.Errorf("after ten empty answers at once: %v", err)
	}
}

// packed is the text in gzip before that many MiB of spaces.
func packed(mebibytes int, text []byte) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	spaces := bytes.Repeat([]byte{' '}, 1<<20)
	_, _ = zip.Write(text)
	for range mebibytes {
		_, _ = zip.Write(spaces)
	}
	_ = zip.Close()
	return out.Bytes()
}

// What is no key set keeps the former one; the log says so once, and the state.
func TestAnswersThatAreNoKeySet(t *testing.T) {
	t.Parallel()
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	good := string(set(newEd("new")))
	bomb := packed(64, []byte(good))
	for name, answer := range map[string]http.HandlerFunc{
		"nothing":       body(""),
		"{}":            body("{}"),
		"null":          body("null"),
		"an array":      body("[]"),
		"an error":      body(`{"error":"temporarily_unavailable"}`),
		"keys of null":  body(`{"keys":null}`),
		"keys no array": body(`{"keys":{}}`),
		"a page":        body("<html>"),
		"trailing text": body(good + "x"),
		"two sets":      body(good + good),
		"keys twice":    body(`{"keys":[],"keys":[]}`),
		"half a set":    body(good[:len(good)-2]),
		"too large":     body(good + strings.Repeat(" ", 1<<20)),
		"a bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		},
		"a status": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, good, http.StatusInternalServerError) },
		"another status": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte(good))
		},
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, log := newAnswering(t), redistest.NewLog(t)
			i.text(set(edKey))
			tokens := startJWT(t, log.Logger(), fast(i.URL))
			testwait.Until(t, "the key is known", accepts(tokens, edKey))
			i.with(answer)
			log.Find(t, "cannot be fetched")
			if name != "cut off" { // which is never over
				i.given(t, 5)
			}
			if err := try(tokens, edKey); err != nil {
				t.Errorf("the former set is gone: %v", err)
			}
			if n := strings.Count(log.String(), "cannot be fetched"); n != 1 {
				t.Errorf("the log says %d times:\n%s", n, log)
			}
			checkState(t, tokens, "stale")
			i.text(set(edKey))
			testwait.Until(t, "the set is back", func() bool { return tokens.KeySet() == "ok" })
		})
	}
}

// A set is good for as long as it is configured after it was there last.
func TestSetThatIsTooOld(t *testing.T) {
	t.Parallel()
	i, log := newAnswering(t), redistest.NewLog(t)
	i.text(set(edKey))
	tokens := startJWT(t, log.Logger(), func(c *auth.JWTConfig) {
		fast(i.URL)(c)
		c.KeepKeys = 300 * time.Millisecond
	})
	testwait.Until(t, "the key is known", accepts(tokens, edKey))
	shown := edKey.token(nil, nil)
	i.text([]byte("{}"))
	testwait.Until(t, "tokens are no longer accepted", func() bool {
		_, err := tokens.Identify(t.Context(), shown)
		return errors.Is(err, auth.ErrUnavailable)
	})
	log.Find(t, "too old")
	checkState(t, tokens, "too old")
	if err := try(tokens, edKey); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("a token gets %v", err)
	}
	i.text(set(edKey))
	testwait.Until(t, "the set is back", accepts(tokens, edKey))
}

// Where there was no set yet, a token cannot be checked. What is no token is refused all the
// same.
func TestSetThatWasNeverThere(t *testing.T) {
	t.Parallel()
	i := newAnswering(t)
	i.with(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusBadGateway) })
	tokens := startJWT(t, quiet, fast(i.URL))
	i.given(t, 2)
	for range 3 {
		if err := try(tokens, edKey); !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrRefused) {
			t.Errorf("a token gets %v", err)
		}
	}
	checkState(t, tokens, "missing")
	for _, wrong := range []string{"", "93", "a.b.c", unsigned(map[string]any{"alg": "none", "kid": "ed"}, "")} {
		if _, err := tokens.Identify(t.Context(), wrong); !errors.Is(err, auth.ErrRefused) {
			t.Errorf("%q gets %v", wrong, err)
		}
	}
	i.text(set(edKey))
	testwait.Until(t, "the set is there", accepts(tokens, edKey))
	checkState(t, tokens, "ok")
}

// A caller that comes before the first fetch is over waits for it.
func TestFirstFetchIsAwaited(t *testing.T) {
	t.Parallel()
	i, asked := newAnswering(t), make(chan struct{})
	i.with(func(w http.ResponseWriter, _ *http.Request) {
		<-asked
		_, _ = w.Write(set(edKey))
	})
	tokens := startJWT(t, quiet, fast(i.URL))
	time.AfterFunc(50*time.Millisecond, func() { close(asked) })
	if err := try(tokens, edKey); err != nil {
		t.Errorf("the first caller gets %v", err)
	}
}

// An issuer that sends its keys too slowly is given up.
func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	i, log := newAnswering(t), redistest.NewLog(t)
	i.with(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	startJWT(t, log.Logger(), fast(i.URL))
	log.Find(t, "did not answer in time")
}

// Redirects are followed three times, to what could be configured, and never from https to
// http.
func TestRedirectsOfTheIssuer(t *testing.T) {
	t.Parallel()
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	var referrers sync.Map
	mux := http.NewServeMux()
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		referrers.Store(r.Header.Get("Referer"), true)
		_, _ = w.Write(set(edKey))
	})
	for n := range 4 {
		to := "/keys?"
		if n > 0 {
			to = fmt.Sprint("/", n)
		}
		mux.HandleFunc(fmt.Sprint("/", n+1), redirect(to))
	}
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	mux.HandleFunc("/down", redirect(plain.URL+"/keys"))
	mux.HandleFunc("/up", redirect(secure.URL+"/keys"))
	mux.HandleFunc("/away", redirect(plain.URL+"/keys?evil"))
	for start, good := range map[string]bool{
		plain.URL + "/1?key=hunter2": true, plain.URL + "/3": true, plain.URL + "/4": false, plain.URL + "/up": true, plain.URL + "/away": false,
		secure.URL + "/3": true, secure.URL + "/4": false, secure.URL + "/down": false, secure.URL + "/up": true,
	} {
		log := redistest.NewLog(t)
		tokens := startJWT(t, log.Logger(), func(c *auth.JWTConfig) {
			fast(start)(c)
			c.AllowedURL = func(u *url.URL) bool { return u.RawQuery != "evil" }
			c.Transport = secure.Client().Transport
		})
		if good {
			testwait.Until(t, start+" leads to the keys", accepts(tokens, edKey))
			continue
		}
		log.Find(t, "cannot be fetched.*the issuer redirects")
		if err := try(tokens, edKey); err == nil {
			t.Errorf("%s leads to the keys", start)
		}
	}
	referrers.Range(func(referrer, _ any) bool {
		if referrer != "" {
			t.Errorf("the URL %v is told to another", referrer)
		}
		return true
	})
}

// A file of keys is read again when it changes, and what cannot be used keeps the former
// set.
func TestKeySetFileThatChanges(t *testing.T) {
	t.Parallel()
	file, log := filepath.Join(t.TempDir(), "jwks.json"), redistest.NewLog(t)
	write(t, file, "\ufeff"+strings.ReplaceAll(string(set(edKey)), ",", ",\r\n"))
	tokens := startJWT(t, log.Logger(), func(c *auth.JWTConfig) { c.Keys = file })
	if err := try(tokens, edKey); err != nil {
		t.Errorf("a file with a byte order mark and CRLF: %v", err)
	}
	put := func(text string) { // in one step
		t.Helper()
		write(t, file+".next", text)
		if err := os.Rename(file+".next", file); err != nil {
			t.Fatal(err)
		}
	}
	put(string(set(ecKey)))
	testwait.Until(t, "the next key is known, and the first refused", func() bool {
		return try(tokens, ecKey) == nil && try(tokens, edKey) != nil
	})
	for _, bad := range []string{"{}", "{", string(set(edKey)) + "x", `{"keys":[]}`} {
		put(bad)
		testwait.Until(t, "the state says so", func() bool { return tokens.KeySet() == "stale" })
		if try(tokens, ecKey) != nil || try(tokens, edKey) == nil {
			t.Errorf("%s is used", bad)
		}
		put(string(set(ecKey)))
		testwait.Until(t, "the state is good", func() bool { return tokens.KeySet() == "ok" })
	}
	if err := errors.Join(syscall.Mkfifo(file+".pipe", 0o600), os.Rename(file+".pipe", file)); err != nil {
		t.Fatal(err)
	}
	log.Find(t, "is not a regular file")
	if err := try(tokens, ecKey); err != nil {
		t.Errorf("a named pipe takes the keys away: %v", err)
	}
}

// A file in which there are only keys that are skipped, or none, does not stop the start.
func TestKeySetFileWithoutKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "jwks.json")
	write(t, file, string(setOf(with(edKey, map[string]any{"use": "enc"}))))
	if err := try(startJWT(t, quiet, func(c *auth.JWTConfig) { c.Keys = file }), edKey); !errors.Is(err, auth.ErrRefused) {
		t.Errorf("with a key that is skipped: %v", err)
	}
	write(t, file, `{"keys":[]}`)
	if err := try(startJWT(t, quiet, func(c *auth.JWTConfig) { c.Keys = file }), edKey); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("with no key: %v", err)
	}
}

// The log warns of a key set with secrets that others may read, and of no other.
func TestModesOfKeySets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text []byte
		warn bool
	}{
		"public keys":     {set(edKey), false},
		"a symmetric key": {setOf(edKey.jwk(), map[string]any{"kty": "oct", "kid": "odd", "k": "c2VjcmV0"}), true},
		"a private key":   {setOf(with(edKey, map[string]any{"d": "AA"}), edKey.jwk()), true},
	} {
		file, log := filepath.Join(t.TempDir(), "jwks.json"), redistest.NewLog(t)
		write(t, file, string(test.text))
		if err := os.Chmod(file, 0o644); err != nil { //nolint:gosec // that is what is warned of
			t.Fatal(err)
		}
		tokens := startJWT(t, log.Logger(), func(c *auth.JWTConfig) { c.Keys = file })
		write(t, file, string(set(ecKey)))
		if test.warn {
			log.Find(t, "secrets can be read by others")
		}
		testwait.Until(t, "the next key is known", accepts(tokens, ecKey))
		if warned := strings.Contains(log.String(), "can be read"); warned != test.warn {
			t.Errorf("%s: the log is\n%s", name, log)
		}
	}
}

func checkState(t *testing.T, tokens *auth.JWT, want auth.KeySetState) {
	t.Helper()
	if got := tokens.KeySet(); got != want {
		t.Errorf("the state is %q, want %q", got, want)
	}
}
