package repository

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// PoolInUse is how many connections are at work.
func (r *Redis) PoolInUse() int {
	stats := r.client.PoolStats()
	return int(stats.TotalConns) - int(stats.IdleConns)
}

// Ping reports whether Redis, in a Cluster each master, answers within ctx's deadline.
func (r *Redis) Ping(ctx context.Context) error {
	err := r.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() })
	return withoutSecrets(err)
}

// MaxPipeline is the most commands of a pipeline, and MaxWaiting of a kind that wait.
const (
	MaxPipeline = maxPipeline
	MaxWaiting  = maxWaiting
)

// Waiting is how many commands wait for a pipeline.
func (r *Redis) Waiting() int {
	r.lanesMu.Lock()
	defer r.lanesMu.Unlock()
	n := 0
	for _, l := range r.lanes {
		l.mu.Lock()
		for _, commands := range l.waiting {
			n += len(commands)
		}
		l.mu.Unlock()
	}
	return n
}

// Lanes are the addresses of the Redis that have a lane or a circuit.
func (r *Redis) Lanes() map[string]bool {
	addrs := map[string]bool{}
	r.lanesMu.Lock()
	defer r.lanesMu.Unlock()
	for key := range r.lanes {
		addrs[key.node.Options().Addr] = true
	}
	r.circuits.mu.Lock()
	defer r.circuits.mu.Unlock()
	for addr := range r.circuits.byAddr {
		addrs[addr] = true
	}
	delete(addrs, "")
	return addrs
}

// Client is the pool, of one that is no Cluster.
func (r *Redis) Client() *redis.Client { return r.client.(*redis.Client) }

// Scripts are the texts of the scripts that work on a spool, of the beat's, by their
// names.
func Scripts() map[string]string {
	texts := map[string]string{"beat": source("beat")}
	for _, name := range []string{"take", "release", "extend", "resume", "force", "check", "read", "history"} {
		texts[name] = spoolText(name)
	}
	return texts
}

// WrongTypeFound has the store find, at now, that the key of a lock is not a string.
func (r *Redis) WrongTypeFound(tag lock.Tag, now time.Time) error {
	return r.wrongTypes.found(r.log, tag, now)
}

// CountDials adds to n each time a connection is dialed.
func (r *Redis) CountDials(n *atomic.Int64) { r.client.AddHook(&dials{n: n}) }

type dials struct {
	roundTrips
	n *atomic.Int64
}

// DialHook implements [redis.Hook].
func (d *dials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		d.n.Add(1)
		return next(ctx, network, addr)
	}
}

// BeatsUnderWay is how many beats are waited for.
func (r *Redis) BeatsUnderWay() int {
	r.beats.mu.Lock()
	defer r.beats.mu.Unlock()
	return len(r.beats.underWay)
}
