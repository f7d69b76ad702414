package auth

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"spoollock/lock"
)

const (
	// leeway is how far the clock of the issuer may be off.
	leeway = 30 * time.Second

	// verifiedFor is how long a token that was verified once is not verified again, and
	// maxVerified how many such there are.
	verifiedFor = 30 * time.Second
	maxVerified = 10_000

	// fetchTime is how long the issuer may take to say its keys.
	fetchTime = 5 * time.Second

	// maxCredential is the most bytes of a credential.
	maxCredential = 8 << 10
)

// JWTConfig configures a [JWT]. Every field is required but Refresh and RefreshUnknown.
type JWTConfig struct {
	// Keys is the URL of a JWK Set (RFC 7517), or a file that holds one.
	Keys string

	Issuer, Audience string

	// The claims that hold the worker's id, name and roles. Dots lead into what is nested:
	// "realm_access.roles".
	WorkerIDClaim, NameClaim, RolesClaim string

	// Refresh is how often the keys of a URL are fetched anew, and RefreshUnknown how
	// often a token of an unknown key may have them fetched; zero: a minute, and ten
	// seconds.
	Refresh, RefreshUnknown time.Duration
}

// JWT says who calls by JSON Web Tokens (RFC 7519), signed with RS256, ES256 or EdDSA.
type JWT struct {
	config   JWTConfig
	keys     keyfunc.Keyfunc
	set      *keySet
	parser   *jwt.Parser
	verified *lru.Cache[[sha256.Size]byte, verified]
}

type verified struct {
	identity Identity
	until    time.Time
}

// NewJWT returns a JWT. The keys of a URL are fetched until ctx is done; while it does
// not answer, the ones that were fetched last are good. It fails where a file of keys
// cannot be used.
func NewJWT(ctx context.Context, config JWTConfig, log *slog.Logger) (*JWT, error) {
	if config.Refresh == 0 {
		config.Refresh = time.Minute
	}
	if config.RefreshUnknown == 0 {
		config.RefreshUnknown = 10 * time.Second
	}
	set, err := loadKeySet(ctx, config, log)
	if err != nil {
		return nil, err
	}
	keys, err := keyfunc.New(keyfunc.Options{
		Ctx: ctx, Storage: set.storage, UseWhitelist: []jwkset.USE{jwkset.UseSig, ""}, // none is for encryption
	})
	if err != nil {
		return nil, err
	}
	cache, err := lru.New[[sha256.Size]byte, verified](maxVerified)
	if err != nil {
		return nil, err
	}
	return &JWT{
		config: config, keys: keys, set: set, verified: cache,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{"RS256", "ES256", "EdDSA"}),
			jwt.WithIssuer(config.Issuer), jwt.WithAudience(config.Audience),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(),
		),
	}, nil
}

// loadKeySet reads the issuer's keys from a file, or has them fetched from a URL.
func loadKeySet(ctx context.Context, config JWTConfig, log *slog.Logger) (*keySet, error) {
	if !strings.Contains(config.Keys, "://") {
		text, err := os.ReadFile(config.Keys)
		if err != nil {
			return nil, fmt.Errorf("read the keys: %w", err)
		}
		keys, err := keyfunc.NewJWKSetJSON(text)
		if err != nil {
			return nil, fmt.Errorf("the keys are no JWK Set: %w", err)
		}
		return &keySet{storage: keys.Storage()}, nil
	}
	set := &keySet{}
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{config.Keys}, keyfunc.Override{
		Client:            &http.Client{Timeout: fetchTime, Transport: set},
		RateLimitWaitMax:  fetchTime, // for both: until the keys may be fetched, and for them
		RefreshInterval:   config.Refresh,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(config.RefreshUnknown), 1),
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(_ context.Context, err error) {
				set.failing.Store(true)
				log.Warn("the keys of AUTH_JWKS cannot be fetched, those that were fetched last are good", "error", withoutURL(err))
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("fetch the keys: %w", withoutURL(err))
	}
	set.storage = keys.Storage()
	return set, nil
}

// KeySet says how the issuer's keys are: [KeysOK], [KeysStale] or [KeysMissing].
func (j *JWT) KeySet() string { return j.set.state() }

// withoutURL is why a fetch of keys failed, for the log, which is not to hold the URL: its
// query, and that of a redirect, can have a secret.
func withoutURL(err error) error {
	var op *net.OpError
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.Is(err, jwkset.ErrInvalidHTTPStatusCode):
		return err
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &lookup):
		return lookup
	case errors.As(err, &op):
		return op
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return errors.New("the issuer did not answer in time")
	default:
		return errors.New("what the issuer answers is no JWK Set")
	}
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
	if known, ok := j.verified.Get(digest); ok && now.Before(known.until) {
		return known.identity, nil
	}
	identity, err := j.verify(ctx, credential)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	until := now.Add(verifiedFor)
	if identity.Expires.Before(until) {
		until = identity.Expires
	}
	j.verified.Add(digest, verified{identity, until})
	return identity, nil
}

func (j *JWT) verify(ctx context.Context, credential string) (identity Identity, err error) {
	claims := jwt.MapClaims{}
	if _, err := j.parser.ParseWithClaims(credential, claims, j.keyFunc(ctx)); err != nil {
		return identity, err
	}
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

// keyFunc finds the key that a token names. Without a name, the library would try them
// all. A fetch of keys goes on if the caller that needed it goes away, because others need
// it too.
func (j *JWT) keyFunc(ctx context.Context) jwt.Keyfunc {
	keys := j.keys.KeyfuncCtx(context.WithoutCancel(ctx))
	return func(token *jwt.Token) (any, error) {
		if kid, ok := token.Header["kid"].(string); !ok || kid == "" {
			return nil, errors.New("the header has no kid")
		}
		if _, critical := token.Header["crit"]; critical {
			return nil, errors.New("the header has crit, and none of it is known here")
		}
		key, err := keys(token)
		if err != nil { // its text quotes the kid, which a stranger may have written
			return nil, errors.New("no key of the issuer is known for this kid, alg and use")
		}
		return key, nil
	}
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
