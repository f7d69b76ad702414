package floor

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"spoollock/lock"
)

const (
	beatInterval = time.Second

	// beatTimeout is how long a beat may take to come back before the feed is connected
	// again.
	beatTimeout = 5 * time.Second

	// The pause before the feed is connected anew is firstPause, twice as long after
	// each further failure up to maxPause, and up to as much longer.
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second

	// rebuildPause is the least time between two rebuilds that gaps ask for.
	rebuildPause = time.Second

	// dueCheckPause is the time between two checks for expired locks; a check is delayed by
	// up to as much more, so that processes do not all ask at the same time.
	dueCheckPause = 20 * time.Millisecond

	// maxReadTags is the most spools of one read.
	maxReadTags = 128

	// rebuildReads is how many reads of a rebuild are under way at a time.
	rebuildReads = 2
)

// Config configures [Run]. Every field is required.
type Config struct {
	// RebuildInterval is the time between two rebuilds that nothing asked for.
	RebuildInterval time.Duration

	// Timeout is how long the store may take to answer.
	Timeout time.Duration
}

// Run keeps view up to date with source until ctx is done.
func Run(ctx context.Context, view *View, source Source, config Config, log *slog.Logger) {
	r := &runner{
		view: view, source: source, config: config, log: log,
		rebuildRequests: make(chan struct{}, 1), beatRequests: make(chan struct{}, 1),
		unreturned: map[string]time.Time{},
	}
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){r.runFeed, r.runBeats, r.runRebuilds, r.readDueLocks} {
		loops.Go(func() { loop(ctx) })
	}
	loops.Wait()
	view.stop()
}

type runner struct {
	view   *View
	source Source
	config Config
	log    *slog.Logger

	rebuildRequests chan struct{} // holds at most one
	beatRequests    chan struct{} // holds at most one

	mu           sync.Mutex
	unreturned   map[string]time.Time // the beats that have not come back
	saidNotLive  bool                 // the log says last why the view is not live
	wasConnected bool                 // the feed had been connected before that
	cut          context.CancelFunc   // ends the connection of the feed
}

// runFeed keeps the feed connected.
func (r *runner) runFeed(ctx context.Context) {
	pause, connected := firstPause, false // connected: it was, once
	for ctx.Err() == nil {
		connection, cut := context.WithCancel(ctx)
		r.mu.Lock()
		r.cut = cut
		r.mu.Unlock()
		err := r.source.Listen(connection, func() {
			pause, connected = firstPause, true
			r.subscribed()
		}, r.view.knows, r.receive)
		cut()
		r.view.disconnected()
		if ctx.Err() != nil {
			return
		}
		r.sayCut(err, connected)
		sleep(ctx, pause+jitter(pause))
		pause = min(2*pause, maxPause)
	}
}

// sayCut says that the feed is not connected, unless the log says last that the view is not live.
func (r *runner) sayCut(err error, connected bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.saidNotLive:
		return
	case connected:
		r.log.Warn("the feed of the floor is cut, its view is rebuilt when it is back", "error", err)
	default:
		r.log.Warn("the feed of the floor cannot be connected, its view is built when it can", "error", err)
	}
	r.saidNotLive, r.wasConnected = true, connected
}

// subscribed begins a connection of the feed.
func (r *runner) subscribed() {
	r.mu.Lock()
	clear(r.unreturned) // a beat that was sent before does not come back here
	r.mu.Unlock()
	r.view.subscribed()
	request(r.rebuildRequests)
	request(r.beatRequests)
}

// receive takes in a message of the feed.
func (r *runner) receive(message Message) {
	if message.Beat == "" {
		if gap := r.view.applyMessage(message); gap {
			request(r.rebuildRequests)
		}
		return
	}
	r.mu.Lock()
	sent, own := r.unreturned[message.Beat]
	delete(r.unreturned, message.Beat)
	r.mu.Unlock()
	if !own {
		return
	}
	another := r.view.beatReturned(sent, message.Clocks) == otherClock
	if another {
		r.log.Warn("the store's clock was set, or another server has taken over: the view of the floor is rebuilt")
		request(r.rebuildRequests)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if another {
		r.saidNotLive, r.wasConnected = true, true
	}
	if r.saidNotLive && r.view.Status().Live {
		if r.wasConnected {
			r.log.Info("the view of the floor is live again")
		} else {
			r.log.Info("the view of the floor is live")
		}
		r.saidNotLive = false
	}
}

// request leaves a request, unless one is waiting.
func request(requests chan<- struct{}) {
	select {
	case requests <- struct{}{}:
	default:
	}
}

// runBeats sends beats, and ends a connection on which none come back.
func (r *runner) runBeats(ctx context.Context) {
	wasLive := false
	for ctx.Err() == nil {
		id := uuid.NewString() // which no one can guess who heard the beats before
		r.mu.Lock()
		r.unreturned[id] = time.Now()
		r.mu.Unlock()
		sending, cancel := context.WithTimeout(ctx, r.config.Timeout)
		err := r.source.Beat(sending, id)
		cancel()
		r.mu.Lock()
		if err != nil {
			delete(r.unreturned, id)
		}
		for id, sent := range r.unreturned {
			if time.Since(sent) > beatTimeout {
				// A beat went out and did not come back: this feed is not the store's.
				delete(r.unreturned, id)
				r.cut()
			}
		}
		r.mu.Unlock()
		r.view.tick()
		live := r.view.Status().Live
		if wasLive && !live && err != nil && ctx.Err() == nil {
			r.sayBeatsFail(err)
		}
		wasLive = live
		select {
		case <-ctx.Done():
		case <-r.beatRequests:
		case <-time.After(beatInterval):
		}
	}
}

// sayBeatsFail says that the view is not live because no beat is sent, unless the log says that
// the feed is cut.
func (r *runner) sayBeatsFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.saidNotLive {
		r.log.Warn("the store takes no beat, the view of the floor is stale until it does", "error", err)
		r.saidNotLive, r.wasConnected = true, true
	}
}

// runRebuilds rebuilds the view on request, and from time to time.
func (r *runner) runRebuilds(ctx context.Context) {
	warned := false                   // that it was not completed
	pause := r.config.RebuildInterval // until the next one that nothing asks for
	for {
		regular := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-r.rebuildRequests:
		case <-regular.C:
		}
		regular.Stop()
		if ctx.Err() != nil {
			return
		}
		begun := time.Now()
		before, err := r.rebuildOnce(ctx)
		took := time.Since(begun)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if before.connected && !warned {
				r.log.Warn("the floor's view could not be rebuilt, it is tried again", "error", err)
				warned = true
			}
			sleep(ctx, rebuildPause)
			request(r.rebuildRequests)
			continue
		}
		warned = false
		if r.view.finishRebuild(took, before) {
			sleep(ctx, min(rebuildPause, r.config.RebuildInterval/4))
		}
		pause = r.untilNextRebuild(time.Since(begun), took)
	}
}

// untilNextRebuild is how long to wait after a rebuild that began since ago. What another
// program does right after a rebuild has read it is found at the end of the next one, which
// is to be within the interval.
func (r *runner) untilNextRebuild(since, took time.Duration) time.Duration {
	interval := r.config.RebuildInterval
	most := interval - interval/10 - since - took
	return max(0, most-jitter(interval/4)) // not all processes at once
}

// rebuildOnce returns how the view was when it began. While the store answers about some
// spools, it goes on with the scan and asks about the next ones.
func (r *runner) rebuildOnce(ctx context.Context) (rebuildStart, error) {
	begun := r.view.beginRebuild()
	reads, reading := errgroup.WithContext(ctx)
	reads.SetLimit(rebuildReads)
	err := r.source.Scan(reading, func(found []Found) error {
		if unknown := r.view.compare(found); len(unknown) > 0 {
			reads.Go(func() error { return r.readSpools(reading, r.source.ReadScanned, unknown) })
		}
		return nil
	})
	if failed := reads.Wait(); failed != nil {
		err = failed // which ended the scan
	}
	if err != nil {
		return begun, err
	}
	for after, done := lock.Tag(""), false; !done; {
		var tags []lock.Tag
		tags, after, done = r.view.unconfirmed(begun.generation, after)
		if err := r.readSpools(ctx, r.source.ReadScanned, tags); err != nil {
			return begun, err
		}
	}
	return begun, nil
}

// readDueLocks asks the store about locks that have expired by this process's clock.
func (r *runner) readDueLocks(ctx context.Context) {
	for ctx.Err() == nil {
		if tags := r.view.takeDue(maxReadTags); len(tags) == 0 || r.readSpools(ctx, r.source.ReadDue, tags) != nil {
			sleep(ctx, dueCheckPause+jitter(dueCheckPause))
		}
	}
}

// readSpools reads spools from the store into the view. It fails when the store is
// unavailable; a spool that cannot be read is logged and skipped.
func (r *runner) readSpools(ctx context.Context, read func(context.Context, []lock.Tag) []lock.Result[lock.Spool], tags []lock.Tag) error {
	for len(tags) > 0 {
		part := tags[:min(len(tags), maxReadTags)]
		tags = tags[len(part):]
		before := r.view.viewed(part)
		reading, cancel := context.WithTimeout(ctx, r.config.Timeout)
		results := read(reading, part)
		cancel()
		r.view.reconcile(before, results)
		for i, result := range results {
			if lock.IsUnavailable(result.Err) {
				return result.Err
			}
			var wrongType *lock.WrongTypeError // of which the log speaks
			if result.Err != nil && !errors.As(result.Err, &wrongType) {
				r.log.Error("a spool cannot be read", "tag", part[i], "error", result.Err)
			}
		}
	}
	return nil
}

// jitter is a random time below most, so that processes do not act together.
func jitter(most time.Duration) time.Duration { return rand.N(most) } //nolint:gosec // no secret

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
