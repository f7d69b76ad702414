// Package ratelimit bounds how many changes a caller may ask for in a time, by who they
// are and by where they ask from.
package ratelimit

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"spoollock/lock"
)

const (
	// burstSeconds is how many seconds' worth of changes can be asked for at once.
	burstSeconds = 2

	// maxBuckets is how many identities, and how many addresses, are known at a time. A
	// bucket that nobody has drawn on for burst seconds is full, and nothing is lost with
	// it; so who is forgotten too early has 10,000 others beside them in that time. One that
	// is shared and in debt takes up to maxDebt times as long more.
	maxBuckets = 10_000
)

// Config configures a [Limiter].
type Config struct {
	// Name tells limiters that live side by side apart. It is the prefix of the shared
	// buckets' names ("queries:identity:93"), and in messages the word for what is limited.
	// Empty: the names have no prefix ("identity:93"), and the word is "changes".
	Name string

	// PerIdentity and PerAddress are changes a second, at least 1. At once, twice as many
	// can be asked for.
	PerIdentity, PerAddress int

	// DrawShared, if it is set, shares the buckets with other processes.
	DrawShared DrawShared
}

// Limiter lets changes through while their callers do not ask for too many. It is safe
// for concurrent use.
type Limiter struct {
	name       string
	drawShared DrawShared // nil: nothing is shared

	mu                    sync.Mutex // makes a draw on two buckets one step
	identities, addresses buckets
}

// New returns a Limiter.
func New(config Config) *Limiter {
	return &Limiter{
		name:       config.Name,
		drawShared: config.DrawShared,
		identities: newBuckets(config.PerIdentity),
		addresses:  newBuckets(config.PerAddress),
	}
}

// Admit lets a change through that the caller of the context asks for, or fails with
// *lock.RateLimitedError. What is not known of the caller is not counted.
func (l *Limiter) Admit(ctx context.Context) error {
	caller, _ := lock.CallerOf(ctx)
	err := l.draw(caller)
	tallyOf(ctx).count(err)
	if err != nil {
		return err
	}
	return nil // and not err, a nil of another type
}

// draw draws a unit on each of the caller's buckets, or on none.
func (l *Limiter) draw(caller lock.Caller) *lock.RateLimitedError {
	identity, address := l.bucketName("identity", string(caller.Worker.ID)), l.bucketName("address", networkOf(caller.Address))
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var drawn *rate.Reservation
	if !caller.Anonymous() {
		drawn = l.identities.bucket(identity).ReserveN(now, 1)
		if wait := drawn.DelayFrom(now); wait > 0 {
			drawn.CancelAt(now)
			return &lock.RateLimitedError{Of: l.name, Reason: lock.ReasonIdentity, RetryAfter: wait}
		}
	}
	if caller.Address.IsValid() {
		further := l.addresses.bucket(address).ReserveN(now, 1)
		if wait := further.DelayFrom(now); wait > 0 {
			further.CancelAt(now)
			if drawn != nil {
				drawn.CancelAt(now)
			}
			return &lock.RateLimitedError{Of: l.name, Reason: lock.ReasonAddress, RetryAfter: wait}
		}
	}
	if l.drawShared != nil {
		l.queueShare(caller, identity, address)
	}
	return nil
}

func (l *Limiter) bucketName(kind, id string) string {
	if l.name == "" {
		return kind + ":" + id
	}
	return l.name + ":" + kind + ":" + id
}

// networkOf is the address, of IPv6 the /64 that one subscriber has to themselves.
func networkOf(address netip.Addr) string {
	if address = address.Unmap(); address.Is6() {
		if prefix, err := address.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

// buckets are token buckets that are filled at the same rate.
type buckets struct {
	perSecond int
	limiters  *simplelru.LRU[string, *rate.Limiter]
	unsent    map[string]int // units that were drawn since the last exchange
}

func newBuckets(perSecond int) buckets {
	limiters, err := simplelru.NewLRU[string, *rate.Limiter](maxBuckets, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return buckets{perSecond: perSecond, limiters: limiters, unsent: map[string]int{}}
}

func (b *buckets) capacity() int { return burstSeconds * b.perSecond }

func (b *buckets) bucket(name string) *rate.Limiter {
	limiter, ok := b.limiters.Get(name)
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(b.perSecond), b.capacity())
		b.limiters.Add(name, limiter)
	}
	return limiter
}
