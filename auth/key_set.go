package auth

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/MicahParks/jwkset"
)

// The states of the issuer's keys.
const (
	KeysOK      = "ok"
	KeysStale   = "stale"   // they could not be fetched at the last attempt; those from before are good
	KeysMissing = "missing" // there never were any: every token is refused
)

// keySet watches how the issuer's keys are fetched.
type keySet struct {
	storage jwkset.Storage
	seen    atomic.Bool // there were keys
	failing atomic.Bool // at the last attempt
}

// state is one of those above.
func (k *keySet) state() string {
	if !k.seen.Load() {
		keys, err := k.storage.KeyReadAll(context.Background())
		if err != nil || len(keys) == 0 {
			return KeysMissing
		}
		k.seen.Store(true)
	}
	if k.failing.Load() {
		return KeysStale
	}
	return KeysOK
}

// RoundTrip implements [http.RoundTripper]. What is fetched and then is no set of keys fails
// later, where it is read.
func (k *keySet) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	k.failing.Store(err != nil || response.StatusCode != http.StatusOK)
	return response, err
}
