package repository

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Stats say what the connections to Redis have been doing. The counts are since
// [Open].
type Stats struct {
	RoundTrips int64         // a pipeline is one
	Failed     int64         // round trips without an answer
	Time       time.Duration // spent on all round trips, the wait for a connection included

	Connections, Idle int   // of the pool, at this moment
	Waits             int64 // for a connection, as none was free
	WaitTime          time.Duration
	Timeouts          int64 // waits in vain

	ForeignMessages int64 // on the feed that were not of the scripts
	UnlistableTags  int64 // of locks, empty or too long for the floor, at the last scan
}

// Stats answers them.
func (r *Redis) Stats() Stats {
	pool := r.client.PoolStats()
	return Stats{
		RoundTrips: r.roundTrips.done.Load(), Failed: r.roundTrips.failed.Load(), Time: time.Duration(r.roundTrips.time.Load()),
		Connections: int(pool.TotalConns), Idle: int(pool.IdleConns),
		Waits: int64(pool.WaitCount), WaitTime: time.Duration(pool.WaitDurationNs), Timeouts: int64(pool.Timeouts),
		ForeignMessages: r.foreignMessages.Load(), UnlistableTags: r.unlistableTags.Load(),
	}
}

// roundTrips counts round trips.
type roundTrips struct{ done, failed, time atomic.Int64 }

var _ redis.Hook = (*roundTrips)(nil)

func (t *roundTrips) count(begun time.Time, err error) {
	if errors.Is(err, errDiscarded) {
		return
	}
	t.done.Add(1)
	t.time.Add(int64(time.Since(begun)))
	if err != nil && !isAnswer(err) {
		t.failed.Add(1)
	}
}

// DialHook implements [redis.Hook].
func (t *roundTrips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements [redis.Hook].
func (t *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		begun := time.Now()
		err := next(ctx, cmd)
		t.count(begun, err)
		return err
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (t *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		begun := time.Now()
		err := next(ctx, cmds)
		t.count(begun, err)
		return err
	}
}
