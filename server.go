// Command spoollock serves the spool lock service: GraphQL over HTTP, on locks
// in Redis.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"spoollock/auth"
	"spoollock/config"
	"spoollock/files"
	"spoollock/floor"
	"spoollock/gqlhttp"
	"spoollock/graph"
	"spoollock/graph/scalar"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/metrics"
	"spoollock/ratelimit"
	"spoollock/repository"
)

//go:generate go run github.com/99designs/gqlgen generate

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal, a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	var err error
	if len(os.Args) > 1 && os.Args[1] == "keys" {
		err = auth.KeysCommand(os.Args[2:], os.Stdout, os.Stderr)
	} else {
		err = run(ctx, os.Args[1:], os.LookupEnv, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "spoollock:", err)
		os.Exit(1)
	}
}

const usage = `Usage: spoollock [-dev] [-version]
       spoollock keys

Serves the spool lock service. It is configured by environment variables and the
file .env; .env.example lists them all.

  -dev      a trial on this machine: an embedded Redis whose locks end with the
            process, playground and introspection on, .env not read
  -version  print the version and exit
  keys      make a key for a partner or a machine; it has a usage of its own
`

// run is the whole program. It returns nil after a stop by ctx that left no
// request unanswered.
func run(ctx context.Context, args []string, lookupEnv func(string) (string, bool), stderr io.Writer) error {
	flags := flag.NewFlagSet("spoollock", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dev := flags.Bool("dev", false, "")
	version := flags.Bool("version", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(stderr, usage)
		return err
	case err != nil, flags.NArg() > 0:
		// Not quoted: it may be a URL with a password, in the wrong place.
		return errors.New("the arguments are not understood; -h shows the usage")
	}
	if *version {
		_, err := fmt.Fprintln(stderr, "spoollock", buildVersion())
		return err
	}
	cfg, err := config.Load(lookupEnv, *dev, config.DotEnv)
	if err != nil {
		return fmt.Errorf("the configuration is not valid:\n%w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also where the wiring fails half-way
	log, flush := newLogger(stderr, cfg)
	defer flush()
	a, err := wire(ctx, cfg, *dev, log)
	if err != nil {
		return err
	}
	return a.run(ctx)
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// app is the service with its parts wired together. What it opened is closed when run
// returns.
type app struct {
	config config.Config
	dev    bool
	log    *slog.Logger

	store     *repository.Redis
	view      *floor.View
	limiter   *ratelimit.Limiter
	locks     *lock.Service
	addresses *httpapi.Addresses
	handler   *httpapi.Handler

	// The sources of credentials; nil if AUTH_MODE has no use for them.
	tokens *auth.JWT
	keys   *auth.Keys

	requests sync.WaitGroup // that have begun and are not answered
}

// wire makes the parts of the service and connects them. The keys of AUTH_JWKS are fetched
// from time to time until ctx is done. Nothing stays open if it fails.
func wire(ctx context.Context, cfg config.Config, dev bool, log *slog.Logger) (*app, error) {
	tags := lock.TagParser{UpperCase: cfg.UpperCaseTags}
	view := floor.NewView()
	store, err := repository.Open(repository.Config{
		URL:              cfg.RedisURL,
		TLS:              cfg.RedisTLS,
		SentinelUsername: cfg.SentinelUsername,
		SentinelPassword: cfg.SentinelPassword,
		Replicas:         cfg.ReplicasAck,
		Tags:             tags,
		OnSpool:          view.Apply,
		MaxConnections:   cfg.RedisMaxConnections,
		Timeout:          cfg.OperationTimeout,
		Attempts:         cfg.RetryAttempts,
		Memory:           cfg.SpoolMemory,
	}, log)
	if err != nil {
		return nil, fmt.Errorf("see REDIS_URL: %w", err)
	}
	rates := ratelimit.Config{PerIdentity: cfg.MutationRates.PerIdentity, PerAddress: cfg.MutationRates.PerAddress}
	if cfg.MutationRates.Shared {
		rates.DrawShared = store.Draw
	}
	limiter := ratelimit.New(rates)
	locking := lock.Config{
		Limits:        lock.Limits{DefaultTTL: cfg.LockTTL, MaxTTL: cfg.LockMaxTTL, LocksPerWorker: cfg.LocksPerWorker},
		Tags:          tags,
		Timeout:       cfg.OperationTimeout,
		Attempts:      cfg.RetryAttempts,
		Held:          view.Held,
		HeldByPartner: view.HeldByPartner,
	}
	if cfg.MutationRates.Limited {
		locking.Admit = limiter.Admit
	}
	if !cfg.LimitsOff {
		locking.BeginFresh = ratelimit.NewFreshSpools(ratelimit.FreshSpoolsPerDay).Begin
	}
	a := &app{
		config: cfg, dev: dev, log: log, store: store, view: view, limiter: limiter,
		locks:     lock.NewService(store, locking, log),
		addresses: httpapi.NewAddresses(cfg.MaxConnectionsPerAddress, cfg.TrustedProxies),
	}
	if a.handler, err = a.newHandler(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return a, nil
}

// newHandler makes what answers HTTP requests, from the other parts.
func (a *app) newHandler(ctx context.Context) (*httpapi.Handler, error) {
	cfg, store, view, addresses, log := a.config, a.store, a.view, a.addresses, a.log
	identify, err := a.identities(ctx)
	if err != nil {
		return nil, err
	}
	sources := metrics.Sources{
		Floor: view.Status, Redis: store.Stats, Health: a.health, Retries: a.locks.Retries,
		Streams: func() gqlhttp.StreamCounts { return a.handler.Streams() },
	}
	if a.tokens != nil {
		sources.KeySetAge = a.tokens.KeySetAge
	}
	measured := metrics.New(sources)
	schema := graph.NewSchema(a.locks, view, log)
	var documents *gqlhttp.TrustedDocuments
	if cfg.TrustedDocuments != "" {
		if documents, err = gqlhttp.LoadTrustedDocuments(files.Dir(cfg.TrustedDocuments, log), cfg.TrustedOnly, schema.Schema(), scalar.Check); err != nil {
			return nil, fmt.Errorf("see TRUSTED_DOCUMENTS: %w", err)
		}
	}
	requestLimits, streamLimits := limits(cfg)
	var admitUnits func(context.Context, int) error
	if rates := cfg.QueryRates; rates.Limited {
		limiter := ratelimit.New(ratelimit.Config{Name: "queries", PerIdentity: rates.PerIdentity, PerAddress: rates.PerAddress})
		admitUnits = limiter.AdmitUnits
	}
	return httpapi.New(httpapi.Config{
		Schema:           schema,
		Health:           a.health,
		FloorLive:        func() bool { return view.Status().Live },
		Eviction:         store.Eviction,
		Metrics:          measured.Handler(log),
		Observe:          measured.Operation,
		AdmitUnits:       admitUnits,
		RequestLimits:    requestLimits,
		StreamLimits:     streamLimits,
		TrustedDocuments: documents,
		RequestTimeout:   cfg.RequestTimeout,
		Introspection:    cfg.Introspection,
		Addresses:        addresses,
		Identify:         identify,
		AuthMode:         cfg.Auth.Mode(),
		LimitsOff:        cfg.LimitsOff,
		AllowedOrigins:   cfg.AllowedOrigins,
		AllowedHosts:     cfg.AllowedHosts,
		Playground:       cfg.Playground,
		Log:              log,
	}), nil
}

// run listens and serves until ctx is done or a part fails. It returns nil after a stop by
// ctx that left no request unanswered.
func (a *app) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, a.store.Close()) }()
	listener, err := listen(a.config.Addr)
	if err != nil {
		return err
	}
	announce(a.log, listener.Addr(), a.config, a.dev)
	server := a.newServer()
	group, ctx := errgroup.WithContext(ctx)
	// What requests under way need goes on until the last one is answered, or cut off.
	answering, answered := context.WithCancel(context.WithoutCancel(ctx))
	defer answered()
	group.Go(func() error { return a.store.Watch(ctx) })
	group.Go(func() error {
		a.limiter.RunSharing(answering, a.log)
		return nil
	})
	group.Go(func() error {
		rebuild := floor.Config{RebuildInterval: a.config.FloorRebuild, Timeout: a.config.OperationTimeout}
		floor.Run(answering, a.view, a.store, rebuild, a.log)
		return nil
	})
	group.Go(func() error {
		if err := server.Serve(a.addresses.Listener(listener, a.log)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return a.shutdown(ctx, server, answered)
	})
	err = group.Wait()
	a.log.Info("stopped")
	return err
}

func listen(addr string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another process: set PORT to a free one, or end that process", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen, see HOST and PORT: %w", err)
	}
	return listener, nil
}

// newServer makes the server that counts the requests under way.
func (a *app) newServer() *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a.requests.Add(1)
			defer a.requests.Done()
			a.handler.ServeHTTP(w, r)
		}),
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second,
		// A client that is slow to send does not hold up a stop.
		ReadTimeout:    min(15*time.Second, a.config.ShutdownTimeout/2),
		WriteTimeout:   15*time.Second + a.config.RequestTimeout,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
}

// shutdown lets requests and streams that have begun end within the time for that, cuts
// off the others, and says so in its error. Then it calls answered, and waits until no
// operation is left, and no lock that is to be taken back.
func (a *app) shutdown(ctx context.Context, server *http.Server, answered func()) error {
	timeout := a.config.ShutdownTimeout
	a.log.Info("shutting down", "timeout", timeout.String())
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+a.config.OperationTimeout)
	defer cancel()
	deadline, cancel := context.WithTimeout(end, timeout)
	defer cancel()
	streams := make(chan error, 1)
	go func() { streams <- a.handler.Shutdown(deadline) }()
	err := server.Shutdown(deadline)
	if cut := <-streams; err == nil {
		err = cut
	}
	if err != nil {
		err = fmt.Errorf("requests were still running after %v: %w", timeout, errors.Join(err, server.Close()))
	}
	answered()
	// What was cut off begins nothing more, but has until its operation's deadline, and may
	// leave a lock that is to be taken back.
	a.requests.Wait()
	a.locks.Close(end)
	return err
}

// limits are what one request, caller or WebSocket may ask for.
func limits(cfg config.Config) (gqlhttp.RequestLimits, gqlhttp.StreamLimits) {
	request := gqlhttp.RequestLimits{
		BodyBytes:  int64(cfg.MaxBodyBytes),
		Tokens:     cfg.MaxTokens,
		Depth:      cfg.MaxDepth,
		Aliases:    orNone(cfg.MaxAliases),
		RootFields: cfg.MaxRootFields,
		Directives: orNone(cfg.MaxDirectives),
		Fields:     cfg.MaxFields,
		Units:      cfg.MaxUnits,
	}
	stream := gqlhttp.StreamLimits{
		Subscriptions: cfg.Streams.Max,
		PerNetwork:    cfg.Streams.MaxPerAddress,
		PerCaller:     cfg.Streams.MaxPerIdentity,
	}
	if cfg.LimitsOff || !cfg.Auth.JWT && !cfg.Auth.Keys { // an init proves nothing where callers are not authenticated
		stream.BeforeInit = stream.PerNetwork
	}
	if cfg.LimitsOff { // which the other fields of cfg know already
		request.AnswerBytes, stream.OperationsPerSocket, stream.MessagesPerSecond = 1<<30, 1<<20, 1<<20
	}
	return request, stream
}

// orNone is a limit whose 0 allows none, which in package gqlhttp is the default.
func orNone(limit int) int {
	if limit == 0 {
		return -1
	}
	return limit
}

// health says whether the service is of use to anyone, and the state of each check by its name.
func (a *app) health() (ready bool, checks map[string]string) {
	ready, checks = a.store.Health()
	if a.tokens != nil {
		state := a.tokens.KeySet()
		checks["keySet"] = string(state)
		ready = ready && (state != auth.KeySetMissing || a.keys != nil)
	}
	if a.keys != nil {
		checks["keysFile"] = "ok"
		if a.keys.Err() != nil {
			checks["keysFile"] = "stale"
		}
	}
	return ready, checks
}

// identities are what the service knows of who is calling. It sets a.tokens and a.keys.
func (a *app) identities(ctx context.Context) (auth.Identify, error) {
	cfg := a.config.Auth
	var err error
	if cfg.JWT {
		if a.tokens, err = auth.NewJWT(ctx, auth.JWTConfig{
			Keys: cfg.JWKS, AllowedURL: config.AllowedJWKS, Issuer: cfg.Issuer, Audience: cfg.Audience,
			WorkerIDClaim: cfg.ClaimWorkerID, NameClaim: cfg.ClaimName, RolesClaim: cfg.ClaimRoles,
		}, a.log); err != nil {
			return nil, fmt.Errorf("see AUTH_JWKS: %w", err)
		}
	}
	if cfg.Keys {
		if a.keys, err = auth.LoadKeys(ctx, cfg.KeysFile, a.log); err != nil {
			return nil, fmt.Errorf("see AUTH_KEYS_FILE: %w", err)
		}
	}
	switch {
	case cfg.JWT && cfg.Keys:
		return auth.TokensOrKeys(a.tokens.Identify, a.keys), nil
	case cfg.JWT:
		return a.tokens.Identify, nil
	case cfg.Keys:
		return a.keys.Identify, nil
	default:
		return auth.Static(unknown(a.dev)), nil
	}
}

// unknown is the caller of whom nobody knows who it is: any worker, and in a trial an
// administrator.
func unknown(dev bool) lock.Caller {
	if dev {
		return lock.Caller{Worker: lock.Worker{ID: "dev", Name: "Developer"}, Role: lock.RoleAdmin}
	}
	return lock.Caller{Role: lock.RoleWorker}
}

// announce says where the service is, and what about it is not for production.
func announce(log *slog.Logger, addr net.Addr, cfg config.Config, dev bool) {
	url := "http://" + addr.String()
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		url = fmt.Sprintf("http://localhost:%d", tcp.Port) // every address of this machine, this one too
	}
	log.Info("listening", "graphql", url+"/graphql", "address", addr.String(), "version", buildVersion())
	if cfg.Playground {
		log.Info("playground is on", "playground", url+"/playground")
	}
	if cfg.Auth.Mode() == "none" {
		log.Warn("AUTH_MODE is none: anyone who can connect can act as any worker", "address", addr.String())
	} else {
		log.Info("callers are asked who they are", "auth_mode", cfg.Auth.Mode())
	}
	if cfg.LimitsOff {
		log.Warn("LIMITS=off IS FOR LOAD TESTS ONLY: nothing limits how much callers may do")
	}
	if dev {
		log.Warn("-dev IS FOR TRIALS ON THIS MACHINE ONLY: without tokens or keys everybody may do everything, and no lock of the embedded Redis outlives the process")
	}
}
