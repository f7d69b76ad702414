package repository

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// call is one run of a script on the keys of a spool.
type call struct {
	tag    lock.Tag
	args   []any
	answer *redis.Cmd

	// unconfirmed is why fewer replicas than asked for are known to have what the script
	// did; nil: as many have it.
	unconfirmed error
}

// eval is a script's EvalSha, or its Eval.
type eval func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd

// ask runs the script for each call.
func (r *Redis) ask(ctx context.Context, calls []*call, script *redis.Script, replicas int) {
	r.send(ctx, calls, script.EvalSha, replicas)
	var unknown []*call
	for _, c := range calls {
		if redis.HasErrorPrefix(c.answer.Err(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	r.send(ctx, unknown, script.Eval, replicas)
}

// place is where a call is sent. Asking is for a key that is on its way there from
// another Redis.
type place struct {
	node   *redis.Client
	asking bool
}

// send runs the script for each call at the master of its key, and once more at the one
// that this says has the key, or is being given it.
func (r *Redis) send(ctx context.Context, calls []*call, run eval, replicas int) {
	places := map[place][]*call{}
	for _, c := range calls {
		node, err := r.masterOf(ctx, lockKey(c.tag))
		if err != nil {
			c.answer = failed(ctx, err)
			continue
		}
		places[place{node: node}] = append(places[place{node: node}], c)
	}
	r.sendAll(ctx, places, run, replicas)
	r.sendAll(ctx, r.redirected(ctx, calls), run, replicas)
}

// sendAll sends the calls of each place in one pipeline.
func (r *Redis) sendAll(ctx context.Context, places map[place][]*call, run eval, replicas int) {
	var sending sync.WaitGroup
	for to, calls := range places {
		sending.Go(func() { r.sendTo(ctx, to, calls, run, replicas) })
	}
	sending.Wait()
}

// sendTo sends calls to one Redis, if its circuit lets them through, and waits for as
// many replicas.
func (r *Redis) sendTo(ctx context.Context, to place, calls []*call, run eval, replicas int) {
	circuit := r.circuits.of(to.node.Options().Addr)
	if err := circuit.enter(); err != nil {
		for _, c := range calls {
			c.answer = failed(ctx, err)
		}
		return
	}
	pipe := to.node.Pipeline()
	for _, c := range calls {
		if to.asking {
			pipe.Do(ctx, "ASKING")
		}
		c.answer = run(ctx, pipe, keys(c.tag), c.args...)
	}
	var confirmed *redis.Cmd
	if replicas > 0 {
		confirmed = pipe.Do(ctx, "WAIT", replicas, waitTime(ctx).Milliseconds())
	}
	_, err := pipe.Exec(ctx)
	results := make([]error, len(calls))
	for i, c := range calls {
		if c.answer.Err() == nil && c.answer.Val() == nil {
			c.answer.SetErr(err) // Redis refused the connection, and was asked nothing
		}
		if confirmed != nil {
			c.unconfirmed = confirmation(confirmed, replicas)
		}
		results[i] = c.answer.Err()
	}
	circuit.leave(results...)
}

func confirmation(confirmed *redis.Cmd, replicas int) error {
	n, err := confirmed.Int()
	if err != nil {
		return fmt.Errorf("ask %d replicas to confirm: %w", replicas, withoutAddress(err))
	}
	if n < replicas {
		return fmt.Errorf("confirmed by %d replicas in time, of the %d that LOCK_REPLICAS_ACK asks for", n, replicas)
	}
	return nil
}

// waitTime is how long Redis is to wait for its replicas: its answer is to be in time.
func waitTime(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Second
	}
	return max(time.Millisecond, time.Until(deadline)*3/4) // 0 would be for ever
}

// redirected are the calls of which Redis said that another master has their keys, or is
// being given them, by where that is. A master that is not known yet will be by the next
// attempt.
func (r *Redis) redirected(ctx context.Context, calls []*call) map[place][]*call {
	places := map[place][]*call{}
	var masters map[string]*redis.Client
	for _, c := range calls {
		addr, moved := redis.IsMovedError(c.answer.Err())
		asking := false
		if !moved {
			if addr, asking = redis.IsAskError(c.answer.Err()); !asking {
				continue
			}
		}
		if masters == nil {
			masters, _ = r.masters(ctx)
		}
		if node := masters[addr]; node != nil {
			places[place{node, asking}] = append(places[place{node, asking}], c)
		}
	}
	return places
}

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(fmt.Errorf("%w: %w", errNotSent, err))
	return cmd
}
