package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// inspect loads the scripts into the Redis, says in the log which one was found, and warns
// if it may evict locks or forget them in a crash.
func (r *Redis) inspect(ctx context.Context) error {
	if r.embedded != nil {
		r.log.Warn("embedded redis, its locks end with this process")
		return nil
	}
	masters, eviction, err := r.describeMasters(ctx)
	if err != nil {
		return err
	}
	if err := r.eachMaster(ctx, r.inspectNode); err != nil {
		return err
	}
	r.inspected = masters
	r.eviction.Store(eviction)
	return nil
}

func (r *Redis) inspectNode(ctx context.Context, node *redis.Client) error {
	info, err := infoOf(ctx, node, "server", "memory", "persistence", "replication")
	if err != nil {
		return err
	}
	version, policy := info["redis_version"], info["maxmemory_policy"]
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		return fmt.Errorf("%w: found %q", ErrTooOld, version)
	}
	if info["redis_mode"] == "sentinel" {
		return ErrSentinel
	}
	if err := loadScripts(ctx, node); err != nil {
		return err
	}
	r.log.Info("redis found", "version", version, "mode", info["redis_mode"], "role", info["role"], "maxmemory_policy", policy)
	if _, ok := r.client.(*redis.ClusterClient); info["redis_mode"] == "cluster" && !ok {
		r.log.Error("redis is a node of a Cluster, and has some of the spools only: REDIS_URL must begin with redis+cluster:// for all")
	}
	if info["role"] == "slave" {
		r.log.Error("redis is a replica, no spool can be taken there: REDIS_URL must lead to its master")
	}
	if policy != noEviction {
		r.log.Warn("redis may evict locks when its memory is full, set maxmemory-policy noeviction",
			"maxmemory_policy", policy)
	}
	if info["aof_enabled"] == "0" {
		r.log.Warn("redis keeps no append-only file: after a crash it has forgotten locks, and their spools can be taken by others, set appendonly yes")
	}
	if r.tooFewReplicas(info) {
		r.log.Warn("redis has fewer replicas than LOCK_REPLICAS_ACK asks for: no take and no extension is confirmed",
			"replicas", info["connected_slaves"], "asked_for", r.replicas)
	}
	return nil
}

// tooFewReplicas reports whether a master has fewer replicas than are to confirm takes.
func (r *Redis) tooFewReplicas(info map[string]string) bool {
	replicas, err := strconv.Atoi(info["connected_slaves"])
	return err == nil && replicas < r.replicas
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

// describeMasters answers, for each master by its address, its run, its policy, its role
// and whether it has too few replicas, all in one text; and the policy of all of them.
func (r *Redis) describeMasters(ctx context.Context) (masters map[string]string, eviction string, err error) {
	var mu sync.Mutex
	masters, eviction = map[string]string{}, noEviction
	err = r.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		info, err := infoOf(ctx, node, "server", "memory", "replication")
		mu.Lock()
		defer mu.Unlock()
		policy := info["maxmemory_policy"]
		if policy != noEviction {
			eviction = policy
		}
		masters[node.Options().Addr] = fmt.Sprint(info["run_id"], policy, info["role"], r.tooFewReplicas(info))
		return err
	})
	return masters, eviction, err
}

// mastersChanged reports whether a master was started anew, took another's place or lost its
// own, evicts otherwise, or lost or got back replicas, since the last inspection.
func (r *Redis) mastersChanged(ctx context.Context) bool {
	if r.embedded != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	masters, _, err := r.describeMasters(ctx)
	return err == nil && !maps.Equal(masters, r.inspected)
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

// Watch says in the log when Redis goes away and when it is back, once each. It inspects
// Redis, and loads the scripts, at the beginning and whenever it is back, or is another than
// it was. It returns nil when ctx is done, and an error that wraps [ErrTooOld] or
// [ErrSentinel] if it finds such a one.
func (r *Redis) Watch(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	inspected, away, refused := false, false, false
	for {
		err := r.withTimeout(ctx, r.Ping)
		refuses := isAnswer(err) && !redis.IsLoadingError(err)
		switch {
		case ctx.Err() != nil:
			return nil
		case refuses && !refused:
			r.log.Error("redis refuses the service, see REDIS_URL and the rights of its user, no spool can be taken until it is let in", "error", err)
		case err != nil && !refuses && (refused || !away):
			r.logAway(err)
		case err == nil && away:
			r.log.Info("redis is back")
		}
		away, refused = err != nil, refuses
		inspected = inspected && !away && !r.mastersChanged(ctx)
		if !away && !inspected {
			err := r.withTimeout(ctx, r.inspect)
			if errors.Is(err, ErrTooOld) || errors.Is(err, ErrSentinel) {
				return err
			}
			if inspected = err == nil || isAnswer(err); err != nil && inspected {
				r.log.Warn("redis does not say what it is: its version, eviction and persistence are not checked", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (r *Redis) logAway(err error) {
	if _, ok := r.client.(*redis.ClusterClient); ok {
		r.log.Error("a master of the cluster is away, its spools cannot be taken until it is back or replaced", "error", err)
		return
	}
	r.log.Error("redis is away, no spool can be taken until it is back", "error", err)
}

func (r *Redis) withTimeout(ctx context.Context, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return look(ctx)
}
