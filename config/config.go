// Package config reads the configuration from the environment. Nothing else in
// the project does.
package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"

	"spoollock/redisurl"
)

// DotEnv is the file that [Load] reads beside the environment.
const DotEnv = ".env"

// Config is a complete and valid configuration.
type Config struct {
	RedisURL                 redisurl.URL   // REDIS_URL
	RedisTLS                 *tls.Config    // REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE; nil: none is set
	SentinelUsername         string         // REDIS_SENTINEL_USERNAME
	SentinelPassword         string         // REDIS_SENTINEL_PASSWORD
	ReplicasAck              int            // LOCK_REPLICAS_ACK
	LockTTL                  time.Duration  // REDIS_LOCK_TTL_SECONDS
	LockMaxTTL               time.Duration  // REDIS_LOCK_MAX_TTL_SECONDS
	RedisMaxConnections      int            // REDIS_MAX_CONNECTIONS
	OperationTimeout         time.Duration  // REDIS_OPERATION_TIMEOUT_MS
	RetryAttempts            int            // REDIS_RETRY_ATTEMPTS
	SpoolMemory              time.Duration  // SPOOL_MEMORY_DAYS
	FloorRebuild             time.Duration  // FLOOR_REBUILD_SECONDS
	UpperCaseTags            bool           // SPOOL_TAG_CASE
	ShutdownTimeout          time.Duration  // SHUTDOWN_TIMEOUT_SECONDS
	Addr                     string         // HOST and PORT
	Auth                     Auth           // see there
	MutationRates            MutationRates  // see there
	QueryRates               QueryRates     // see there
	LimitsOff                bool           // LIMITS; the fields have the limits that it lifts at their maximum
	LocksPerWorker           int            // MAX_LOCKS_PER_WORKER
	MaxBodyBytes             int            // MAX_BODY_BYTES
	MaxTokens                int            // MAX_TOKENS
	MaxDepth                 int            // MAX_DEPTH
	MaxAliases               int            // MAX_ALIASES
	MaxRootFields            int            // MAX_ROOT_FIELDS
	MaxDirectives            int            // MAX_DIRECTIVES
	MaxFields                int            // MAX_FIELDS
	MaxUnits                 int            // MAX_UNITS
	RequestTimeout           time.Duration  // REQUEST_TIMEOUT_SECONDS
	MaxConnectionsPerAddress int            // MAX_CONNECTIONS_PER_ADDRESS
	Streams                  Streams        // see there
	TrustedProxies           []netip.Prefix // TRUSTED_PROXIES
	TrustedDocuments         string         // TRUSTED_DOCUMENTS, a directory; empty: none
	TrustedOnly              bool           // TRUSTED_DOCUMENTS_ONLY
	AllowedOrigins           []string       // ALLOWED_ORIGINS
	AllowedHosts             []string       // ALLOWED_HOSTS
	Introspection            bool           // INTROSPECTION
	Playground               bool           // PLAYGROUND
	LogText                  bool           // LOG_FORMAT
	LogLevel                 slog.Level     // LOG_LEVEL
}

// Auth is how the service knows who is calling. With neither JWT nor Keys, it does not.
type Auth struct {
	JWT, Keys bool // AUTH_MODE

	JWKS          string // AUTH_JWKS, a URL or a file
	Issuer        string // AUTH_ISSUER
	Audience      string // AUTH_AUDIENCE
	ClaimWorkerID string // AUTH_CLAIM_WORKER_ID
	ClaimName     string // AUTH_CLAIM_NAME
	ClaimRoles    string // AUTH_CLAIM_ROLES

	KeysFile string // AUTH_KEYS_FILE
}

// Mode is AUTH_MODE.
func (a Auth) Mode() string {
	switch {
	case a.JWT && a.Keys:
		return "jwt,keys"
	case a.JWT:
		return "jwt"
	case a.Keys:
		return "keys"
	default:
		return "none"
	}
}

// MutationRates bound how many mutations a caller may send.
type MutationRates struct {
	Limited     bool // RATE_LIMIT
	PerIdentity int  // RATE_LIMIT_PER_IDENTITY
	PerAddress  int  // RATE_LIMIT_PER_ADDRESS
	Shared      bool // RATE_LIMIT_SHARED
}

// QueryRates bound what a caller's queries may have Redis do, in units a second.
type QueryRates struct {
	Limited     bool // RATE_LIMIT
	PerIdentity int  // RATE_LIMIT_QUERIES_PER_IDENTITY
	PerAddress  int  // RATE_LIMIT_QUERIES_PER_ADDRESS
}

// Streams are the limits of subscriptions and WebSockets.
type Streams struct {
	Max            int // MAX_SUBSCRIPTIONS
	MaxPerAddress  int // MAX_SUBSCRIPTIONS_PER_ADDRESS
	MaxPerIdentity int // MAX_SUBSCRIPTIONS_PER_IDENTITY
}

// Load reads the configuration. lookup is os.LookupEnv, or stands for it. With
// dev, the defaults are those of a trial on one machine; without it, the file
// dotEnv is read first, where there is one, and lookup wins over it. An empty
// value counts as not set.
//
// The error names every variable that is malformed or removed, and in the file every one
// that does not exist, and never shows a value that may hold a secret. Of a file that
// cannot be read, it says nothing but that.
func Load(lookup func(string) (string, bool), dev bool, dotEnv string) (Config, error) {
	r := &reader{lookup: lookup, known: map[string]bool{}}
	if !dev {
		if err := r.readFile(dotEnv); err != nil {
			return Config{}, err
		}
	}
	var c Config
	r.redis(&c, dev)
	c.ShutdownTimeout = r.duration("SHUTDOWN_TIMEOUT_SECONDS", 10, 1, 3600, time.Second)
	r.limits(&c)
	r.access(&c, dev)
	r.logging(&c, dev)
	c.Auth = r.auth(dev)
	c.Addr = r.addr(c.Auth, dev)
	r.checkTogether(c)
	r.refuseRemoved(dotEnv)
	for _, name := range slices.Sorted(maps.Keys(r.file)) {
		if !r.known[name] {
			r.problem("%s in the file %s is no variable of this service", name, dotEnv)
		}
	}
	return c, errors.Join(r.problems...)
}

// redis reads how Redis is reached, and what holds for the locks in it.
func (r *reader) redis(c *Config, dev bool) {
	c.RedisURL = r.redisURL(dev)
	c.RedisTLS = r.redisTLS()
	c.SentinelUsername = r.get("REDIS_SENTINEL_USERNAME", "")
	c.SentinelPassword = r.get("REDIS_SENTINEL_PASSWORD", "")
	c.ReplicasAck = r.number("LOCK_REPLICAS_ACK", 0, 0, 10)
	c.LockTTL = r.duration("REDIS_LOCK_TTL_SECONDS", 3600, 1, maxTTLSeconds, time.Second)
	c.LockMaxTTL = r.duration("REDIS_LOCK_MAX_TTL_SECONDS", 43200, 1, maxTTLSeconds, time.Second)
	c.RedisMaxConnections = r.number("REDIS_MAX_CONNECTIONS", 50, 1, 10000)
	c.OperationTimeout = r.duration("REDIS_OPERATION_TIMEOUT_MS", 2000, 10, 60000, time.Millisecond)
	c.RetryAttempts = r.number("REDIS_RETRY_ATTEMPTS", 3, 1, 10)
	c.SpoolMemory = r.duration("SPOOL_MEMORY_DAYS", 30, 1, 3650, 24*time.Hour)
	c.FloorRebuild = r.duration("FLOOR_REBUILD_SECONDS", 30, 1, 86400, time.Second)
	c.UpperCaseTags = r.choice("SPOOL_TAG_CASE", "preserve", "upper") == "upper"
}

// limits reads what one request may ask for, and how much callers may do.
func (r *reader) limits(c *Config) {
	c.LimitsOff = r.choice("LIMITS", "on", "off") == "off"
	r.limitsOff = c.LimitsOff
	c.MaxBodyBytes = r.number("MAX_BODY_BYTES", 65536, 1024, 1<<30)
	c.MaxTokens = r.number("MAX_TOKENS", 1000, 10, 1<<20)
	c.MaxDepth = r.number("MAX_DEPTH", 12, 1, 1<<20)
	c.MaxAliases = r.limit("MAX_ALIASES", 15, 0)
	c.MaxRootFields = r.limit("MAX_ROOT_FIELDS", 5, 1)
	c.MaxDirectives = r.limit("MAX_DIRECTIVES", 50, 0)
	c.MaxFields = r.limit("MAX_FIELDS", 10000, 1)
	c.MaxUnits = r.limit("MAX_UNITS", 100, 1)
	c.RequestTimeout = r.duration("REQUEST_TIMEOUT_SECONDS", 10, 1, 3600, time.Second)
	c.MaxConnectionsPerAddress = r.limit("MAX_CONNECTIONS_PER_ADDRESS", 400, 1)
	c.Streams = Streams{
		Max:            r.limit("MAX_SUBSCRIPTIONS", 5000, 1),
		MaxPerAddress:  r.limit("MAX_SUBSCRIPTIONS_PER_ADDRESS", 200, 1),
		MaxPerIdentity: r.limit("MAX_SUBSCRIPTIONS_PER_IDENTITY", 50, 1),
	}
	c.LocksPerWorker = r.limit("MAX_LOCKS_PER_WORKER", 200, 1)
	c.MutationRates, c.QueryRates = r.rates()
}

// access reads where requests may come from, and what they may run.
func (r *reader) access(c *Config, dev bool) {
	c.TrustedProxies = r.proxies()
	c.TrustedDocuments = r.get("TRUSTED_DOCUMENTS", "")
	c.TrustedOnly = r.boolean("TRUSTED_DOCUMENTS_ONLY", false)
	c.AllowedOrigins = r.origins()
	c.AllowedHosts = r.hosts()
	c.Introspection = r.boolean("INTROSPECTION", dev)
	c.Playground = r.boolean("PLAYGROUND", dev)
}

func (r *reader) logging(c *Config, dev bool) {
	c.LogLevel = r.logLevel()
	format, other := "json", "text"
	if dev {
		format, other = other, format
	}
	c.LogText = r.choice("LOG_FORMAT", format, other) == "text"
}

// addr reads where to listen. Anonymous callers can act as any worker, so without
// authentication the default is this machine alone, and any other HOST has to be
// confirmed.
func (r *reader) addr(a Auth, dev bool) string {
	anonymous := a.Mode() == "none"
	host := ""
	if anonymous || dev {
		host = "127.0.0.1"
	}
	host = r.get("HOST", host)
	anywhere := r.get("AUTH_NONE_ANYWHERE", "")
	switch {
	case strings.ContainsAny(host, "/[] "):
		r.problem("HOST must be a name or an address, and nothing else")
	case anywhere != "" && anywhere != anywhereYes:
		r.problem("AUTH_NONE_ANYWHERE must be %s, or not set", anywhereYes)
	case anywhere != "" && (!anonymous || isLoopback(host)):
		r.problem("AUTH_NONE_ANYWHERE has no effect but with AUTH_MODE=none, and a HOST that is not of this machine alone")
	case anonymous && !isLoopback(host) && anywhere == "":
		r.problem("HOST is not of this machine alone, and with AUTH_MODE=none anyone who can connect can act as any worker; if that is to be, set AUTH_NONE_ANYWHERE=%s", anywhereYes)
	}
	return net.JoinHostPort(host, strconv.Itoa(r.number("PORT", 8080, 0, 65535)))
}

// checkTogether finds variables that do not go together.
func (r *reader) checkTogether(c Config) {
	if c.LockTTL > c.LockMaxTTL {
		r.problem("REDIS_LOCK_TTL_SECONDS must not be above REDIS_LOCK_MAX_TTL_SECONDS")
	}
	if c.RedisTLS != nil && !c.RedisURL.TLS {
		r.problem("REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE go with a REDIS_URL that begins with rediss")
	}
	if (c.SentinelUsername != "" || c.SentinelPassword != "") && c.RedisURL.Form != redisurl.Sentinel {
		r.problem("REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD go with a REDIS_URL of redis+sentinel://")
	}
	if c.ReplicasAck > 0 && c.RedisURL.Form == redisurl.Embedded {
		r.problem("LOCK_REPLICAS_ACK must be 0 with REDIS_URL=embedded://, which has no replicas")
	}
	r.checkUnits(c)
	if c.TrustedOnly && c.TrustedDocuments == "" {
		r.problem("TRUSTED_DOCUMENTS must be set with TRUSTED_DOCUMENTS_ONLY, or nothing can be run")
	}
}

// checkUnits checks that a query of as many units as are allowed can be let through at some time:
// a caller can ask at once for twice of what it can in a second.
func (r *reader) checkUnits(c Config) {
	rates := map[string]int{"RATE_LIMIT_QUERIES_PER_ADDRESS": c.QueryRates.PerAddress}
	if c.Auth.Mode() != "none" { // else callers have no identity
		rates["RATE_LIMIT_QUERIES_PER_IDENTITY"] = c.QueryRates.PerIdentity
	}
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		if most := 2 * rates[name]; c.QueryRates.Limited && most > 0 && c.MaxUnits > most {
			r.problem("MAX_UNITS is %d and must be at most %d, which is twice %s", c.MaxUnits, most, name)
		}
	}
}

// removed are the variables that the service had, and what holds in the place of each.
var removed = map[string]string{
	"MAX_COMPLEXITY":            "MAX_FIELDS bounds the fields of an operation, and MAX_UNITS what it asks of Redis.",
	"MAX_ANSWER_BYTES":          "The answer of a query has at most 1048576 bytes; for load tests, LIMITS=off lifts that.",
	"MAX_OPERATIONS_PER_SOCKET": "A WebSocket has at most 50 operations under way; for load tests, LIMITS=off lifts that.",
	"MAX_MESSAGES_PER_SECOND":   "A WebSocket may send at most 100 messages a second; for load tests, LIMITS=off lifts that.",
}

// refuseRemoved finds removed variables. In the environment, where other programs have
// variables too, no other unknown name is a problem.
func (r *reader) refuseRemoved(dotEnv string) {
	for _, name := range slices.Sorted(maps.Keys(removed)) {
		r.known[name] = true
		if value, _ := r.lookup(name); value != "" {
			r.problem("%s is removed: delete it from the environment. %s", name, removed[name])
		}
		if _, set := r.file[name]; set {
			r.problem("%s is removed: delete it from the file %s. %s", name, dotEnv, removed[name])
		}
	}
}

// maxTTLSeconds bounds every time to live: a year.
const maxTTLSeconds = 365 * 24 * 3600

type reader struct {
	lookup    func(string) (string, bool)
	file      map[string]string
	known     map[string]bool // the names that were looked up
	limitsOff bool            // LIMITS
	problems  []error
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

func (r *reader) readFile(name string) error {
	text, err := os.ReadFile(name) //nolint:gosec // it is the operator's own
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the file of variables: %w", err)
	}
	if bytes.HasPrefix(text, []byte("\ufeff")) {
		return fmt.Errorf("the file %s begins with a byte order mark, save it without", name)
	}
	if r.file, err = godotenv.UnmarshalBytes(text); err != nil {
		// The parser's error quotes the file, which may hold a password.
		return fmt.Errorf("the file %s cannot be read as NAME=value lines", name)
	}
	return nil
}

func (r *reader) get(name, fallback string) string {
	r.known[name] = true
	if value, _ := r.lookup(name); value != "" {
		return value
	}
	if value := r.file[name]; value != "" {
		return value
	}
	return fallback
}

func (r *reader) number(name string, fallback, minimum, maximum int) int {
	n, err := strconv.Atoi(r.get(name, strconv.Itoa(fallback)))
	if err != nil || n < minimum || n > maximum {
		r.problem("%s must be a whole number from %d to %d", name, minimum, maximum)
	}
	return n
}

// limit is a limit on how much callers may do. LIMITS=off lifts it to the maximum of its
// variable, which still bounds the work that one document can ask for.
func (r *reader) limit(name string, fallback, minimum int) int {
	const maximum = 1 << 20
	n := r.number(name, fallback, minimum, maximum)
	if !r.limitsOff {
		return n
	}
	if n != fallback {
		r.problem("%s has no effect with LIMITS=off", name)
	}
	return maximum
}

func (r *reader) duration(name string, fallback, minimum, maximum int, unit time.Duration) time.Duration {
	return time.Duration(r.number(name, fallback, minimum, maximum)) * unit
}

func (r *reader) boolean(name string, fallback bool) bool {
	switch r.get(name, strconv.FormatBool(fallback)) {
	case "true":
		return true
	case "false":
	default:
		r.problem("%s must be true or false", name)
	}
	return false
}

func (r *reader) choice(name, fallback, other string) string {
	value := r.get(name, fallback)
	if value != fallback && value != other {
		r.problem("%s must be %s or %s", name, fallback, other)
	}
	return value
}

func (r *reader) logLevel() (level slog.Level) {
	text := r.get("LOG_LEVEL", "info")
	if err := level.UnmarshalText([]byte(text)); err != nil || strings.ContainsAny(text, "+-") {
		r.problem("LOG_LEVEL must be debug, info, warn or error")
	}
	return level
}

// list splits at commas, without what is empty.
func (r *reader) list(name string) (values []string) {
	for value := range strings.SplitSeq(r.get(name, ""), ",") {
		if value = strings.ToLower(strings.TrimSpace(value)); value != "" {
			values = append(values, value)
		}
	}
	return values
}

func (r *reader) origins() []string {
	origins := r.list("ALLOWED_ORIGINS")
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Scheme+"://"+u.Host != origin ||
			!isHostName(u.Hostname()) || !isNumber(u.Port()) || strings.HasSuffix(u.Host, ":") ||
			u.Port() == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
			r.problem("ALLOWED_ORIGINS must be origins as browsers send them, like https://board.example, with commas between them")
		}
	}
	return origins
}

func (r *reader) rates() (MutationRates, QueryRates) {
	usualMutations := MutationRates{PerIdentity: 20, PerAddress: 200}
	usualQueries := QueryRates{PerIdentity: 50, PerAddress: 400}
	limited := r.choice("RATE_LIMIT", "on", "off") == "on"
	mutations := MutationRates{
		PerIdentity: r.limit("RATE_LIMIT_PER_IDENTITY", usualMutations.PerIdentity, 1),
		PerAddress:  r.limit("RATE_LIMIT_PER_ADDRESS", usualMutations.PerAddress, 1),
		Shared:      r.boolean("RATE_LIMIT_SHARED", false),
	}
	queries := QueryRates{
		PerIdentity: r.limit("RATE_LIMIT_QUERIES_PER_IDENTITY", usualQueries.PerIdentity, 1),
		PerAddress:  r.limit("RATE_LIMIT_QUERIES_PER_ADDRESS", usualQueries.PerAddress, 1),
	}
	switch {
	case r.limitsOff:
		limited = false
		if mutations.Shared {
			r.problem("RATE_LIMIT_SHARED has no effect with LIMITS=off")
		}
	case !limited && (mutations != usualMutations || queries != usualQueries):
		r.problem("RATE_LIMIT_PER_IDENTITY, RATE_LIMIT_PER_ADDRESS, RATE_LIMIT_SHARED, " +
			"RATE_LIMIT_QUERIES_PER_IDENTITY and RATE_LIMIT_QUERIES_PER_ADDRESS have no effect with RATE_LIMIT=off")
	}
	mutations.Limited, queries.Limited = limited, limited
	return mutations, queries
}

func (r *reader) proxies() (prefixes []netip.Prefix) {
	for _, value := range r.list("TRUSTED_PROXIES") {
		if !strings.Contains(value, "/") {
			value += map[bool]string{true: "/128", false: "/32"}[strings.Contains(value, ":")]
		}
		prefix, err := netip.ParsePrefix(value)
		if err != nil || prefix.Addr().Is4In6() {
			r.problem("TRUSTED_PROXIES must be addresses, or ranges of them like 10.1.0.0/16, with commas between them")
			break
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

func (r *reader) hosts() []string {
	hosts := r.list("ALLOWED_HOSTS")
	for _, host := range hosts {
		if !isHostName(host) {
			r.problem("ALLOWED_HOSTS must be host names without ports, with commas between them")
		}
	}
	return hosts
}

// isHostName accepts what a browser would send: ASCII, with no dot at the end.
func isHostName(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return s != "" && !strings.HasSuffix(s, ".")
}

// redisURL checks what can be checked without connecting.
func (r *reader) redisURL(dev bool) redisurl.URL {
	fallback := "redis://localhost:6379"
	if dev {
		fallback = redisurl.EmbeddedText
	}
	url, err := redisurl.Parse(r.get("REDIS_URL", fallback))
	if err != nil {
		r.problem("REDIS_URL %w", err)
	}
	return url
}

// redisTLS reads the files that say whom to trust, and who the service is.
func (r *reader) redisTLS() *tls.Config {
	ca, cert, key := r.get("REDIS_TLS_CA_FILE", ""), r.get("REDIS_TLS_CERT_FILE", ""), r.get("REDIS_TLS_KEY_FILE", "")
	if ca+cert+key == "" {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca) //nolint:gosec // the file that the operator names
		c.RootCAs = x509.NewCertPool()
		if err != nil || !c.RootCAs.AppendCertsFromPEM(pem) {
			r.problem("REDIS_TLS_CA_FILE must be a file of certificates in PEM")
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			r.problem("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE must be a certificate and its key in PEM")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// isNumber accepts 0 to 65535, and nothing at all.
func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil
}

// anywhereYes is what an operator has to write who wants it so.
const anywhereYes = "yes-i-know"

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// AllowedJWKS reports whether keys may come from the URL: over https, or from this machine.
func AllowedJWKS(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
}

func (r *reader) auth(dev bool) (a Auth) {
	fallback := ""
	if dev {
		fallback = "none"
	}
	switch mode := r.get("AUTH_MODE", fallback); mode {
	case "none":
	case "jwt":
		a.JWT = true
	case "keys":
		a.Keys = true
	case "jwt,keys", "keys,jwt":
		a.JWT, a.Keys = true, true
	case "":
		r.problem("AUTH_MODE must be set: copy .env.example to .env, or try -dev; none lets every caller act as any worker")
	default:
		r.problem("AUTH_MODE must be jwt, keys, jwt,keys or none")
	}
	a.JWKS, a.Issuer, a.Audience = r.with(a.JWT, "AUTH_JWKS"), r.with(a.JWT, "AUTH_ISSUER"), r.with(a.JWT, "AUTH_AUDIENCE")
	a.KeysFile = r.with(a.Keys, "AUTH_KEYS_FILE")
	a.ClaimWorkerID = r.claim(a.JWT, "AUTH_CLAIM_WORKER_ID", "sub")
	a.ClaimName = r.claim(a.JWT, "AUTH_CLAIM_NAME", "name")
	a.ClaimRoles = r.claim(a.JWT, "AUTH_CLAIM_ROLES", "roles")
	if strings.Contains(a.JWKS, "://") {
		u, err := url.Parse(a.JWKS)
		if err != nil || !AllowedJWKS(u) {
			r.problem("AUTH_JWKS must be a URL that begins with https, or a file")
		}
	}
	return a
}

func (r *reader) claim(mode bool, name, fallback string) string {
	value := r.get(name, fallback)
	if !mode && value != fallback {
		r.problem("%s has no effect with this AUTH_MODE", name)
	}
	return value
}

// with is the value of a variable that goes with a mode of AUTH_MODE, and must be set
// with it.
func (r *reader) with(mode bool, name string) string {
	value := r.get(name, "")
	switch {
	case mode && value == "":
		r.problem("%s must be set for this AUTH_MODE", name)
	case !mode && value != "":
		r.problem("%s has no effect with this AUTH_MODE", name)
	}
	return value
}
