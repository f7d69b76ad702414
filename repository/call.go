package repository

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// call is one run of a script on the keys of a spool.
type call struct {
	tag    lock.Tag
	args   []any
	asking bool       // its key is being moved to where it is sent
	answer *redis.Cmd // or the error in its place
	sent   bool       // Redis may have run it

	// unconfirmed is why fewer replicas than asked for are known to have what the script
	// did; nil: as many have it.
	unconfirmed error
}

// fail is for a call that has no answer.
func (c *call) fail(ctx context.Context, err error, sent bool) {
	c.answer, c.sent = redis.NewCmd(ctx), sent
	c.answer.SetErr(err)
}

// job is what calls that are made together have in common.
type job struct {
	kind       kind
	script     *script
	withSource bool // for a Redis that does not have the script
	replicas   int  // that are to have what the script did
}

// runScript runs the script for each call.
func (r *Redis) runScript(ctx context.Context, calls []*call, job job) {
	r.runOnMasters(ctx, calls, job)
	var unknown []*call
	for _, c := range calls {
		if redis.HasErrorPrefix(c.answer.Err(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	job.withSource = true
	r.runOnMasters(ctx, unknown, job)
}

// runOnMasters runs the script for each call at the master of its key, and once more at
// the one that this master says has the key, or is being given it.
func (r *Redis) runOnMasters(ctx context.Context, calls []*call, job job) {
	byNode := map[*redis.Client][]*call{}
	for _, c := range calls {
		node, err := r.masterOf(ctx, lockKey(c.tag))
		if err != nil {
			c.fail(ctx, err, false)
			continue
		}
		c.asking = false
		byNode[node] = append(byNode[node], c)
	}
	r.runOnNodes(ctx, byNode, job)
	r.runOnNodes(ctx, r.redirected(ctx, calls), job)
}

// runOnNodes sends the calls to each Redis at the same time.
func (r *Redis) runOnNodes(ctx context.Context, byNode map[*redis.Client][]*call, job job) {
	var running sync.WaitGroup
	for node, calls := range byNode {
		run := func() { r.runOnNode(ctx, node, calls, job) }
		if len(byNode) == 1 {
			run()
		} else {
			running.Go(run)
		}
	}
	running.Wait()
}

// runOnNode sends the calls to one Redis, if its circuit lets them through.
func (r *Redis) runOnNode(ctx context.Context, node *redis.Client, calls []*call, job job) {
	circuit := r.circuits.of(node.Options().Addr)
	var err error
	if job.kind == clientRead && r.health.replica.Load() {
		err = errReplica
	} else {
		err = circuit.enter()
	}
	if err != nil {
		for _, c := range calls {
			c.fail(ctx, err, false)
		}
		return
	}
	eval, script := "evalsha", job.script.digest
	if job.withSource {
		eval, script = "eval", job.script.text
	}
	commands := make([]*command, len(calls))
	for i, c := range calls {
		commands[i] = newCommand(ctx, eval, script, keys(c.tag)[:job.script.keys], c.args)
		commands[i].asking = c.asking
	}
	r.lane(node, job.replicas).run(ctx, job.kind, commands)
	results := make([]error, len(calls))
	for i, c := range calls {
		switch command := commands[i]; command.state.Load() {
		case answered:
			c.answer, c.sent, c.unconfirmed = command.Cmd, true, command.unconfirmed
		case unsent:
			c.fail(ctx, command.Err(), false)
		case sent:
			c.fail(ctx, ctx.Err(), true)
		default:
			c.fail(ctx, ctx.Err(), false)
		}
		results[i] = c.answer.Err()
	}
	circuit.leave(results...)
}

// lane is the one for commands to this Redis that as many replicas are to confirm.
func (r *Redis) lane(node *redis.Client, replicas int) *lane {
	key := laneKey{node, replicas}
	r.lanesMu.Lock()
	defer r.lanesMu.Unlock()
	if r.lanes[key] == nil {
		r.lanes[key] = &lane{node: node, replicas: replicas, timeout: r.attemptTimeout}
	}
	return r.lanes[key]
}

type laneKey struct {
	node     *redis.Client
	replicas int
}

func checkConfirmed(confirmed *redis.Cmd, replicas int) error {
	n, err := confirmed.Int()
	if err != nil {
		return fmt.Errorf("ask %d replicas to confirm: %w", replicas, withoutSecrets(err))
	}
	if n < replicas {
		return fmt.Errorf("confirmed by %d replicas in time, of the %d that LOCK_REPLICAS_ACK asks for", n, replicas)
	}
	return nil
}

// redirected are the calls of which Redis said that another master has their keys, or is
// being given them, by that master. One that is not known yet will be by the next attempt.
func (r *Redis) redirected(ctx context.Context, calls []*call) map[*redis.Client][]*call {
	byNode := map[*redis.Client][]*call{}
	var masters map[string]*redis.Client
	for _, c := range calls {
		addr, moved := redis.IsMovedError(c.answer.Err())
		if !moved {
			if addr, c.asking = redis.IsAskError(c.answer.Err()); !c.asking {
				continue
			}
		}
		if masters == nil {
			masters, _ = r.masters(ctx)
		}
		if node := masters[addr]; node != nil {
			byNode[node] = append(byNode[node], c)
		}
	}
	return byNode
}
