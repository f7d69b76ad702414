package repository

import (
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// embeddedTick is how often the clock of the embedded Redis moves: the
// resolution of everything that it says about time.
const embeddedTick = 50 * time.Millisecond

// embedded is a miniredis on a free loopback port whose clock runs. Left alone,
// miniredis never lets a key lapse; with its own clock switched on it goes
// through all keys on each command. Moved in steps, it does so once a step, and
// every time within a step is the same.
type embedded struct {
	redis  *miniredis.Miniredis
	done   chan struct{}
	ticker sync.WaitGroup
}

func startEmbedded() (*embedded, error) {
	e := &embedded{redis: miniredis.NewMiniRedis(), done: make(chan struct{})}
	e.setTime()
	e.redis.ClockTTL(true)
	if err := e.redis.StartAddr("127.0.0.1:0"); err != nil {
		return nil, err
	}
	// redis-cli asks what commands there are, and dies of miniredis' answer; without
	// one it does without.
	e.redis.Server().SetPreHook(func(client *server.Peer, command string, _ ...string) bool {
		if command != "COMMAND" {
			return false
		}
		client.WriteError("ERR unknown command 'COMMAND'")
		return true
	})
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

func (e *embedded) addr() string { return e.redis.Addr() }

// setTime cuts to milliseconds, as Redis does with its expiries.
func (e *embedded) setTime() { e.redis.SetTime(time.Now().UTC().Truncate(time.Millisecond)) }

func (e *embedded) stop() {
	close(e.done)
	e.ticker.Wait()
	e.redis.Close()
}
