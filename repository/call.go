package repository

import (
	"context"
	"errors"
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

	// unconfirmed says that fewer replicas than asked for are known to have what the
	// script did.
	unconfirmed bool
}

// eval is a script's EvalSha, or its Eval.
type eval func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd

// ask runs the script for each call, if the circuit lets them through.
func (r *Redis) ask(ctx context.Context, calls []*call, script *redis.Script, replicas int) {
	if err := r.circuit.enter(); err != nil {
		for _, c := range calls {
			c.answer = failed(ctx, err)
		}
		return
	}
	r.send(ctx, calls, script.EvalSha, replicas)
	r.redirect(ctx, calls, script.EvalSha, replicas)
	var unknown []*call
	for _, c := range calls {
		if redis.HasErrorPrefix(c.answer.Err(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	r.send(ctx, unknown, script.Eval, replicas)
	errs := make([]error, len(calls))
	for i, c := range calls {
		errs[i] = c.answer.Err()
	}
	r.circuit.leave(errs...)
}

// send runs the script for each call, those of each master in one pipeline, and waits
// for as many replicas.
func (r *Redis) send(ctx context.Context, calls []*call, run eval, replicas int) {
	nodes := map[*redis.Client][]*call{}
	for _, c := range calls {
		node, err := r.masterOf(ctx, lockKey(c.tag))
		if err != nil {
			c.answer = failed(ctx, err)
			continue
		}
		nodes[node] = append(nodes[node], c)
	}
	var sending sync.WaitGroup
	for node, calls := range nodes {
		sending.Go(func() { sendTo(ctx, node, calls, run, replicas, false) })
	}
	sending.Wait()
}

// sendTo sends calls to one Redis. Asking is for a key that is on its way to it from
// another one.
func sendTo(ctx context.Context, node *redis.Client, calls []*call, run eval, replicas int, asking bool) {
	pipe := node.Pipeline()
	for _, c := range calls {
		if asking {
			pipe.Do(ctx, "ASKING")
		}
		c.answer = run(ctx, pipe, keys(c.tag), c.args...)
	}
	var confirmed *redis.Cmd
	if replicas > 0 {
		confirmed = pipe.Do(ctx, "WAIT", replicas, waitTime(ctx).Milliseconds())
	}
	_, err := pipe.Exec(ctx)
	for _, c := range calls {
		if c.answer.Err() == nil && c.answer.Val() == nil {
			c.answer.SetErr(err) // Redis refused the connection, and was asked nothing
		}
		if confirmed != nil {
			n, err := confirmed.Int()
			c.unconfirmed = err != nil || n < replicas
		}
	}
}

// waitTime is how long Redis is to wait for its replicas: its answer is to be in time.
func waitTime(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Second
	}
	return max(time.Millisecond, time.Until(deadline)*3/4) // 0 would be for ever
}

// redirect sends once more what Redis said another master has, or is being given. A
// master that is not known yet will be by the next attempt.
func (r *Redis) redirect(ctx context.Context, calls []*call, run eval, replicas int) {
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
			sendTo(ctx, node, []*call{c}, run, replicas, asking)
		}
	}
}

// masters are those of a Cluster by their addresses, or the one Redis. It asks the
// Cluster for them, so that from then on keys are sought where they are.
func (r *Redis) masters(ctx context.Context) (map[string]*redis.Client, error) {
	var mu sync.Mutex
	masters := map[string]*redis.Client{}
	err := r.eachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[node.Options().Addr] = node
		return nil
	})
	return masters, err
}

// errNotSent says that nothing was sent.
var errNotSent = errors.New("not sent")

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(fmt.Errorf("%w: %w", errNotSent, err))
	return cmd
}
