package lock

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxOrphans bounds the memory that a long outage can cost. A lock beyond it
	// lapses by itself.
	maxOrphans = 10_000

	firstOrphanPause = 100 * time.Millisecond
	maxOrphanPause   = 2 * time.Second
)

// orphans are the tokens of takes that may have been applied, or may yet be, and
// that nobody will ever be told of. One goroutine releases and bars them, in
// turn; it runs only while there are any.
type orphans struct {
	store   Store
	timeout time.Duration // of one try
	log     *slog.Logger

	closing chan struct{} // closed when no pause is to be waited out any more
	idle    sync.WaitGroup

	mu      sync.Mutex
	waiting []orphan
	running bool
}

type orphan struct {
	tag   Tag
	token Token
}

func newOrphans(store Store, timeout time.Duration, log *slog.Logger) *orphans {
	return &orphans{store: store, timeout: timeout, log: log, closing: make(chan struct{})}
}

func (o *orphans) add(tag Tag, token Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == maxOrphans {
		o.log.Error("too many unconfirmed takes, one is left to lapse", "tag", tag)
		return
	}
	o.waiting = append(o.waiting, orphan{tag, token})
	if !o.running {
		o.running = true
		o.idle.Go(o.run)
	}
}

// close lets each orphan have one last try, until ctx is done.
func (o *orphans) close(ctx context.Context) {
	close(o.closing)
	done := make(chan struct{})
	go func() {
		o.idle.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (o *orphans) run() {
	for {
		o.mu.Lock()
		if len(o.waiting) == 0 {
			o.waiting, o.running = nil, false
			o.mu.Unlock()
			return
		}
		next := o.waiting[0]
		o.waiting = o.waiting[1:]
		o.mu.Unlock()
		o.release(next)
	}
}

// release tries until the store answers, or once more if the service is closing.
func (o *orphans) release(orphan orphan) {
	log := o.log.With("tag", orphan.tag, "worker", OwnerOf(orphan.token.Reveal()))
	id, err := NewRequestID()
	if err != nil {
		log.Error("unconfirmed take is left to lapse", "error", err)
		return
	}
	cmd := ReleaseCommand{Tag: orphan.tag, Token: orphan.token, ID: id, Bar: true}
	for pause := firstOrphanPause; ; pause = min(2*pause, maxOrphanPause) {
		outcome, err := o.try(cmd)
		if err == nil {
			log.Info("unconfirmed take was taken back", "outcome", outcome)
			return
		}
		unavailable := (*UnavailableError)(nil)
		if !errors.As(err, &unavailable) || !o.wait(pause) {
			log.Error("unconfirmed take is left to lapse", "error", err)
			return
		}
	}
}

func (o *orphans) try(cmd ReleaseCommand) (ReleaseOutcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	outcome, _, err := o.store.Release(ctx, cmd)
	return outcome, err
}

// wait reports false at once where the service is closing.
func (o *orphans) wait(pause time.Duration) bool {
	select {
	case <-o.closing:
		return false
	case <-time.After(pause):
		return true
	}
}
