package lock

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxOrphans bounds the memory that a long outage can cost. A lock beyond it
	// lapses by itself.
	maxOrphans = 10_000

	// The pause after a try that failed is firstOrphanPause, twice as long after each
	// further one up to maxOrphanPause.
	firstOrphanPause = 50 * time.Millisecond
	maxOrphanPause   = 500 * time.Millisecond
)

// orphans are the tokens of takes that may have been applied, or may yet be, and
// that nobody will ever be told of. One goroutine releases and bars them, in
// turn, for as long as their locks could last; it runs only while there are any.
type orphans struct {
	store   Store
	timeout time.Duration // of one try
	log     *slog.Logger

	stopped chan struct{} // closed when nothing is to be tried any more
	running sync.WaitGroup

	mu      sync.Mutex
	waiting []orphan // the goroutine runs while there are any
}

type orphan struct {
	tag   Tag
	token Token

	// expires is when its lock ends by itself. It is by this process's clock, and
	// only limits how long is tried.
	expires time.Time
}

func newOrphans(store Store, timeout time.Duration, log *slog.Logger) *orphans {
	return &orphans{store: store, timeout: timeout, log: log, stopped: make(chan struct{})}
}

func (o *orphans) add(added orphan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == maxOrphans {
		o.log.Error("too many unconfirmed takes, one is left to lapse", "tag", added.tag)
		return
	}
	o.waiting = append(o.waiting, added)
	if len(o.waiting) == 1 {
		o.running.Go(o.run)
	}
}

// close lets the goroutine go on until ctx is done. A try that is under way then is
// waited for no longer: it ends with its own time, or with the store.
func (o *orphans) close(ctx context.Context) {
	idle := make(chan struct{})
	go func() {
		o.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		close(o.stopped)
		o.mu.Lock()
		defer o.mu.Unlock()
		if left := len(o.waiting); left > 0 {
			o.log.Error("unconfirmed takes are left to lapse", "number", left)
		}
	}
}

func (o *orphans) run() {
	pause := time.Duration(0)
	for {
		o.mu.Lock()
		next := o.waiting[0]
		o.mu.Unlock()

		done := o.release(next)
		o.mu.Lock()
		o.waiting = o.waiting[1:]
		if !done {
			// To the end, so that one spool that cannot be worked with holds up no other.
			o.waiting = append(o.waiting, next)
		}
		left := len(o.waiting)
		o.mu.Unlock()
		if left == 0 {
			return
		}
		if done {
			pause = 0
		} else {
			pause = min(max(2*pause, firstOrphanPause), maxOrphanPause)
		}
		select {
		case <-time.After(pause):
		case <-o.stopped:
			return
		}
	}
}

// release tries once, and reports whether there is nothing more to try.
func (o *orphans) release(orphan orphan) (done bool) {
	log := o.log.With("tag", orphan.tag, "worker", OwnerOf(orphan.token.Reveal()))
	outcome, err := o.try(orphan)
	switch {
	case err == nil && outcome == OutcomeReleased:
		log.Info("unconfirmed take was taken back")
		return true
	case err == nil:
		log.Info("unconfirmed take has no lock, and cannot come into force any more", "outcome", outcome)
		return true
	case time.Now().After(orphan.expires):
		log.Error("unconfirmed take could not be taken back until its lock lapsed", "error", err)
		return true
	default:
		return false
	}
}

func (o *orphans) try(orphan orphan) (ReleaseOutcome, error) {
	id, err := NewRequestID()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	released, err := single(o.store.Release(ctx, []ReleaseCommand{{Tag: orphan.tag, Token: orphan.token, ID: id, Bar: true}}))
	return released.Outcome, err
}
