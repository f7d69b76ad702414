package repository

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"spoollock/lock"
)

// Config configures a [Redis]. URL, MaxConnections, Timeout and Memory are required.
type Config struct {
	// URL is one of
	//
	//	redis://[user:password@]host[:port][/db]
	//	redis+sentinel://[user:password@]host[:port],…/master[/db]
	//	redis+cluster://[user:password@]host[:port],…
	//
	// the same with rediss for TLS, or [EmbeddedURL]. The hosts of the second are
	// Sentinels, which say where the master of that name is; those of the third are
	// some of the nodes. User and password are those of the Redis.
	URL string

	// TLS, if it is set, replaces what rediss:// trusts by itself, the roots of the
	// system.
	TLS *tls.Config

	// SentinelUsername and SentinelPassword are for Sentinels that ask for them.
	SentinelUsername, SentinelPassword string

	// MaxConnections is the most connections of the pool that are open at a time, in a
	// Cluster to each node; the feed of the floor has one more. An operation that finds
	// them all in use waits, within its deadline.
	MaxConnections int

	// Timeout bounds dialing, and every command whose context has no deadline.
	Timeout time.Duration

	// Replicas is how many replicas must have a take, an extension or a resume before
	// it is confirmed; 0: none.
	Replicas int

	// Tags tells canonical tags from others.
	Tags lock.TagParser

	// Saw, if it is set, is called with each spool that a script answers, from
	// several goroutines at once. It is not to block.
	Saw func(lock.Spool)

	// Memory is how long the companion data of a spool is kept after its last
	// change. It is never shorter than the spool's lock.
	Memory time.Duration
}

var _ lock.Store = (*Redis)(nil)

// Redis is a pool of connections to one Redis and the locks kept there. It
// implements [lock.Store] and is safe for concurrent use.
type Redis struct {
	client   redis.UniversalClient // a *redis.Client, or for a Cluster a *redis.ClusterClient
	timeout  time.Duration
	replicas int
	memory   time.Duration
	tags     lock.TagParser
	channel  string // of the floor
	circuits circuits
	beats    beats
	odd      atomic.Int64
	unfit    atomic.Int64 // tags, at the last scan
	trips    trips
	saw      func(lock.Spool)
	log      *slog.Logger
	embedded *embedded // nil for a Redis outside this process

	found    map[string]string // what the last inspection saw of the masters
	eviction atomic.Value      // string, the policy that it saw
}

// Open prepares a pool and, for [EmbeddedURL], starts the embedded Redis. It
// connects to nothing: a Redis that is away is met by the first command and by
// [Redis.Watch], and the pool recovers by itself. It fails on a malformed URL,
// whose text it keeps out of the error.
func Open(config Config, log *slog.Logger) (*Redis, error) {
	r := &Redis{
		timeout: config.Timeout, replicas: config.Replicas, memory: config.Memory, tags: config.Tags, saw: config.Saw, log: log,
		beats: beats{under: map[string]beat{}}, circuits: circuits{byAddr: map[string]*circuit{}},
	}
	if r.saw == nil {
		r.saw = func(lock.Spool) {}
	}
	options := &redis.UniversalOptions{}
	if config.URL == EmbeddedURL {
		server, err := startEmbedded()
		if err != nil {
			return nil, fmt.Errorf("start the embedded redis: %w", err)
		}
		r.embedded = server
		options.Addrs = []string{server.addr()}
	} else {
		parsed, err := parseURL(config.URL)
		if err != nil {
			return nil, err
		}
		options = parsed
	}
	if options.TLSConfig != nil && config.TLS != nil {
		options.TLSConfig = config.TLS
	}
	options.SentinelUsername, options.SentinelPassword = config.SentinelUsername, config.SentinelPassword
	// lock.Service retries, and nothing below it: an attempt made here would be
	// one that it does not know of.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.PoolSize = config.MaxConnections
	options.PipelinePoolSize = -1 // pipelines use the one pool, too
	options.PoolTimeout = config.Timeout
	options.DialTimeout = config.Timeout
	options.ReadTimeout = config.Timeout
	options.WriteTimeout = config.Timeout
	options.ContextTimeoutEnabled = true
	if options.MasterName != "" {
		// To dial is to ask a Sentinel first, and the next where that one hangs.
		options.Dialer = redis.NewDialer(&redis.Options{DialTimeout: config.Timeout, TLSConfig: options.TLSConfig})
		options.DialTimeout = 4 * config.Timeout
	}
	// Both would cost each new connection a round trip.
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// The client's own messages would double what Watch and the callers say.
	redis.SetLogger(&logging.VoidLogger{})
	r.client = redis.NewUniversalClient(options)
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(&r.trips) })
	} else {
		r.client.AddHook(&r.trips)
	}
	r.channel = floorChannel(options.DB)
	return r, nil
}

// Close disconnects, and stops the embedded Redis if there is one.
func (r *Redis) Close() error {
	err := r.client.Close()
	if r.embedded != nil {
		r.embedded.stop()
	}
	return err
}

// Ping reports whether Redis, in a Cluster each master, answers within ctx's
// deadline.
func (r *Redis) Ping(ctx context.Context) error {
	err := r.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() })
	if err != nil {
		return fmt.Errorf("ping redis: %w", withoutAddress(err))
	}
	return nil
}

// eachMaster calls do with the Redis, or with each master of a Cluster at the same
// time, and returns the first error.
func (r *Redis) eachMaster(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	switch client := r.client.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, client)
	default:
		return fmt.Errorf("a client of type %T", client)
	}
}

// masterOf is where a key is.
func (r *Redis) masterOf(ctx context.Context, key string) (*redis.Client, error) {
	switch client := r.client.(type) {
	case *redis.ClusterClient:
		circuit := r.circuits.of("")
		if err := circuit.enter(); err != nil {
			return nil, err
		}
		node, err := client.MasterForKey(ctx, key)
		circuit.leave(err)
		return node, err
	case *redis.Client:
		return client, nil
	default:
		return nil, fmt.Errorf("a client of type %T", client)
	}
}

// ErrTooOld says that the Redis found cannot run the scripts, and ErrSentinel that it is a
// Sentinel, which keeps no locks.
var (
	ErrTooOld   = errors.New("redis 7.0 or newer is required")
	ErrSentinel = errors.New("REDIS_URL leads to a Sentinel, and must begin with redis+sentinel:// for that")
)

// inspect says in the log which Redis was found, and warns if it may evict locks
// or forget them in a crash.
func (r *Redis) inspect(ctx context.Context) error {
	if r.embedded != nil {
		r.log.Warn("embedded redis, its locks end with this process", "redis_addr", r.embedded.addr())
		return nil
	}
	masters, eviction, err := r.sight(ctx)
	if err != nil {
		return err
	}
	if err := r.eachMaster(ctx, r.inspectNode); err != nil {
		return err
	}
	r.found = masters
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
	if r.tooFew(info) {
		r.log.Warn("redis has fewer replicas than LOCK_REPLICAS_ACK asks for: no take and no extension is confirmed",
			"replicas", info["connected_slaves"], "asked_for", r.replicas)
	}
	return nil
}

// tooFew reports whether a master has fewer replicas than are to confirm takes.
func (r *Redis) tooFew(info map[string]string) bool {
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

// sight is what is seen of each master, by its address: its run, its policy, its role,
// and whether it has too few replicas.
func (r *Redis) sight(ctx context.Context) (masters map[string]string, eviction string, err error) {
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
		masters[node.Options().Addr] = fmt.Sprint(info["run_id"], policy, info["role"], r.tooFew(info))
		return err
	})
	return masters, eviction, err
}

// changed reports whether a master was started anew, took another's place or lost its
// own, evicts otherwise, or lost or got back replicas, since the last inspection.
func (r *Redis) changed(ctx context.Context) bool {
	if r.embedded != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	masters, _, err := r.sight(ctx)
	return err == nil && !maps.Equal(masters, r.found)
}

// infoOf asks for one section at a time: a Redis that is too old knows no more.
func infoOf(ctx context.Context, node *redis.Client, sections ...string) (map[string]string, error) {
	fields := map[string]string{}
	for _, section := range sections {
		text, err := node.Info(ctx, section).Result()
		if err != nil {
			return nil, fmt.Errorf("ask redis for its %s: %w", section, withoutAddress(err))
		}
		for line := range strings.Lines(text) {
			if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
				fields[name] = value
			}
		}
	}
	return fields, nil
}

// watchInterval is how often [Redis.Watch] looks.
const watchInterval = time.Second

// Watch says in the log when Redis goes away and when it is back, once each, and
// inspects it at the beginning and whenever it is back, or is another than it was. It
// returns nil when ctx is done, and an error that wraps [ErrTooOld] or [ErrSentinel] if it
// finds such a one.
func (r *Redis) Watch(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	inspected, away, refused := false, false, false
	for {
		err := r.within(ctx, r.Ping)
		refuses := isAnswer(err) && !redis.IsLoadingError(err)
		switch {
		case ctx.Err() != nil:
			return nil
		case refuses && !refused:
			r.log.Error("redis refuses the service, see REDIS_URL and the rights of its user, no spool can be taken until it is let in", "error", err)
		case err != nil && !refuses && (refused || !away):
			r.sayAway(err)
		case err == nil && away:
			r.log.Info("redis is back")
		}
		away, refused = err != nil, refuses
		inspected = inspected && !away && !r.changed(ctx)
		if !away && !inspected {
			err := r.within(ctx, r.inspect)
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

func (r *Redis) sayAway(err error) {
	if _, ok := r.client.(*redis.ClusterClient); ok {
		r.log.Error("a master of the cluster is away, its spools cannot be taken until it is back or replaced", "error", err)
		return
	}
	r.log.Error("redis is away, no spool can be taken until it is back", "error", err)
}

func (r *Redis) within(ctx context.Context, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return look(ctx)
}
