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

// evalFunc is a script's EvalSha, or its Eval.
type evalFunc func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd

// runScript runs the script for each call.
func (r *Redis) runScript(ctx context.Context, calls []*call, script *redis.Script, replicas int) {
	r.runOnMasters(ctx, calls, script.EvalSha, replicas)
	var unknown []*call
	for _, c := range calls {
		if redis.HasErrorPrefix(c.answer.Err(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	r.runOnMasters(ctx, unknown, script.Eval, replicas)
}

// target is where a call is sent. Asking is for a key that is on its way there from
// another Redis.
type target struct {
	node   *redis.Client
	asking bool
}

// runOnMasters runs the script for each call at the master of its key, and once more at
// the one that this master says has the key, or is being given it.
func (r *Redis) runOnMasters(ctx context.Context, calls []*call, run evalFunc, replicas int) {
	targets := map[target][]*call{}
	for _, c := range calls {
		node, err := r.masterOf(ctx, lockKey(c.tag))
		if err != nil {
			c.answer = notSent(ctx, err)
			continue
		}
		targets[target{node: node}] = append(targets[target{node: node}], c)
	}
	r.runOnNodes(ctx, targets, run, replicas)
	r.runOnNodes(ctx, r.redirected(ctx, calls), run, replicas)
}

// runOnNodes sends the calls of each target in one pipeline.
func (r *Redis) runOnNodes(ctx context.Context, targets map[target][]*call, run evalFunc, replicas int) {
	var sending sync.WaitGroup
	for to, calls := range targets {
		sending.Go(func() { r.runPipeline(ctx, to, calls, run, replicas) })
	}
	sending.Wait()
}

// runPipeline sends calls to one Redis, if its circuit lets them through, and waits for
// so many replicas.
func (r *Redis) runPipeline(ctx context.Context, to target, calls []*call, run evalFunc, replicas int) {
	circuit := r.circuits.of(to.node.Options().Addr)
	if err := circuit.enter(); err != nil {
		for _, c := range calls {
			c.answer = notSent(ctx, err)
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
		confirmed = pipe.Do(ctx, "WAIT", replicas, replicaWait(ctx).Milliseconds())
	}
	_, err := pipe.Exec(ctx)
	results := make([]error, len(calls))
	for i, c := range calls {
		if c.answer.Err() == nil && c.answer.Val() == nil {
			c.answer.SetErr(err) // Redis refused the connection, and was asked nothing
		}
		if confirmed != nil {
			c.unconfirmed = checkConfirmed(confirmed, replicas)
		}
		results[i] = c.answer.Err()
	}
	circuit.leave(results...)
}

func checkConfirmed(confirmed *redis.Cmd, replicas int) error {
	n, err := confirmed.Int()
	if err != nil {
		return fmt.Errorf("ask %d replicas to confirm: %w", replicas, withoutAddress(err))
	}
	if n < replicas {
		return fmt.Errorf("confirmed by %d replicas in time, of the %d that LOCK_REPLICAS_ACK asks for", n, replicas)
	}
	return nil
}

// replicaWait is how long Redis is to wait for its replicas: its answer is to be in time.
func replicaWait(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Second
	}
	return max(time.Millisecond, time.Until(deadline)*3/4) // 0 would be for ever
}

// redirected are the calls of which Redis said that another master has their keys, or is
// being given them, by where that is. A master that is not known yet will be by the next
// attempt.
func (r *Redis) redirected(ctx context.Context, calls []*call) map[target][]*call {
	targets := map[target][]*call{}
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
			targets[target{node, asking}] = append(targets[target{node, asking}], c)
		}
	}
	return targets
}

func notSent(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(fmt.Errorf("%w: %w", errNotSent, err))
	return cmd
}
