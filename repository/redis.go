package repository

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"spoollock/lock"
)

// EmbeddedURL asks [Open] for a Redis inside this process.
const EmbeddedURL = "embedded://"

// Config configures a [Redis]. Every field but Saw is required.
type Config struct {
	// URL is redis://[user:password@]host[:port][/db], the same with rediss:// for
	// TLS, or [EmbeddedURL].
	URL string

	// MaxConnections is the most connections of the pool that are open at a time; the
	// feed of the floor has one more. An operation that finds them all in use waits,
	// within its deadline.
	MaxConnections int

	// Timeout bounds dialing, and every command whose context has no deadline.
	Timeout time.Duration

	// Tags tells canonical tags from others.
	Tags lock.TagParser

	// Saw, if it is set, is called with each spool that a script answers, from
	// several goroutines at once. It is not to block.
	Saw func(lock.Spool)

	// Memory is how long the companion data of a spool is kept after its last
	// change. It is never shorter than the spool's lock.
	Memory time.Duration
}

// Redis is a pool of connections to one Redis and the locks kept there. It
// implements [lock.Store] and is safe for concurrent use.
type Redis struct {
	client   *redis.Client
	memory   time.Duration
	tags     lock.TagParser
	channel  string // of the floor
	odd      atomic.Int64
	unfit    atomic.Int64 // tags, at the last scan
	trips    trips
	saw      func(lock.Spool)
	log      *slog.Logger
	embedded *embedded // nil for a Redis outside this process
}

// Open prepares a pool and, for [EmbeddedURL], starts the embedded Redis. It
// connects to nothing: a Redis that is away is met by the first command and by
// [Redis.Watch], and the pool recovers by itself. It fails on a malformed URL,
// whose text it keeps out of the error.
func Open(config Config, log *slog.Logger) (*Redis, error) {
	r := &Redis{memory: config.Memory, tags: config.Tags, saw: config.Saw, log: log}
	if r.saw == nil {
		r.saw = func(lock.Spool) {}
	}
	options := &redis.Options{}
	if config.URL == EmbeddedURL {
		server, err := startEmbedded()
		if err != nil {
			return nil, fmt.Errorf("start the embedded redis: %w", err)
		}
		r.embedded = server
		options.Addr = server.addr()
	} else {
		parsed, err := redis.ParseURL(config.URL)
		if err != nil {
			// The error of ParseURL can contain the password.
			return nil, errors.New("the redis URL is malformed")
		}
		options = parsed
	}
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
	// Both would cost each new connection a round trip.
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// The client's own messages would double what Watch and the callers say.
	redis.SetLogger(&logging.VoidLogger{})
	r.client = redis.NewClient(options)
	r.client.AddHook(&r.trips)
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

// Ping reports whether Redis answers within ctx's deadline.
func (r *Redis) Ping(ctx context.Context) error {
	if err := r.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping redis: %w", withoutAddress(err))
	}
	return nil
}

// ErrTooOld says that the Redis found cannot run the scripts.
var ErrTooOld = errors.New("redis 7.0 or newer is required")

// inspect says in the log which Redis was found, and warns if it may evict locks
// or forget them in a crash.
func (r *Redis) inspect(ctx context.Context) error {
	if r.embedded != nil {
		r.log.Warn("embedded redis, its locks end with this process", "redis_addr", r.embedded.addr())
		return nil
	}
	info, err := r.info(ctx, "server", "memory", "persistence")
	if err != nil {
		return err
	}
	version, policy := info["redis_version"], info["maxmemory_policy"]
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err != nil || n < 7 {
		return fmt.Errorf("%w: found %q", ErrTooOld, version)
	}
	r.log.Info("redis found", "version", version, "mode", info["redis_mode"], "maxmemory_policy", policy)
	if policy != "noeviction" {
		r.log.Warn("redis may evict locks when its memory is full, set maxmemory-policy noeviction",
			"maxmemory_policy", policy)
	}
	if info["aof_enabled"] == "0" {
		r.log.Warn("redis keeps no append-only file: after a crash it has forgotten locks, and their spools can be taken by others, set appendonly yes")
	}
	return nil
}

// info asks for one section at a time: a Redis that is too old knows no more.
func (r *Redis) info(ctx context.Context, sections ...string) (map[string]string, error) {
	fields := map[string]string{}
	for _, section := range sections {
		text, err := r.client.Info(ctx, section).Result()
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
// inspects it at the beginning and whenever it is back. It returns nil when ctx is
// done, and an error that wraps [ErrTooOld] if it finds an older Redis than 7.0.
func (r *Redis) Watch(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	inspected, away := false, false
	for {
		err := r.within(ctx, r.Ping)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away && isAnswer(err):
			r.log.Error("redis refuses the service, no spool can be taken until it is let in", "error", err)
		case err != nil && !away:
			r.log.Error("redis is away, no spool can be taken until it is back", "error", err)
		case err == nil && away:
			r.log.Info("redis is back")
		}
		away = err != nil
		inspected = inspected && !away
		if !away && !inspected {
			err := r.within(ctx, r.inspect)
			if errors.Is(err, ErrTooOld) {
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

func (r *Redis) within(ctx context.Context, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.client.Options().DialTimeout)
	defer cancel()
	return look(ctx)
}
