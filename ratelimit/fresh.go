package ratelimit

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"spoollock/lock"
)

const (
	// FreshSpoolsPerDay is how many spools that were never seen before a caller may take in
	// any 24 hours. Redis remembers each of them for a long time, whatever becomes of its lock.
	FreshSpoolsPerDay = 2000

	// countedHours are the hour under way, and the 24 before it: a take counts for 24 hours at
	// least, and for 25 at most.
	countedHours = 25
)

// FreshSpools limits how many spools a caller may take that were never seen before. An
// anonymous caller counts with all others of its address. It is safe for concurrent use. As
// many callers are known at a time as a [Limiter] knows; another one takes the place of the
// one that took a spool least recently.
type FreshSpools struct {
	limit   int
	started time.Time // what hours count from

	mu      sync.Mutex
	callers *simplelru.LRU[string, *freshSpools]
}

// freshSpools are those of one caller.
type freshSpools struct {
	underWay int                 // takes that may be of a fresh spool
	taken    [countedHours]int32 // in each hour, the hour h at h % countedHours
	hour     int                 // the newest one
}

// NewFreshSpools returns FreshSpools with a limit for each caller in a day.
func NewFreshSpools(limit int) *FreshSpools {
	callers, err := simplelru.NewLRU[string, *freshSpools](maxBuckets, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &FreshSpools{limit: limit, started: time.Now(), callers: callers}
}

// Begin begins a take of the context's caller. It returns *lock.RateLimitedError if the
// caller may take no further fresh spool. Takes that are under way count as if their spools
// were fresh, until end says whether one was. A context without a caller is the program's
// own, which is not limited.
func (f *FreshSpools) Begin(ctx context.Context) (end func(fresh bool), err error) {
	caller, ok := lock.CallerOf(ctx)
	if !ok {
		return func(bool) {}, nil
	}
	reason, name := lock.ReasonIdentity, string(caller.Worker.ID)
	if caller.Anonymous() {
		reason, name = lock.ReasonAddress, caller.Address.Network()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	spools := f.of(string(reason) + ":" + name)
	wait := spools.wait(time.Since(f.started), f.limit)
	if wait == 0 {
		spools.underWay++
	} else {
		err = &lock.RateLimitedError{Kind: "spools that no one has taken before", Reason: reason, RetryAfter: wait}
	}
	return func(fresh bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if wait == 0 {
			spools.underWay--
		}
		if fresh {
			spools.advance(time.Since(f.started))
			spools.taken[spools.hour%countedHours]++
		}
	}, err
}

func (f *FreshSpools) of(name string) *freshSpools {
	spools, known := f.callers.Get(name)
	if !known {
		spools = &freshSpools{}
		f.callers.Add(name, spools)
	}
	return spools
}

// advance forgets the hours that no longer count.
func (s *freshSpools) advance(now time.Duration) {
	for s.hour < int(now/time.Hour) {
		s.hour++
		s.taken[s.hour%countedHours] = 0
	}
}

// wait is how long it is until the caller may take another fresh spool; 0: it may at once.
func (s *freshSpools) wait(now time.Duration, limit int) time.Duration {
	s.advance(now)
	taken := 0
	for _, n := range s.taken {
		taken += int(n)
	}
	if taken+s.underWay < limit {
		return 0
	}
	if taken < limit {
		return time.Second // for what is under way
	}
	oldest := s.hour - countedHours + 1
	for taken >= limit {
		taken -= int(s.taken[(oldest+countedHours)%countedHours])
		oldest++
	}
	return time.Duration(oldest+countedHours-1)*time.Hour - now
}
