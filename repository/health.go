package repository

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// The checks of [Redis.Health], which [Redis.Watch] makes.
const (
	CheckRedis      = "redis"      // each master accepts changes on the connections of the pool
	CheckConnect    = "connect"    // each master lets a fresh connection in, and read the keys
	CheckMemory     = "memory"     // each master has room for a take
	CheckOperations = "operations" // not all operations at a master fail
)

// The states of the checks. A partial one is that of CheckRedis, where only some of several
// masters accept changes.
const (
	stateOK          = "ok"
	statePartial     = "partial"
	stateUnavailable = "unavailable"
	stateRefused     = "refused"
	stateFull        = "full"
	stateFailing     = "failing"
)

// failures are what the log says when a check begins to fail. What it says of CheckRedis
// depends on the error, see [Redis.logTrouble].
var failures = map[string]string{
	CheckConnect:    "redis lets no fresh connection in, see REDIS_URL and the rights of its user: the service has only the connections that it has",
	CheckMemory:     "redis is full, no spool can be taken until it has room",
	CheckOperations: "operations fail at redis, one after the other",
}

// health is what Watch has found.
type health struct {
	mu     sync.Mutex
	states map[string]string // of the checks
	sound  []*redis.Client   // masters that accept changes

	// replica says that what Redis has may be old. A node of a Cluster sends a call on instead.
	replica atomic.Bool
}

func newHealth() health {
	return health{states: map[string]string{
		CheckRedis: stateUnavailable, CheckConnect: stateOK, CheckMemory: stateOK, CheckOperations: stateOK,
	}}
}

// Health says whether at least one master accepts changes, and the state of each check by its
// name: "ok", or what is wrong. It is as Watch has found it, and before that Redis counts as
// unavailable. A full Redis accepts changes: it refuses takes, and releases make room.
func (r *Redis) Health() (writable bool, checks map[string]string) {
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	return r.health.states[CheckRedis] != stateUnavailable, maps.Clone(r.health.states)
}

// report says how a check stands, and what was wrong.
func (h *health) report(log *slog.Logger, check, state string, err error) {
	h.mu.Lock()
	was := h.states[check]
	h.states[check] = state
	h.mu.Unlock()
	switch {
	case was == stateOK && state != stateOK:
		log.Error(failures[check], "check", check, "error", err)
	case was != stateOK && state == stateOK:
		log.Info("redis is well again", "check", check)
	}
}

// probeTag is of no spool, as it is not canonical.
const probeTag = lock.Tag(" ")

var (
	acceptScript = redis.NewScript(source("accept"))
	probeScript  = redis.NewScript(source("probe"))
)

// acceptError is why a master that answers PING would not run a release.
type acceptError struct{ error }

func (e *acceptError) Unwrap() error { return e.error }

// accepts returns why a master would not run a release; it is an *acceptError if the master
// answers PING.
func (r *Redis) accepts(ctx context.Context, node *redis.Client) error {
	if err := node.Ping(ctx).Err(); err != nil || r.embedded != nil {
		return err
	}
	if err := runOnAnyMaster(ctx, acceptScript, node); err != nil {
		return &acceptError{err}
	}
	return nil
}

// runOnAnyMaster runs a script on the keys of a spool. A master of a Cluster that does not have
// these keys runs it without them: before it said so, it has checked the rights of the user, and
// that the Cluster is up.
func runOnAnyMaster(ctx context.Context, script *redis.Script, node *redis.Client) error {
	err := script.Run(ctx, node, keys(probeTag)).Err()
	if isElsewhere(err) {
		err = script.Run(ctx, node, nil).Err()
	}
	return err
}

// checkMasters asks each master whether it accepts changes, and returns why one does not, nil
// if all do.
func (r *Redis) checkMasters(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var mu sync.Mutex
	var sound []*redis.Client
	err := r.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		err := r.accepts(ctx, node)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			sound = append(sound, node)
		}
		return err
	})
	state := stateOK
	switch {
	case len(sound) == 0:
		state = stateUnavailable
	case err != nil:
		state = statePartial
	}
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	r.health.states[CheckRedis], r.health.sound = state, sound
	_, cluster := r.client.(*redis.ClusterClient)
	r.health.replica.Store(!cluster && redis.IsReadOnlyError(err))
	return err
}

// probeInterval is how often each master is asked whether it lets a fresh connection in, and
// whether it is full.
const probeInterval = 10 * time.Second

// runProbes probes the masters that accept changes until ctx is done.
func (r *Redis) runProbes(ctx context.Context) {
	for ctx.Err() == nil {
		r.health.mu.Lock()
		sound := slices.Clone(r.health.sound)
		r.health.mu.Unlock()
		pause := probeInterval
		if len(sound) == 0 {
			pause = watchInterval / 10
		} else {
			r.probeAll(ctx, sound)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// probeAll probes one master after the other, so that there is one more connection at a time.
func (r *Redis) probeAll(ctx context.Context, masters []*redis.Client) {
	connect, memory := stateOK, stateOK
	var notConnected, full error
	for _, node := range masters {
		err := r.withTimeout(ctx, func(ctx context.Context) error { return r.probe(ctx, node) })
		switch {
		case err == nil:
		case redis.IsOOMError(err):
			memory, full = stateFull, withoutSecrets(err)
		case r.withTimeout(ctx, func(ctx context.Context) error { return r.accepts(ctx, node) }) != nil:
			return // it is no matter of fresh connections
		case isAnswer(err):
			connect, notConnected = stateRefused, withoutSecrets(err)
		default:
			connect, notConnected = stateUnavailable, withoutSecrets(err)
		}
	}
	r.health.report(r.log, CheckConnect, connect, notConnected)
	if connect == stateOK {
		r.health.report(r.log, CheckMemory, memory, full)
	}
}

// probe connects to a master anew, and returns why it does not let the connection in, or has
// no room for a take.
func (r *Redis) probe(ctx context.Context, node *redis.Client) error {
	options := *node.Options()
	options.PoolSize = 4 // one is used: after as many failures the client would go on dialing
	fresh := redis.NewClient(&options)
	defer fresh.Close() //nolint:errcheck // it is not used again
	if err := fresh.Ping(ctx).Err(); err != nil {
		return err
	}
	r.leaveFormer(ctx, node, fresh)
	err := runOnAnyMaster(ctx, probeScript, fresh)
	if !isAnswer(err) || mayPass(err) {
		return nil // it let the connection in; whether it accepts changes is asked more often
	}
	return err
}

// leaveFormer closes the idle connections of the pool if a fresh one leads to another server
// than the pool does, or than the last fresh one did. What is in use meanwhile is left to the
// next time.
func (r *Redis) leaveFormer(ctx context.Context, node, fresh *redis.Client) {
	leadsTo, err := infoOf(ctx, fresh, "server")
	if err != nil {
		return // the user may not ask
	}
	pooled, err := infoOf(ctx, node, "server")
	if err != nil {
		return
	}
	addr, run := node.Options().Addr, leadsTo["run_id"]
	if before, probed := r.probedRuns[addr]; run != pooled["run_id"] || probed && run != before {
		closeIdle(ctx, node)
	}
	r.probedRuns[addr] = run
}

// checkOperations finds out whether nothing but failures comes of the operations at a master.
func (r *Redis) checkOperations() {
	if err := r.circuits.failing(time.Now()); err != nil {
		r.health.report(r.log, CheckOperations, stateFailing, err)
	} else {
		r.health.report(r.log, CheckOperations, stateOK, nil)
	}
}
