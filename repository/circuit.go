package repository

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// The circuit opens when so many attempts have failed in a row, over a time that those
	// of one operation seldom take: what they can make good is no reason.
	openAfterFailures = 5
	openAfterTime     = time.Second

	// An open circuit lets one attempt through after firstProbe, and after each that
	// fails waits twice as long for the next, up to maxProbe, and up to a half longer.
	firstProbe = 50 * time.Millisecond
	maxProbe   = time.Second

	// failuresMemory is how long failed operations say something of Redis, since the last one.
	failuresMemory = 30 * time.Second
)

// circuits has one for each Redis by its address: in a Cluster, one that does not answer
// is no reason to keep away from the others. The empty address stands for the question
// which Redis has a key.
type circuits struct {
	mu     sync.Mutex
	byAddr map[string]*circuit
}

func (c *circuits) of(addr string) *circuit {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byAddr[addr] == nil {
		c.byAddr[addr] = &circuit{}
	}
	return c.byAddr[addr]
}

// failing returns why operations at a Redis fail, if nothing else has come of them for a
// while.
func (c *circuits) failing(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, circuit := range c.byAddr {
		if err := circuit.failing(now); err != nil {
			return err
		}
	}
	return nil
}

// circuit keeps operations from a Redis that does not answer, so that they fail at once
// and neither they nor their connections pile up. It is closed, and lets all through,
// until nothing has succeeded for a while.
type circuit struct {
	mu        sync.Mutex
	failed    int           // in a row
	since     time.Time     // the first of them
	pause     time.Duration // to the next probe
	nextProbe time.Time     // when it may be; zero: the circuit is closed
	failures  failedRun     // what Redis refused among them
}

// failedRun counts the operations that failed in a row.
type failedRun struct {
	n           int
	first, last time.Time
	err         error // the last one
}

// enter asks whether an operation may go to Redis; if so, leave says what came of it.
func (c *circuit) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case !c.nextProbe.IsZero() && now.Before(c.nextProbe):
		return errCircuitOpen
	case !c.nextProbe.IsZero():
		c.delayProbe(now) // for this one, which is the probe
	}
	return nil
}

func (c *circuit) leave(results ...error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures.count(results)
	for _, err := range results {
		switch {
		case err == nil || isAnswer(err):
			c.failed, c.pause, c.nextProbe = 0, 0, time.Time{}
			return
		case errors.Is(err, context.Canceled), errors.Is(err, errTooMany), errors.Is(err, errTooLate):
			return // it says nothing of Redis
		}
	}
	now := time.Now()
	if c.failed++; c.failed == 1 {
		c.since = now
	}
	if c.failed >= openAfterFailures && now.Sub(c.since) >= openAfterTime && c.nextProbe.IsZero() {
		c.delayProbe(now)
	}
}

func (c *circuit) delayProbe(now time.Time) {
	c.pause = min(max(2*c.pause, firstProbe), maxProbe)
	c.nextProbe = now.Add(c.pause + rand.N(c.pause/2)) //nolint:gosec // no secret
}

// failing returns why operations fail, if all have for a while.
func (c *circuit) failing(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.failures
	if f.n < openAfterFailures || f.last.Sub(f.first) < openAfterTime || now.Sub(f.last) > failuresMemory {
		return nil
	}
	return withoutSecrets(f.err)
}

// count takes in what came of operations. What lies in one spool or in the caller is no
// failure of Redis, and no proof that it works.
func (f *failedRun) count(results []error) {
	var failed error
	for _, err := range results {
		switch {
		case err == nil:
			*f = failedRun{}
			return
		case errors.Is(err, context.Canceled), errors.Is(err, errTooMany), errors.Is(err, errTooLate), isElsewhere(err),
			redis.HasErrorPrefix(err, "WRONGTYPE"), redis.HasErrorPrefix(err, "NOSCRIPT"), redis.HasErrorPrefix(err, "TRYAGAIN"):
		default:
			failed = err
		}
	}
	if failed == nil {
		return
	}
	now := time.Now()
	if f.n == 0 {
		f.first = now
	}
	f.n, f.last, f.err = f.n+1, now, failed
}
