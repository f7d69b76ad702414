package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"spoollock/auth"
	"spoollock/graph"
	"spoollock/lock"
)

// The names by which a credential comes: headers, and in the payload of a WebSocket's
// connection_init.
const (
	headerBearer = "Authorization"
	headerKey    = "X-API-Key"
)

// identityKey is where the context of a request has its [auth.Identity].
type identityKey struct{}

func identityOf(ctx context.Context) auth.Identity {
	identity, _ := ctx.Value(identityKey{}).(auth.Identity)
	return identity
}

// callers are known by what they show. The log says why one is refused, of many
// once a second, and an answer does not.
type callers struct {
	identify auth.Identify
	log      *slog.Logger
	often    rate.Sometimes
	refusals atomic.Int64 // since the log said so
}

func newCallers(identify auth.Identify, log *slog.Logger) *callers {
	return &callers{identify: identify, log: log, often: rate.Sometimes{First: 10, Interval: time.Second}}
}

// of says who shows the headers, from the address. It fails with *lock.ForbiddenError
// where that is known, and they have no role.
func (c *callers) of(ctx context.Context, header http.Header, address netip.Addr) (auth.Identity, error) {
	identity, err := c.identify(ctx, credentialIn(header))
	if err == nil && !identity.Role.Includes(lock.RoleViewer) {
		err = &lock.ForbiddenError{Required: lock.RoleViewer}
	}
	if err != nil {
		c.refusals.Add(1)
		c.often.Do(func() {
			// A library's text may quote what a stranger wrote.
			c.log.WarnContext(ctx, "a credential is refused", "address", address, "caller", identity.Worker.ID,
				"error", fmt.Sprintf("%.200s", err.Error()), "refusals", c.refusals.Swap(0))
		})
	}
	return identity, err
}

// still reports whether the headers stand for the same caller as they did.
func (c *callers) still(ctx context.Context, header http.Header, address netip.Addr, caller lock.Caller) bool {
	identity, err := c.of(ctx, header, address)
	return err == nil && identity.Caller == caller
}

// identified lets requests through of which it is known whose they are. A WebSocket
// says so later.
func identified(next http.Handler, callers *callers) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isHandshake(r) {
			next.ServeHTTP(w, r)
			return
		}
		address, _ := addressOf(r.RemoteAddr)
		identity, err := callers.of(r.Context(), r.Header, address)
		if forbidden := (*lock.ForbiddenError)(nil); errors.As(err, &forbidden) {
			refuse(w, typeJSON, &refusal{
				status: http.StatusForbidden, code: graph.CodeForbidden, message: "This needs a role.",
				extensions: map[string]any{"required": forbidden.Required},
			})
			return
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, typeJSON, &refusal{
				status: http.StatusUnauthorized, code: graph.CodeUnauthenticated,
				message: "This needs a valid credential: Authorization: Bearer …, or X-API-Key.",
			})
			return
		}
		next.ServeHTTP(w, r.WithContext(withIdentity(r.Context(), identity, address)))
	})
}

func withIdentity(ctx context.Context, identity auth.Identity, address netip.Addr) context.Context {
	caller := identity.Caller
	caller.Address = address
	return context.WithValue(lock.WithCaller(ctx, caller), identityKey{}, identity)
}

// untilExpiry returns a context that is done when the credential of its request ends.
func untilExpiry(ctx context.Context) (context.Context, context.CancelFunc) {
	if identity := identityOf(ctx); !identity.Expires.IsZero() {
		return context.WithDeadline(ctx, identity.Expires)
	}
	return context.WithCancel(ctx)
}

// credentialIn is the one that the headers hold; of two, which may differ, none.
func credentialIn(header http.Header) string {
	bearer, key := header.Values(headerBearer), header.Values(headerKey)
	switch {
	case len(bearer) == 1 && len(key) == 0:
		scheme, credential, _ := strings.Cut(bearer[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(credential)
		}
	case len(bearer) == 0 && len(key) == 1:
		return strings.TrimSpace(key[0])
	}
	return ""
}
