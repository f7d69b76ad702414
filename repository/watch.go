package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// inspect loads the scripts into the Redis, says in the log which one was found, and warns
// of what may cost locks.
func (r *Redis) inspect(ctx context.Context) error {
	if r.embedded != nil {
		r.log.Warn("embedded redis, its locks end with this process")
		return nil
	}
	masters, err := r.describeMasters(ctx)
	if err != nil {
		return err
	}
	eviction := noEviction
	for _, m := range masters {
		major, _, _ := strings.Cut(m.version, ".")
		if n, err := strconv.Atoi(major); err != nil || n < 7 {
			return fmt.Errorf("%w: found %q", ErrTooOld, m.version)
		}
		if m.mode == "sentinel" {
			return ErrSentinel
		}
		if m.eviction != noEviction {
			eviction = m.eviction
		}
	}
	if err := r.eachMaster(ctx, loadScripts); err != nil {
		return err
	}
	for _, m := range masters {
		r.log.Info("redis found", "version", m.version, "mode", m.mode, "role", m.role, "maxmemory_policy", m.eviction)
		for _, w := range m.warnings() {
			r.log.Log(ctx, w.level, w.text, w.attributes...)
		}
	}
	r.closeFormer(ctx, masters)
	r.inspected = masters
	r.eviction.Store(eviction)
	return nil
}

// master is what an inspection sees of a Redis. What differs from one look to the next is
// reason for another inspection.
type master struct {
	run, role                string
	version, mode, eviction  string
	inCluster                bool // but REDIS_URL is of another form
	withoutFile              bool
	replicas, replicasWanted int // wanted: LOCK_REPLICAS_ACK, where there are too few
}

func (r *Redis) describe(info map[string]string) master {
	_, cluster := r.client.(*redis.ClusterClient)
	m := master{
		run: info["run_id"], role: info["role"], version: info["redis_version"], mode: info["redis_mode"], eviction: info["maxmemory_policy"],
		inCluster: info["redis_mode"] == "cluster" && !cluster, withoutFile: info["aof_enabled"] == "0",
	}
	if replicas, err := strconv.Atoi(info["connected_slaves"]); err == nil && replicas < r.replicas {
		m.replicas, m.replicasWanted = replicas, r.replicas
	}
	return m
}

type warning struct {
	level      slog.Level
	text       string
	attributes []any
}

// warnings are what the log is to say of a Redis. Each is of fields of the master, so that the
// watch sees it come and go.
func (m master) warnings() (all []warning) {
	warn := func(text string, attributes ...any) {
		all = append(all, warning{slog.LevelWarn, text, attributes})
	}
	if m.inCluster {
		all = append(all, warning{level: slog.LevelError, text: "redis is a node of a Cluster, and has some of the spools only: REDIS_URL must begin with redis+cluster:// for all"})
	}
	if m.role == "slave" {
		warn("redis is a replica, no spool can be taken there: REDIS_URL must lead to its master")
	}
	if m.eviction != noEviction {
		warn("redis may evict locks when its memory is full, set maxmemory-policy noeviction", "maxmemory_policy", m.eviction)
	}
	if m.withoutFile {
		warn("redis keeps no append-only file: after a crash it has forgotten locks, and their spools can be taken by others, set appendonly yes")
	}
	if m.replicasWanted > 0 {
		warn("redis has fewer replicas than LOCK_REPLICAS_ACK asks for: no take and no extension is confirmed",
			"replicas", m.replicas, "asked_for", m.replicasWanted)
	}
	return all
}

// noEviction is the maxmemory-policy of a Redis that drops no lock.
const noEviction = "noeviction"

// Eviction is Redis' maxmemory-policy, as [Redis.Watch] has found it, of several
// masters one that may drop locks; "unknown": it has not, or was not told.
func (r *Redis) Eviction() string {
	if r.embedded != nil {
		return noEviction
	}
	policy, _ := r.eviction.Load().(string)
	return cmp.Or(policy, "unknown")
}

// describeMasters describes each master by its address.
func (r *Redis) describeMasters(ctx context.Context) (map[string]master, error) {
	var mu sync.Mutex
	masters := map[string]master{}
	err := r.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		info, err := infoOf(ctx, node, "server", "memory", "persistence", "replication")
		mu.Lock()
		defer mu.Unlock()
		masters[node.Options().Addr] = r.describe(info)
		return err
	})
	return masters, err
}

// mastersChanged reports whether a master is not as the last inspection saw it.
func (r *Redis) mastersChanged(ctx context.Context) bool {
	if r.embedded != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	masters, err := r.describeMasters(ctx)
	return err == nil && !maps.Equal(masters, r.inspected)
}

// closeFormer closes the idle connections to a master that was started anew, took another's
// place or lost its own since the last inspection: they may lead to the former one.
func (r *Redis) closeFormer(ctx context.Context, masters map[string]master) {
	_ = r.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		addr := node.Options().Addr
		before, known := r.inspected[addr]
		if now := masters[addr]; known && (now.run != before.run || now.role != before.role) {
			closeIdle(ctx, node)
		}
		return nil
	})
}

// errDiscarded is why a connection is closed that is not broken.
var errDiscarded = errors.New("the connection is not used any more")

// unsendable is an argument that cannot be written, so that the client closes the connection.
type unsendable struct{}

// MarshalBinary implements [encoding.BinaryMarshaler].
func (unsendable) MarshalBinary() ([]byte, error) { return nil, errDiscarded }

// closeIdle closes the connections of the pool that nothing uses. The client has no way to
// say so.
func closeIdle(ctx context.Context, node *redis.Client) {
	for range node.PoolStats().IdleConns {
		_ = node.Do(ctx, "ping", unsendable{}).Err() // its connection is the next idle one
	}
}

// infoOf asks for one section by each command: a Redis that is too old knows no more.
func infoOf(ctx context.Context, node *redis.Client, sections ...string) (map[string]string, error) {
	pipe := node.Pipeline()
	texts := make([]*redis.StringCmd, len(sections))
	for i, section := range sections {
		texts[i] = pipe.Info(ctx, section)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("ask redis what it is: %w", withoutSecrets(err))
	}
	fields := map[string]string{}
	for _, text := range texts {
		for line := range strings.Lines(text.Val()) {
			if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
				fields[name] = value
			}
		}
	}
	return fields, nil
}

// watchInterval is how often [Redis.Watch] looks.
const watchInterval = time.Second

// Watch keeps [Redis.Health] up to date, and says in the log what begins to fail and when it is
// well again, once each. It inspects Redis, and loads the scripts, at the beginning and whenever
// it is back, or is another than it was. It returns nil when ctx is done, and an error that wraps
// [ErrTooOld] or [ErrSentinel] if it finds such a one.
func (r *Redis) Watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var probing sync.WaitGroup
	defer probing.Wait()
	defer cancel()
	if r.embedded == nil {
		probing.Go(func() { r.runProbes(ctx) })
	}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	inspected, trouble := false, noTrouble
	for {
		err := r.checkMasters(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var refused *acceptError
		answers := err == nil || errors.As(err, &refused)
		if inspected = inspected && answers && !r.mastersChanged(ctx); answers && !inspected {
			err := r.withTimeout(ctx, r.inspect)
			if errors.Is(err, ErrTooOld) || errors.Is(err, ErrSentinel) {
				return err
			}
			if inspected = err == nil || isAnswer(err); err != nil && inspected {
				r.log.Warn("redis does not say what it is: its version, eviction and persistence are not checked", "error", err)
			}
		}
		before := trouble
		trouble = troubleOf(err)
		r.logTrouble(before, trouble, err)
		r.checkOperations()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// trouble is what is wrong with a master on the connections of the pool.
type trouble int

const (
	noTrouble trouble = iota
	away
	refusesService
	refusesChanges
)

func troubleOf(err error) trouble {
	var accepting *acceptError
	switch {
	case err == nil:
		return noTrouble
	case isAnswer(err) && !mayPass(err):
		return refusesService
	case errors.As(err, &accepting), isAnswer(err) && !redis.IsLoadingError(err):
		return refusesChanges
	default:
		return away
	}
}

// logTrouble says what is wrong where it was not before, or that all is well again.
func (r *Redis) logTrouble(before, now trouble, err error) {
	if now == before {
		return
	}
	err = withoutSecrets(err)
	switch _, cluster := r.client.(*redis.ClusterClient); {
	case now == noTrouble:
		r.log.Info("redis is back")
	case now == refusesService:
		r.log.Error("redis refuses the service, see REDIS_URL and the rights of its user, no spool can be taken until it is let in", "error", err)
	case now == refusesChanges:
		r.log.Error("redis accepts no changes, no spool can be taken until it does", "error", err)
	case cluster:
		r.log.Error("a master of the cluster is away, its spools cannot be taken until it is back or replaced", "error", err)
	default:
		r.log.Error("redis is away, no spool can be taken until it is back", "error", err)
	}
}

func (r *Redis) withTimeout(ctx context.Context, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return look(ctx)
}
