package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"spoollock/lock"
)

const (
	// leeway is how far the clock of the issuer may be off.
	leeway = 30 * time.Second

	// verifiedFor is how long a token that was verified once is not verified again, and
	// maxVerified how many such there are.
	verifiedFor = 30 * time.Second
	maxVerified = 10_000

	// maxCredential is the most bytes of a credential.
	maxCredential = 8 << 10
)

// JWTConfig configures a [JWT]. Every field is required but those that say what they
// default to.
type JWTConfig struct {
	// Keys is the URL of a JWK Set (RFC 7517), or a file that holds one.
	Keys string

	Issuer, Audience string

	// The claims that hold the worker's id, name and roles. Dots lead into what is nested:
	// "realm_access.roles".
	WorkerIDClaim, NameClaim, RolesClaim string

	// AllowedURL reports whether keys may be fetched from a URL to which another one
	// redirects. Defaults to none.
	AllowedURL func(*url.URL) bool

	// Refresh is how often the keys of a URL are fetched anew, and the least time between
	// the answers that count as one after the other if the set is empty. RefreshUnknown is
	// how often a token of an unknown key may have the keys fetched. They default to a
	// minute and ten seconds.
	Refresh, RefreshUnknown time.Duration

	// KeepKeys is how long the keys are good that were read last. Defaults to 24 hours.
	KeepKeys time.Duration

	// Transport fetches the keys. Defaults to [http.DefaultTransport].
	Transport http.RoundTripper
}

// JWT says who calls by JSON Web Tokens (RFC 7519), signed with RS256, ES256 or EdDSA.
type JWT struct {
	config   JWTConfig
	keys     *issuerKeys
	parser   *jwt.Parser
	verified *lru.Cache[[sha256.Size]byte, verified]
}

type verified struct {
	identity Identity
	until    time.Time
	by       *keySet
}

// NewJWT returns a JWT. Its keys are read again until ctx is done, those of a file within a
// second of a change. While they cannot be read, the ones that were read last are good. It
// does not wait for the keys of a URL; it fails where a file of keys cannot be used.
func NewJWT(ctx context.Context, config JWTConfig, log *slog.Logger) (*JWT, error) {
	if config.Refresh == 0 {
		config.Refresh = time.Minute
	}
	if config.RefreshUnknown == 0 {
		config.RefreshUnknown = 10 * time.Second
	}
	if config.KeepKeys == 0 {
		config.KeepKeys = 24 * time.Hour
	}
	keys, err := newIssuerKeys(config, log)
	if err != nil {
		return nil, fmt.Errorf("the issuer's keys: %w", err)
	}
	cache, err := lru.New[[sha256.Size]byte, verified](maxVerified)
	if err != nil {
		return nil, err
	}
	go keys.run(ctx)
	return &JWT{
		config: config, keys: keys, verified: cache,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{"RS256", "ES256", "EdDSA"}),
			jwt.WithIssuer(config.Issuer), jwt.WithAudience(config.Audience),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(),
		),
	}, nil
}

// KeySet returns how the issuer's key set is.
func (j *JWT) KeySet() KeySetState { return j.keys.state() }

// KeySetAge returns how long ago the issuer's key set was read and good; false if it never
// was.
func (j *JWT) KeySetAge() (age time.Duration, known bool) {
	good, _ := j.keys.latest.Status()
	return time.Since(good), !good.IsZero()
}

// Identify implements [Identify].
func (j *JWT) Identify(ctx context.Context, credential string) (Identity, error) {
	if credential == "" {
		return Identity{}, errNoCredential
	}
	if len(credential) > maxCredential {
		return Identity{}, fmt.Errorf("%w: it has more than %d bytes", ErrRefused, maxCredential)
	}
	digest, now := sha256.Sum256([]byte(credential)), time.Now()
	if set, err := j.keys.current(); err == nil {
		if known, ok := j.verified.Get(digest); ok && known.by == set && now.Before(known.until) {
			return known.identity, nil
		}
	}
	identity, by, err := j.verify(ctx, credential)
	if errors.Is(err, ErrUnavailable) {
		return Identity{}, err
	}
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	until := now.Add(verifiedFor)
	if identity.Expires.Before(until) {
		until = identity.Expires
	}
	j.verified.Add(digest, verified{identity, until, by})
	return identity, nil
}

// verify returns the identity that the token names, and the key set that verified it.
func (j *JWT) verify(ctx context.Context, credential string) (identity Identity, by *keySet, err error) {
	claims := jwt.MapClaims{}
	if _, err := j.parser.ParseWithClaims(credential, claims, func(token *jwt.Token) (keys any, err error) {
		keys, by, err = j.keysFor(ctx, token)
		return keys, err
	}); err != nil {
		return identity, nil, err
	}
	identity, err = j.identityOf(claims)
	return identity, by, err
}

// identityOf is the identity that the claims of a verified token name.
func (j *JWT) identityOf(claims jwt.MapClaims) (identity Identity, err error) {
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return identity, err
	}
	identity.Expires = expires.Add(leeway)
	id, err := j.textClaim(claims, j.config.WorkerIDClaim)
	if err != nil {
		return identity, err
	}
	if identity.Worker.ID, err = lock.ParseWorkerID(id); err != nil {
		return identity, fmt.Errorf("the claim %s: %w", j.config.WorkerIDClaim, err)
	}
	identity.Worker.Name = id
	if claimAt(claims, j.config.NameClaim) != nil {
		name, err := j.textClaim(claims, j.config.NameClaim)
		if err != nil {
			return identity, err
		}
		if identity.Worker.Name, err = lock.ParseWorkerName(name); err != nil {
			return identity, fmt.Errorf("the claim %s: %w", j.config.NameClaim, err)
		}
	}
	identity.Role, err = j.roleClaim(claims)
	return identity, err
}

// keysFor returns the keys that a token names, and the set that they are of. Without a
// name, all would have to be tried.
func (j *JWT) keysFor(ctx context.Context, token *jwt.Token) (keys jwt.VerificationKeySet, set *keySet, err error) {
	kid, ok := token.Header["kid"].(string)
	if !ok || kid == "" {
		return keys, nil, errors.New("the header has no kid")
	}
	if _, critical := token.Header["crit"]; critical {
		return keys, nil, errors.New("the header has crit, and none of it is known here")
	}
	named, set, err := j.keys.find(ctx, kid)
	for _, key := range named {
		if key.algorithm == token.Method.Alg() {
			keys.Keys = append(keys.Keys, key.public)
		}
	}
	if err == nil && len(keys.Keys) == 0 {
		err = errors.New("no key of the issuer is known for this kid and alg")
	}
	return keys, set, err
}

// roleClaim is the highest role of the claim; empty if it names none of ours.
func (j *JWT) roleClaim(claims jwt.MapClaims) (lock.Role, error) {
	value := claimAt(claims, j.config.RolesClaim)
	if value == nil {
		return "", nil
	}
	list, ok := value.([]any)
	if !ok {
		return "", fmt.Errorf("the claim %s is no array", j.config.RolesClaim)
	}
	var roles []lock.Role
	for _, element := range list {
		name, _ := element.(string)
		if role, ok := lock.ParseRole(name); ok {
			roles = append(roles, role)
		}
	}
	return highestRole(roles), nil
}

// textClaim is the claim that the path leads to, which must be a text.
func (j *JWT) textClaim(claims jwt.MapClaims, path string) (string, error) {
	text, ok := claimAt(claims, path).(string)
	if !ok {
		return "", fmt.Errorf("the claim %s is missing, or no text", path)
	}
	return text, nil
}

// claimAt is the claim that the path leads to, or nil. A claim whose name has the dots in
// it wins over a nested one.
func claimAt(claims map[string]any, path string) any {
	if value, ok := claims[path]; ok {
		return value
	}
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := claims[name].(map[string]any)
		if !ok {
			return nil
		}
		claims = inner
	}
	return claims[names[len(names)-1]]
}
