package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"spoollock/files"
)

const (
	// fetchTime is how long the issuer may take to send its keys, and waitTime how long a
	// caller waits for them.
	fetchTime = 10 * time.Second
	waitTime  = 5 * time.Second

	// maxRedirects is the most redirects on the way to the issuer's keys.
	maxRedirects = 3

	// emptyAnswers is how often in a row the issuer must say that it has no keys.
	emptyAnswers = 3

	// maxTold is of how many keys of a set the log says that they are skipped.
	maxTold = 100
)

// errEmptySet says that a set without a key is not believed yet.
var errEmptySet = errors.New("the key set is empty")

// KeySetState is how an issuer's key set is.
type KeySetState string

// The states of a key set.
const (
	KeySetOK      KeySetState = "ok"
	KeySetStale   KeySetState = "stale"   // it cannot be read, and the one that was read last is good
	KeySetTooOld  KeySetState = "too old" // likewise, for too long: tokens are not accepted
	KeySetMissing KeySetState = "missing" // there was none yet
)

// issuerKeys is the newest good key set of an issuer. One goroutine reads it, see run; any
// may look for keys.
type issuerKeys struct {
	config JWTConfig
	log    *slog.Logger
	client *http.Client // nil: the keys are in a file
	latest *files.Latest

	set   atomic.Pointer[keySet] // nil: none was ever there
	asked chan struct{}          // by callers with an unknown kid

	// Of the goroutine that reads.
	empties      int
	emptied      time.Time           // when the last of these was counted
	told         map[skippedKey]bool // by the log
	toldOutdated bool

	mu      sync.Mutex
	fetched chan struct{} // closed when the next fetch is over
}

// newIssuerKeys reads the keys of a file. Those of a URL are fetched by run.
func newIssuerKeys(config JWTConfig, log *slog.Logger) (*issuerKeys, error) {
	k := &issuerKeys{
		config: config, log: log, asked: make(chan struct{}, 1), told: map[skippedKey]bool{}, fetched: make(chan struct{}),
	}
	k.latest = &files.Latest{
		Use: k.use, Secret: func() bool { set := k.set.Load(); return set != nil && set.secret },
		Changed: "the keys of AUTH_JWKS were read",
		Failed:  "the keys of AUTH_JWKS cannot be read, those that were read last are good",
		Log:     log,
	}
	if strings.Contains(config.Keys, "://") {
		if _, err := url.Parse(config.Keys); err != nil {
			return nil, errors.New("it is not a URL") // which may have a secret in it
		}
		k.latest.Failed = "the keys of AUTH_JWKS cannot be fetched, those that were fetched last are good"
		k.client = &http.Client{Timeout: fetchTime, Transport: config.Transport, CheckRedirect: k.checkRedirect}
		return k, nil
	}
	err := k.latest.Load(config.Keys)
	if errors.Is(err, errEmptySet) {
		log.Error(k.latest.Failed, "error", err)
		err = nil
	}
	return k, err
}

// find returns the keys with the id. If there are none, the issuer may have a new one, and
// the caller waits for the next fetch. It fails with [ErrUnavailable] where there is no set.
func (k *issuerKeys) find(ctx context.Context, id string) ([]verifyingKey, *keySet, error) {
	set, err := k.current()
	if k.client != nil && (err != nil || set.byID[id] == nil) {
		k.awaitFetch(ctx)
		set, err = k.current()
	}
	if err != nil {
		return nil, nil, err
	}
	return set.byID[id], set, nil
}

// current is the set in use. It fails with [ErrUnavailable] if there is none.
func (k *issuerKeys) current() (*keySet, error) {
	set := k.set.Load()
	switch {
	case set == nil:
		return nil, fmt.Errorf("%w: there was no key set of the issuer yet", ErrUnavailable)
	case k.outdated():
		return nil, fmt.Errorf("%w: the key set of the issuer is too old", ErrUnavailable)
	}
	return set, nil
}

func (k *issuerKeys) state() KeySetState {
	_, err := k.latest.Status()
	switch {
	case k.set.Load() == nil:
		return KeySetMissing
	case k.outdated():
		return KeySetTooOld
	case err != nil:
		return KeySetStale
	}
	return KeySetOK
}

func (k *issuerKeys) outdated() bool {
	good, _ := k.latest.Status()
	return !good.IsZero() && time.Since(good) > k.config.KeepKeys
}

// awaitFetch has the keys fetched anew, and waits for them unless the last fetch failed.
func (k *issuerKeys) awaitFetch(ctx context.Context) {
	k.mu.Lock()
	fetched := k.fetched
	k.mu.Unlock()
	select {
	case k.asked <- struct{}{}:
	default: // another caller has asked
	}
	if _, err := k.latest.Status(); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	select {
	case <-fetched:
	case <-ctx.Done():
	}
}

// run reads the keys again and again, until ctx is done.
func (k *issuerKeys) run(ctx context.Context) {
	if k.client == nil {
		for pause(ctx, files.Interval, files.Interval, nil) {
			k.latest.Reload(k.config.Keys)
			k.tellIfOutdated()
		}
		return
	}
	for {
		text, err := k.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		k.latest.Offer(text, err)
		k.tellIfOutdated()
		k.mu.Lock()
		close(k.fetched)
		k.fetched = make(chan struct{})
		k.mu.Unlock()
		if !pause(ctx, k.config.Refresh, k.config.RefreshUnknown, k.asked) {
			return
		}
	}
}

// pause waits for the most time, or for the least and until it is asked. It returns false
// when ctx is done.
func pause(ctx context.Context, most, least time.Duration, asked <-chan struct{}) bool {
	due := time.NewTimer(most)
	defer due.Stop()
	select {
	case <-time.After(min(least, most)):
	case <-ctx.Done():
		return false
	}
	select {
	case <-due.C:
	case <-asked:
	case <-ctx.Done():
		return false
	}
	return true
}

// use takes a key set into use.
func (k *issuerKeys) use(text []byte) error {
	set, skipped, err := parseKeySet(text)
	if err != nil {
		return err
	}
	if set.empty && !k.believeEmpty(time.Now()) {
		return errEmptySet
	}
	for _, key := range skipped[:min(len(skipped), maxTold)] {
		if !k.told[key] {
			k.log.Warn("a key of AUTH_JWKS is skipped", "kid", key.id, "reason", key.reason)
		}
	}
	k.told = map[skippedKey]bool{}
	for _, key := range skipped[:min(len(skipped), maxTold)] {
		k.told[key] = true
	}
	k.set.Store(set)
	return nil
}

// believeEmpty counts the answers in a row that there are no keys, which are a refresh
// apart: an issuer that is being set up gives such an answer too.
func (k *issuerKeys) believeEmpty(now time.Time) bool {
	if _, before := k.latest.Status(); !errors.Is(before, errEmptySet) {
		k.empties = 0
	}
	if k.empties == 0 || now.Sub(k.emptied) >= k.config.Refresh {
		k.empties++
		k.emptied = now
	}
	return k.empties >= emptyAnswers
}

func (k *issuerKeys) tellIfOutdated() {
	outdated := k.outdated()
	if outdated && !k.toldOutdated {
		k.log.Error("the keys of AUTH_JWKS are too old, tokens are no longer accepted", "hours", k.config.KeepKeys.Hours())
	}
	k.toldOutdated = outdated
}

// fetch returns what the issuer answers. Its errors do not hold the URL: its query, and that
// of a redirect, can have a secret.
func (k *issuerKeys) fetch(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.config.Keys, nil)
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answers with status %d", response.StatusCode)
	}
	text, err := files.ReadAll(response.Body)
	if err != nil && !errors.Is(err, files.ErrTooLarge) {
		return nil, withoutURL(err)
	}
	return text, err
}

// errRedirect says that a redirect of the issuer is not followed.
var errRedirect = errors.New("the issuer redirects")

// checkRedirect follows a redirect to what AUTH_JWKS could be itself, and never from https
// to http.
func (k *issuerKeys) checkRedirect(next *http.Request, via []*http.Request) error {
	next.Header.Del("Referer") // it has the query of the URL before
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w more than %d times", errRedirect, maxRedirects)
	case k.config.AllowedURL == nil || !k.config.AllowedURL(next.URL),
		via[len(via)-1].URL.Scheme == "https" && next.URL.Scheme != "https":
		return fmt.Errorf("%w to a URL that is not safe", errRedirect)
	}
	return nil
}

// withoutURL is why a fetch failed, without the URL.
func withoutURL(err error) error {
	var request *url.Error
	var op *net.OpError
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.Is(err, errRedirect) && errors.As(err, &request):
		return request.Err
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &lookup):
		return lookup
	case errors.As(err, &op):
		return op
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return errors.New("the issuer did not answer in time")
	default:
		return errors.New("the issuer gives no answer that can be read")
	}
}
