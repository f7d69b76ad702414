package repository

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// PoolInUse is how many connections are at work.
func (r *Redis) PoolInUse() int {
	stats := r.client.PoolStats()
	return int(stats.TotalConns) - int(stats.IdleConns)
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
