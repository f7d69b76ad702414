// Package auth says who is calling.
package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"spoollock/lock"
)

// Identity is whom a credential stands for.
type Identity struct {
	lock.Caller

	// Expires is when the credential ends; zero: never.
	Expires time.Time
}

// ErrRefused says that a credential is missing or stands for nobody. What wraps it says
// why, for the log alone.
var ErrRefused = errors.New("the credential is refused")

// ErrUnavailable says that a credential cannot be checked at present.
var ErrUnavailable = errors.New("the credential cannot be checked")

var errNoCredential = fmt.Errorf("%w: none is shown", ErrRefused)

// Identify says whom a credential stands for; an empty one is none. It fails with
// [ErrRefused] or [ErrUnavailable].
type Identify func(ctx context.Context, credential string) (Identity, error)

// Static answers the same caller for every credential, and for none.
func Static(caller lock.Caller) Identify {
	return func(context.Context, string) (Identity, error) { return Identity{Caller: caller}, nil }
}

// TokensOrKeys accepts both: a credential with one dot is a key, and any other one is a
// JSON Web Token, which has two. A token is refused if its worker id is that of a key, or
// of a partner's worker: token and key would share their locks.
func TokensOrKeys(tokens Identify, keys *Keys) Identify {
	return func(ctx context.Context, credential string) (Identity, error) {
		if strings.Count(credential, ".") == 1 {
			return keys.Identify(ctx, credential)
		}
		identity, err := tokens(ctx, credential)
		if err == nil && keys.owns(identity.Worker.ID) {
			return Identity{}, fmt.Errorf("%w: the worker id %s belongs to a key", ErrRefused, identity.Worker.ID)
		}
		return identity, err
	}
}
