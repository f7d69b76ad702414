package repository

import (
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// embeddedTick is how often the clock of the embedded Redis moves: the
// resolution of everything that it says about time.
const embeddedTick = 50 * time.Millisecond

// embedded is a miniredis on a free loopback port whose clock runs. Left alone,
// miniredis never lets a key lapse; with its own clock switched on it goes
// through all keys on each command. Moved in steps, it does so once a step, and
// every time within a step is the same.
type embedded struct {
	server *miniredis.Miniredis
	done   chan struct{}
	ticker sync.WaitGroup
}

func startEmbedded() (*embedded, error) {
	e := &embedded{server: miniredis.NewMiniRedis(), done: make(chan struct{})}
	e.setTime()
	e.server.ClockTTL(true)
	if err := e.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, err
	}
	e.ticker.Go(func() {
		ticker := time.NewTicker(embeddedTick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				e.setTime()
			case <-e.done:
				return
			}
		}
	})
	return e, nil
}

func (e *embedded) addr() string { return e.server.Addr() }

// setTime cuts to milliseconds, as Redis does with its expiries.
func (e *embedded) setTime() { e.server.SetTime(time.Now().UTC().Truncate(time.Millisecond)) }

func (e *embedded) stop() {
	close(e.done)
	e.ticker.Wait()
	e.server.Close()
}
