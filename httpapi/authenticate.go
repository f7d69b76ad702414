package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"spoollock/auth"
	"spoollock/gqlhttp"
	"spoollock/graph"
	"spoollock/lock"
)

// The names by which a credential comes: headers, and in the payload of a WebSocket's
// connection_init.
const (
	headerBearer = "Authorization"
	headerKey    = "X-API-Key"
)

// authenticator says who calls, by the credential of a request. The log says why one is
// refused, of many once a second, and an answer does not.
type authenticator struct {
	identify auth.Identify
	log      *slog.Logger
	often    rate.Sometimes
	refusals atomic.Int64 // since the log said so
}

func newAuthenticator(identify auth.Identify, log *slog.Logger) *authenticator {
	return &authenticator{identify: identify, log: log, often: rate.Sometimes{First: 10, Interval: time.Second}}
}

// authenticate implements [gqlhttp.Config].Authenticate. The Value of a caller is its
// [lock.Caller]. Credentials in an init count before those of its handshake.
func (a *authenticator) authenticate(r *http.Request, header http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
	if header.Get(headerBearer) == "" && header.Get(headerKey) == "" {
		header = r.Header
	}
	ctx := r.Context()
	address := lock.ParseAddress(r.RemoteAddr)
	identity, err := a.identify(ctx, credentialIn(header))
	if err == nil && !identity.Role.Includes(lock.RoleViewer) {
		err = &lock.ForbiddenError{Required: lock.RoleViewer}
	}
	if err != nil {
		a.refusals.Add(1)
		a.often.Do(func() {
			// A library's text may quote what a stranger wrote.
			a.log.WarnContext(ctx, "a credential is refused", "address", address.String(), "caller", identity.Worker.ID,
				"error", fmt.Sprintf("%.200s", err.Error()), "refusals", a.refusals.Swap(0))
		})
		return gqlhttp.Caller{}, refusalOf(err)
	}
	caller := identity.Caller
	caller.Address = address
	return gqlhttp.Caller{Value: caller, QuotaKey: string(caller.Worker.ID), Expires: identity.Expires}, nil
}

func refusalOf(err error) *gqlhttp.Refusal {
	if errors.Is(err, auth.ErrUnavailable) {
		return &gqlhttp.Refusal{
			Status: http.StatusServiceUnavailable, Code: graph.CodeServiceUnavailable,
			Message:    "The credential cannot be checked at present. Try again.",
			Extensions: unavailable,
		}
	}
	if forbidden := (*lock.ForbiddenError)(nil); errors.As(err, &forbidden) {
		return &gqlhttp.Refusal{
			Status: http.StatusForbidden, Code: graph.CodeForbidden, Message: "This needs a role.",
			Extensions: map[string]any{"required": forbidden.Required},
		}
	}
	return &gqlhttp.Refusal{
		Status: http.StatusUnauthorized, Code: graph.CodeUnauthenticated,
		Message: "This needs a valid credential: Authorization: Bearer …, or X-API-Key.",
		Header:  http.Header{"Www-Authenticate": {"Bearer"}},
	}
}

// withCaller implements [gqlhttp.Config].WithCaller.
func withCaller(ctx context.Context, caller gqlhttp.Caller) context.Context {
	return lock.WithCaller(ctx, caller.Value.(lock.Caller))
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
