// Package ratelimit limits how many operations of a kind a caller may send in a time, by
// identity and by network address. Several limiters can live side by side.
package ratelimit

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"spoollock/lock"
)

const (
	// burstSeconds is how many seconds' worth of units a full bucket has.
	burstSeconds = 2

	// maxBuckets is how many identities, and how many addresses, are known at a time; the
	// one used least recently gives way. A bucket that was not drawn on for burstSeconds is
	// full again, and nothing is lost with it, so a caller is forgotten too early only if
	// 10,000 others come within that time. A shared bucket in debt takes up to maxDebt times
	// as long more to be full.
	maxBuckets = 10_000
)

// Config configures a [Limiter].
type Config struct {
	// Name tells limiters that live side by side apart. It is the prefix of the shared
	// buckets' names ("queries:identity:93"), and in messages the word for what is limited.
	// Empty: the names have no prefix ("identity:93"), and the word is "changes".
	Name string

	// PerIdentity and PerAddress are units a second, at least 1. Twice as many can be
	// drawn at once.
	PerIdentity, PerAddress int

	// DrawShared, if it is set, shares the buckets with other processes.
	DrawShared DrawShared
}

// Limiter lets operations through while their callers do not send too many. It is safe for
// concurrent use.
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

// Admit lets an operation of the context's caller through, or returns
// *lock.RateLimitedError. An anonymous caller is limited by address alone. A context without
// a caller is the program's own, which is not limited.
func (l *Limiter) Admit(ctx context.Context) error {
	caller, ok := lock.CallerOf(ctx)
	if !ok {
		return nil
	}
	err := l.draw(caller, 1)
	tallyOf(ctx).count(err)
	if err != nil {
		return err
	}
	return nil // and not err, a nil of another type
}

// AdmitUnits is [Limiter.Admit] for what a request asks for as a whole, before anything of it
// is done. It draws that many units, but no more than a full bucket has. A [Tally] counts it only
// if it is refused.
func (l *Limiter) AdmitUnits(ctx context.Context, units int) error {
	caller, ok := lock.CallerOf(ctx)
	if !ok {
		return nil
	}
	if err := l.draw(caller, units); err != nil {
		tallyOf(ctx).count(err)
		return err
	}
	return nil
}

// draw draws units on each of the caller's buckets, or on none.
func (l *Limiter) draw(caller lock.Caller, units int) *lock.RateLimitedError {
	identity, address := l.bucketName("identity", string(caller.Worker.ID)), l.bucketName("address", caller.Address.Network())
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var drawn *rate.Reservation
	if !caller.Anonymous() {
		drawn = l.identities.reserve(now, identity, units)
		if wait := drawn.DelayFrom(now); wait > 0 {
			drawn.CancelAt(now)
			return &lock.RateLimitedError{Kind: l.name, Reason: lock.ReasonIdentity, RetryAfter: wait}
		}
	}
	further := l.addresses.reserve(now, address, units)
	if wait := further.DelayFrom(now); wait > 0 {
		further.CancelAt(now)
		if drawn != nil {
			drawn.CancelAt(now)
		}
		return &lock.RateLimitedError{Kind: l.name, Reason: lock.ReasonAddress, RetryAfter: wait}
	}
	if l.drawShared != nil {
		l.queueShare(caller, units, identity, address)
	}
	return nil
}

func (l *Limiter) bucketName(kind, id string) string {
	if l.name == "" {
		return kind + ":" + id
	}
	return l.name + ":" + kind + ":" + id
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

// reserve draws units on a bucket, perhaps for a later time. No more than a full bucket has
// could ever be drawn.
func (b *buckets) reserve(now time.Time, name string, units int) *rate.Reservation {
	return b.bucket(name).ReserveN(now, min(units, b.capacity()))
}

func (b *buckets) bucket(name string) *rate.Limiter {
	limiter, ok := b.limiters.Get(name)
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(b.perSecond), b.capacity())
		b.limiters.Add(name, limiter)
	}
	return limiter
}
