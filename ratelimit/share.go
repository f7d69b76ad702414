package ratelimit

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"spoollock/lock"
)

const (
	// maxDebt is how far below empty a bucket can be, in bursts. It bounds the wait that a
	// wrong number in Redis can cause.
	maxDebt = 10

	// shareInterval is the time between two exchanges with the other processes.
	shareInterval = 250 * time.Millisecond
)

// DrawShared draws units from buckets that all processes share, by their names. Each bucket
// gets perSecond units and has room for capacity. It returns how many units are left in
// each, below 0 if more were drawn than there were.
type DrawShared func(ctx context.Context, drawn map[string]int, perSecond, capacity int) (left map[string]int, err error)

// queueShare has the next exchange draw units from the caller's shared buckets.
func (l *Limiter) queueShare(caller lock.Caller, units int, identity, address string) {
	if !caller.Anonymous() {
		l.identities.add(identity, units)
	}
	l.addresses.add(address, units)
}

// RunSharing shares the buckets with other processes until ctx is done. It returns at once
// if [Config.DrawShared] is not set. A process learns of what others let through up to
// 250 ms later: at first each can let a burst through, and callers then wait for what
// was too much.
func (l *Limiter) RunSharing(ctx context.Context, log *slog.Logger) {
	if l.drawShared == nil {
		return
	}
	if l.name != "" {
		log = log.With("limiter", l.name)
	}
	ticker := time.NewTicker(shareInterval)
	defer ticker.Stop()
	seldom := rate.Sometimes{Interval: time.Minute}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, b := range []*buckets{&l.identities, &l.addresses} {
			if err := l.exchange(ctx, b); err != nil && ctx.Err() == nil {
				seldom.Do(func() {
					log.Warn("the rates of callers cannot be shared, each process bounds its own", "error", err)
				})
			}
		}
	}
}

// exchange draws from the shared buckets what was drawn here, and takes from the buckets
// here what other processes have drawn.
func (l *Limiter) exchange(ctx context.Context, b *buckets) error {
	l.mu.Lock()
	unsent := b.unsent
	b.unsent = map[string]int{}
	l.mu.Unlock()
	if len(unsent) == 0 {
		return nil
	}
	left, err := l.drawShared(ctx, unsent, b.perSecond, b.capacity())
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for name, units := range left {
		limiter := b.bucket(name)
		units = max(units, -maxDebt*b.capacity())
		for more := int(limiter.TokensAt(now)) - units; more > 0; more -= b.capacity() {
			limiter.ReserveN(now, min(more, b.capacity()))
		}
	}
	return err
}

// add counts units that were drawn, for the next exchange. Beyond maxBuckets buckets it
// counts no further one.
func (b *buckets) add(name string, units int) {
	if _, known := b.unsent[name]; known || len(b.unsent) < maxBuckets {
		b.unsent[name] += min(units, b.capacity())
	}
}
