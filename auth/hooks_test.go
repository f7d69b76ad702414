package auth_test

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"spoollock/auth"
)

func keepKeys(c *auth.JWTConfig, d time.Duration) { c.KeepKeys = d }

func allow(c *auth.JWTConfig, allowed func(*url.URL) bool, transport http.RoundTripper) {
	c.AllowedURL, c.Transport = allowed, transport
}

func isUnavailable(err error) bool { return errors.Is(err, auth.ErrUnavailable) }

func stateOf(tokens *auth.JWT) auth.KeySetState {
	return tokens.KeySet()
}
