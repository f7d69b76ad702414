package repository

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// embeddedTick is how often the clock of the embedded Redis moves: the
// resolution of everything that it says about time.
const embeddedTick = 50 * time.Millisecond

// embeddedAddr stands where other servers have an address.
const embeddedAddr = "embedded"

// embedded is a miniredis whose clock runs, and which only this process can reach: on a
// port, any program of the machine could read tokens, or end the process by an empty
// command. Left alone, miniredis never lets a key expire; with its own clock switched on it
// goes through all keys on each command. Moved in steps, it does so once a step, and every
// time within a step is the same.
type embedded struct {
	redis  *miniredis.Miniredis
	done   chan struct{}
	ticker sync.WaitGroup

	mu      sync.Mutex
	server  *server.Server
	stopped bool
}

func startEmbedded() (*embedded, error) {
	e := &embedded{redis: miniredis.NewMiniRedis(), done: make(chan struct{})}
	e.setTime()
	e.redis.ClockTTL(true)
	// Starts it without a port. The connection itself is a net.Pipe, which hangs on a
	// pipeline of 50.
	first, err := e.redis.Dial()
	if err != nil {
		return nil, err
	}
	_ = first.Close()
	e.server = e.redis.Server()
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

// dial connects to it, whatever the address.
func (e *embedded) dial(context.Context, string, string) (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return nil, net.ErrClosed
	}
	client, served := newMemoryConns()
	e.server.ServeConn(served)
	return client, nil
}

// setTime cuts to milliseconds, as Redis does with its expiries.
func (e *embedded) setTime() { e.redis.SetTime(time.Now().UTC().Truncate(time.Millisecond)) }

func (e *embedded) stop() {
	close(e.done)
	e.ticker.Wait()
	e.mu.Lock()
	e.stopped = true
	e.mu.Unlock()
	e.redis.Close()
}
