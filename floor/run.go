package floor

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
)

const (
	beatInterval = time.Second

	// deafness is how long beats are sent in vain until the feed is connected anew.
	deafness = 5 * time.Second

	// The pause before the feed is connected anew is firstPause, twice as long after
	// each further failure up to maxPause, and up to as much longer.
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second

	// rebuildPause is the least time between two rebuilds that gaps ask for.
	rebuildPause = time.Second

	// askPause is the time between two looks for what is due, and up to askPause
	// longer: processes that look together would all ask.
	askPause = 20 * time.Millisecond

	// maxAsked is the most spools that the store is asked about at once.
	maxAsked = 200
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
	k := &keeper{
		view: view, source: source, config: config, log: log,
		wanted: make(chan struct{}, 1), poked: make(chan struct{}, 1),
		id: uuid.NewString(), sent: map[string]time.Time{},
	}
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){k.listen, k.beat, k.rebuild, k.ask} {
		loops.Go(func() { loop(ctx) })
	}
	loops.Wait()
	view.stop()
}

type keeper struct {
	view   *View
	source Source
	config Config
	log    *slog.Logger

	wanted chan struct{} // holds one wish for a rebuild
	poked  chan struct{} // holds one wish for a beat

	mu     sync.Mutex
	id     string               // of this process, which its beats begin with
	sent   map[string]time.Time // the beats that have not come back
	missed bool                 // the view was said to be without the feed
	lived  bool                 // and had had it
	cut    context.CancelFunc   // ends the connection of the feed
}

// listen keeps the feed connected.
func (k *keeper) listen(ctx context.Context) {
	pause, said := firstPause, false // what keeps it from being connected
	connected := false               // it was, once
	for ctx.Err() == nil {
		connection, cut := context.WithCancel(ctx)
		k.mu.Lock()
		k.cut = cut
		k.mu.Unlock()
		err := k.source.Listen(connection, func() {
			pause, said, connected = firstPause, false, true
			k.subscribed()
		}, k.heard)
		cut()
		k.view.disconnected()
		if ctx.Err() != nil {
			return
		}
		if !said {
			if connected {
				k.log.Warn("the feed of the floor is cut, its view is rebuilt when it is back", "error", err)
			} else {
				k.log.Warn("the feed of the floor cannot be connected, its view is built when it can", "error", err)
			}
			said = true
			k.mu.Lock()
			k.missed, k.lived = true, connected
			k.mu.Unlock()
		}
		wait(ctx, pause+jitter(pause))
		pause = min(2*pause, maxPause)
	}
}

func (k *keeper) subscribed() {
	k.mu.Lock()
	clear(k.sent) // what went out before is not to be expected here
	k.mu.Unlock()
	k.view.subscribed()
	wish(k.wanted)
	wish(k.poked)
}

func (k *keeper) heard(message Message) {
	if message.Beat == "" {
		if gap := k.view.heard(message); gap {
			wish(k.wanted)
		}
		return
	}
	k.mu.Lock()
	sent, own := k.sent[message.Beat]
	delete(k.sent, message.Beat)
	k.mu.Unlock()
	if !own {
		return
	}
	k.view.beatBack(sent, message.At)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.missed && k.view.Status().Live {
		if k.lived {
			k.log.Info("the view of the floor is live again")
		} else {
			k.log.Info("the view of the floor is live")
		}
		k.missed = false
	}
}

// wish puts a wish where there is none yet.
func wish(wishes chan<- struct{}) {
	select {
	case wishes <- struct{}{}:
	default:
	}
}

// beat sends beats, and ends a connection on which none come back.
func (k *keeper) beat(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		id := k.id + ":" + strconv.Itoa(n)
		k.mu.Lock()
		k.sent[id] = time.Now()
		k.mu.Unlock()
		sending, cancel := context.WithTimeout(ctx, k.config.Timeout)
		err := k.source.Beat(sending, id)
		cancel()
		k.mu.Lock()
		if err != nil {
			delete(k.sent, id)
		}
		for id, sent := range k.sent {
			if time.Since(sent) > deafness {
				// A beat went out and did not come back: this feed is not the store's.
				delete(k.sent, id)
				k.cut()
			}
		}
		k.mu.Unlock()
		k.view.look()
		select {
		case <-ctx.Done():
		case <-k.poked:
		case <-time.After(beatInterval):
		}
	}
}

// rebuild rebuilds the view when it is wanted, and from time to time.
func (k *keeper) rebuild(ctx context.Context) {
	said := false                     // what keeps it from being completed
	pause := k.config.RebuildInterval // until the next one that nothing asks for
	for {
		regular := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-k.wanted:
		case <-regular.C:
		}
		regular.Stop()
		if ctx.Err() != nil {
			return
		}
		begun := time.Now()
		before, err := k.rebuildOnce(ctx)
		took := time.Since(begun)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if before.connected && !said {
				k.log.Warn("the floor's view could not be rebuilt, it is tried again", "error", err)
				said = true
			}
			wait(ctx, rebuildPause)
			wish(k.wanted)
			continue
		}
		said = false
		if k.view.rebuiltIn(took, before) {
			wait(ctx, min(rebuildPause, k.config.RebuildInterval/4))
		}
		pause = k.pause(time.Since(begun), took)
	}
}

// pause is how long to wait after a rebuild. What another program does right behind one
// is found at the end of the next, and that is to be within the interval.
func (k *keeper) pause(since, took time.Duration) time.Duration {
	interval := k.config.RebuildInterval
	most := interval - interval/10 - since - took
	return max(0, most-jitter(interval/4)) // not all processes at once
}

// rebuildOnce returns how the view was when it began.
func (k *keeper) rebuildOnce(ctx context.Context) (rebuild, error) {
	begun := k.view.beginRebuild()
	err := k.source.Scan(ctx, func(found []Found) error {
		return k.read(ctx, k.view.compare(found))
	})
	if err != nil {
		return begun, err
	}
	for after, done := lock.Tag(""), false; !done; {
		var unseen []lock.Tag
		unseen, after, done = k.view.unseen(begun.generation, after)
		if err := k.read(ctx, unseen); err != nil {
			return begun, err
		}
	}
	return begun, nil
}

// ask asks the store about locks that are due to lapse.
func (k *keeper) ask(ctx context.Context) {
	for ctx.Err() == nil {
		if tags := k.view.dueNow(maxAsked); len(tags) == 0 || k.read(ctx, tags) != nil {
			wait(ctx, askPause+jitter(askPause))
		}
	}
}

// read has the store asked about spools, and returns the first trouble with the
// store. What is wrong with a single spool is left for another time.
func (k *keeper) read(ctx context.Context, tags []lock.Tag) error {
	for len(tags) > 0 {
		part := tags[:min(len(tags), maxAsked)]
		tags = tags[len(part):]
		before := k.view.known(part)
		reading, cancel := context.WithTimeout(ctx, k.config.Timeout)
		results := k.source.Read(reading, part)
		cancel()
		k.view.settle(before, results)
		for i, result := range results {
			if lock.IsUnavailable(result.Err) {
				return result.Err
			}
			if result.Err != nil {
				k.log.Error("a spool cannot be read", "tag", part[i], "error", result.Err)
			}
		}
	}
	return nil
}

// jitter is a random time below most, so that processes do not act together.
func jitter(most time.Duration) time.Duration { return rand.N(most) } //nolint:gosec // no secret

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
