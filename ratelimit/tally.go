package ratelimit

import (
	"context"
	"sync"
	"time"

	"spoollock/lock"
)

// Tally counts the changes that one request asked for. It is safe for concurrent use.
type Tally struct {
	mu       sync.Mutex
	admitted int
	refused  *lock.RateLimitedError // the one with the longest wait
}

type tallyKey struct{}

// WithTally returns a context whose changes are counted.
func WithTally(ctx context.Context) (context.Context, *Tally) {
	tally := &Tally{}
	return context.WithValue(ctx, tallyKey{}, tally), tally
}

// tallyOf is nil where the context has none.
func tallyOf(ctx context.Context) *Tally {
	tally, _ := ctx.Value(tallyKey{}).(*Tally)
	return tally
}

// Refused reports whether changes were refused and none was let through, and how long it
// is until they would be.
func (t *Tally) Refused() (wait time.Duration, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil || t.admitted > 0 {
		return 0, false
	}
	return t.refused.RetryAfter, true
}

func (t *Tally) count(refused *lock.RateLimitedError) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case refused == nil:
		t.admitted++
	case t.refused == nil || refused.RetryAfter > t.refused.RetryAfter:
		t.refused = refused
	}
}
