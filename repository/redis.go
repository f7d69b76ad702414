package repository

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"spoollock/lock"
	"spoollock/redisurl"
)

// Config configures a [Redis]. URL, MaxConnections, Timeout and Memory are required.
type Config struct {
	// URL says where Redis is.
	URL redisurl.URL

	// TLS, if it is set, replaces what rediss:// trusts by itself, the roots of the
	// system.
	TLS *tls.Config

	// SentinelUsername and SentinelPassword are for Sentinels that ask for them.
	SentinelUsername, SentinelPassword string

	// MaxConnections is the most connections of the pool that are open at a time, in a
	// Cluster to each node; the feed of the floor has one more, and [Redis.Watch] opens one
	// for a moment every ten seconds. An operation that finds them all in use waits, within
	// its deadline.
	MaxConnections int

	// Timeout bounds dialing, and every command whose context has no deadline.
	Timeout time.Duration

	// Attempts is how many attempts an operation makes within Timeout; 0: one. A connection
	// on which no answer comes is closed after the time of one attempt.
	Attempts int

	// Replicas is how many replicas must have a take, an extension or a resume before
	// it is confirmed; 0: none.
	Replicas int

	// Tags tells canonical tags from others.
	Tags lock.TagParser

	// OnSpool, if it is set, is called with each spool that a script answers, from
	// several goroutines at once. It is not to block.
	OnSpool func(lock.Spool)

	// Memory is how long state and history of a spool are kept after its last
	// change. It is never shorter than the spool's lock.
	Memory time.Duration
}

var _ lock.Store = (*Redis)(nil)

// Redis is a pool of connections to one Redis and the locks kept there. It
// implements [lock.Store] and is safe for concurrent use.
type Redis struct {
	client          redis.UniversalClient // a *redis.Client, or for a Cluster a *redis.ClusterClient
	timeout         time.Duration
	attemptTimeout  time.Duration
	replicas        int
	memory          time.Duration
	tags            lock.TagParser
	channel         string // of the floor
	circuits        circuits
	lanesMu         sync.Mutex
	lanes           map[laneKey]*lane
	beats           beats
	foreignMessages atomic.Int64
	unlistableTags  atomic.Int64 // tags, at the last scan
	wrongTypes      wrongTypes
	roundTrips      roundTrips
	onSpool         func(lock.Spool)
	log             *slog.Logger
	embedded        *embedded // nil for a Redis outside this process

	inspected map[string]master // what the last inspection saw, by address
	eviction  atomic.Value      // string, the policy that it saw

	health     health
	probedRuns map[string]string // the run that the last probe met, by address
}

// Open prepares a pool and, for [redisurl.Embedded], starts the embedded Redis. It
// connects to nothing: a Redis that is away is met by the first command and by
// [Redis.Watch], and the pool recovers by itself. It fails on a URL without hosts, and
// where the embedded Redis cannot start.
func Open(config Config, log *slog.Logger) (*Redis, error) {
	r := &Redis{
		timeout: config.Timeout, attemptTimeout: config.Timeout / time.Duration(max(1, config.Attempts)), replicas: config.Replicas, memory: config.Memory, tags: config.Tags, onSpool: config.OnSpool, log: log,
		beats: beats{underWay: map[string]beat{}}, circuits: circuits{byAddr: map[string]*circuit{}}, lanes: map[laneKey]*lane{},
		health: newHealth(), probedRuns: map[string]string{},
	}
	if r.onSpool == nil {
		r.onSpool = func(lock.Spool) {}
	}
	addrs := config.URL.Hosts
	if config.URL.Form == redisurl.Embedded {
		server, err := startEmbedded()
		if err != nil {
			return nil, fmt.Errorf("start the embedded redis: %w", err)
		}
		r.embedded = server
		addrs = []string{embeddedAddr}
	}
	if len(addrs) == 0 {
		return nil, errNoHosts
	}
	options := clientOptions(config, addrs)
	if r.embedded != nil {
		options.Dialer = r.embedded.dial
	}
	// The client's own messages would double what Watch and the callers say.
	redis.SetLogger(&logging.VoidLogger{})
	r.client = redis.NewUniversalClient(options)
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(&r.roundTrips) })
	} else {
		r.client.AddHook(&r.roundTrips)
	}
	r.channel = floorChannel(config.URL.DB)
	return r, nil
}

// A connection of the pool is closed connLifetime after it was dialed, up to connJitter earlier
// or later so that not all go at the same time: a name that leads to another server, or other
// credentials, then count for all.
const (
	connLifetime = 30 * time.Minute
	connJitter   = 3 * time.Minute
)

func clientOptions(config Config, addrs []string) *redis.UniversalOptions {
	options := &redis.UniversalOptions{
		Addrs: addrs, DB: config.URL.DB, Username: config.URL.Username, Password: config.URL.Password,
		MasterName: config.URL.Master, IsClusterMode: config.URL.Form == redisurl.Cluster,
		SentinelUsername: config.SentinelUsername, SentinelPassword: config.SentinelPassword,
		// lock.Service retries, and nothing below it: an attempt made here would be
		// one that it does not know of.
		MaxRetries:            -1,
		DialerRetries:         1,
		PoolSize:              config.MaxConnections,
		PipelinePoolSize:      -1, // pipelines use the one pool, too
		ConnMaxLifetime:       connLifetime,
		ConnMaxLifetimeJitter: connJitter,
		PoolTimeout:           config.Timeout,
		DialTimeout:           config.Timeout,
		ReadTimeout:           config.Timeout,
		WriteTimeout:          config.Timeout,
		ContextTimeoutEnabled: true,
		// Both would cost each new connection a round trip.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if config.URL.TLS {
		options.TLSConfig = cmp.Or(config.TLS, &tls.Config{MinVersion: tls.VersionTLS12})
	}
	if config.URL.Form == redisurl.Sentinel {
		// To dial is to ask a Sentinel first, and the next where that one hangs.
		options.Dialer = redis.NewDialer(&redis.Options{DialTimeout: config.Timeout, TLSConfig: options.TLSConfig})
		options.DialTimeout = 4 * config.Timeout
	}
	return options
}

// Close disconnects, and stops the embedded Redis if there is one.
func (r *Redis) Close() error {
	err := r.client.Close()
	if r.embedded != nil {
		r.embedded.stop()
	}
	return err
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

// masters are those of a Cluster by their addresses, or the one Redis. It asks the
// Cluster for them, so that from then on keys are sought where they are, and forgets what it
// keeps of others.
func (r *Redis) masters(ctx context.Context) (map[string]*redis.Client, error) {
	var mu sync.Mutex
	masters := map[string]*redis.Client{}
	err := r.eachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[node.Options().Addr] = node
		return nil
	})
	if err == nil {
		r.forgetOthers(masters)
	}
	return masters, err
}

// forgetOthers forgets the lanes and circuits of a Redis that is none of the masters. What is
// under way in such a lane goes on.
func (r *Redis) forgetOthers(masters map[string]*redis.Client) {
	r.lanesMu.Lock()
	maps.DeleteFunc(r.lanes, func(key laneKey, _ *lane) bool { return masters[key.node.Options().Addr] != key.node })
	r.lanesMu.Unlock()
	r.circuits.mu.Lock()
	maps.DeleteFunc(r.circuits.byAddr, func(addr string, _ *circuit) bool { return addr != "" && masters[addr] == nil })
	r.circuits.mu.Unlock()
}
