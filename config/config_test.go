package config_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/joho/godotenv"

	"spoollock/config"
	"spoollock/redisurl"
)

const noFile = "testdata/none"

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

func defaults() config.Config {
	return config.Config{
		RedisURL:                 redisurl.URL{Hosts: []string{"localhost:6379"}},
		LockTTL:                  time.Hour,
		LockMaxTTL:               12 * time.Hour,
		RedisMaxConnections:      50,
		OperationTimeout:         2 * time.Second,
		RetryAttempts:            3,
		SpoolMemory:              30 * 24 * time.Hour,
		FloorRebuild:             30 * time.Second,
		ShutdownTimeout:          10 * time.Second,
		Addr:                     "127.0.0.1:8080",
		Auth:                     config.Auth{ClaimWorkerID: "sub", ClaimName: "name", ClaimRoles: "roles"},
		MaxBodyBytes:             65536,
		MaxTokens:                1000,
		MaxDepth:                 12,
		MaxAliases:               15,
		MaxRootFields:            5,
		MaxDirectives:            50,
		MaxFields:                10000,
		MaxUnits:                 100,
		RequestTimeout:           10 * time.Second,
		MaxConnectionsPerAddress: 400,
		Streams: config.Streams{
			Max: 5000, MaxPerAddress: 200, MaxPerIdentity: 50,
		},
		MutationRates:  config.MutationRates{Limited: true, PerIdentity: 20, PerAddress: 200},
		QueryRates:     config.QueryRates{Limited: true, PerIdentity: 50, PerAddress: 400},
		LocksPerWorker: 200,
		LogLevel:       slog.LevelInfo,
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load(lookup(map[string]string{"AUTH_MODE": "none"}), false, noFile)
	if err != nil {
		t.Fatal(err)
	}
	if want := defaults(); !reflect.DeepEqual(got, want) {
		t.Fatalf("configuration is\n%+v, want\n%+v", got, want)
	}
}

func TestDevDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load(lookup(nil), true, "testdata/dotenv")
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.RedisURL = redisurl.URL{Form: redisurl.Embedded}
	want.Introspection, want.Playground, want.LogText = true, true, true
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("configuration is\n%+v, want\n%+v", got, want)
	}
}

func TestEnvironmentWinsOverDevDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load(lookup(map[string]string{
		"REDIS_URL": "redis://redis.example:7000/2", "LOG_FORMAT": "json", "PLAYGROUND": "false",
	}), true, noFile)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.RedisURL, redisurl.URL{Hosts: []string{"redis.example:7000"}, DB: 2}) || got.LogText || got.Playground || !got.Introspection {
		t.Fatalf("configuration is %+v", got)
	}
}

func TestEveryVariableHasAnEffect(t *testing.T) {
	t.Parallel()
	got, err := config.Load(lookup(map[string]string{
		"REDIS_URL": "rediss://user:secret@redis.example:7000/2", "REDIS_LOCK_TTL_SECONDS": "60",
		"REDIS_LOCK_MAX_TTL_SECONDS": "120", "REDIS_MAX_CONNECTIONS": "7", "REDIS_OPERATION_TIMEOUT_MS": "500",
		"REDIS_RETRY_ATTEMPTS": "1", "SPOOL_MEMORY_DAYS": "2", "FLOOR_REBUILD_SECONDS": "7", "SPOOL_TAG_CASE": "upper",
		"SHUTDOWN_TIMEOUT_SECONDS": "3", "HOST": "::1", "PORT": "0",
		"AUTH_MODE": "jwt,keys", "AUTH_JWKS": "https://id.example/keys", "AUTH_ISSUER": "https://id.example", "AUTH_AUDIENCE": "spools",
		"AUTH_CLAIM_WORKER_ID": "employee", "AUTH_CLAIM_NAME": "given", "AUTH_CLAIM_ROLES": "realm_access.roles", "AUTH_KEYS_FILE": "keys.json",
		"INTROSPECTION": "true", "PLAYGROUND": "true", "LOG_FORMAT": "text", "LOG_LEVEL": "warn",
		"MAX_BODY_BYTES": "2048", "MAX_TOKENS": "11", "MAX_DEPTH": "3", "MAX_ALIASES": "4", "MAX_ROOT_FIELDS": "6",
		"MAX_CONNECTIONS_PER_ADDRESS": "5",
		"MAX_SUBSCRIPTIONS":           "12", "MAX_SUBSCRIPTIONS_PER_ADDRESS": "13",
		"MAX_SUBSCRIPTIONS_PER_IDENTITY": "16",
		"RATE_LIMIT":                     "on", "RATE_LIMIT_PER_IDENTITY": "17", "RATE_LIMIT_PER_ADDRESS": "18", "RATE_LIMIT_SHARED": "true",
		"RATE_LIMIT_QUERIES_PER_IDENTITY": "10", "RATE_LIMIT_QUERIES_PER_ADDRESS": "11",
		"MAX_LOCKS_PER_WORKER": "19",
		"ALLOWED_ORIGINS":      "https://Board.example, http://10.0.0.5:3000", "ALLOWED_HOSTS": "spools.example,",
		"MAX_DIRECTIVES": "7", "MAX_FIELDS": "8", "MAX_UNITS": "20", "REQUEST_TIMEOUT_SECONDS": "9",
		"TRUSTED_PROXIES":   "10.0.0.1, 10.1.0.0/16, fd00::1",
		"TRUSTED_DOCUMENTS": "documents", "TRUSTED_DOCUMENTS_ONLY": "true",
	}), false, noFile)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		RedisURL: redisurl.URL{
			TLS: true, Hosts: []string{"redis.example:7000"}, Username: "user", Password: "secret", DB: 2,
		},
		LockTTL:             time.Minute,
		LockMaxTTL:          2 * time.Minute,
		RedisMaxConnections: 7,
		OperationTimeout:    500 * time.Millisecond,
		RetryAttempts:       1,
		SpoolMemory:         48 * time.Hour,
		FloorRebuild:        7 * time.Second,
		UpperCaseTags:       true,
		ShutdownTimeout:     3 * time.Second,
		Addr:                "[::1]:0",
		Auth: config.Auth{
			JWT: true, Keys: true, JWKS: "https://id.example/keys", Issuer: "https://id.example", Audience: "spools",
			ClaimWorkerID: "employee", ClaimName: "given", ClaimRoles: "realm_access.roles", KeysFile: "keys.json",
		},
		MaxBodyBytes:             2048,
		MaxTokens:                11,
		MaxDepth:                 3,
		MaxAliases:               4,
		MaxRootFields:            6,
		MaxDirectives:            7,
		MaxFields:                8,
		MaxUnits:                 20,
		RequestTimeout:           9 * time.Second,
		MaxConnectionsPerAddress: 5,
		Streams: config.Streams{
			Max: 12, MaxPerAddress: 13, MaxPerIdentity: 16,
		},
		MutationRates:  config.MutationRates{Limited: true, PerIdentity: 17, PerAddress: 18, Shared: true},
		QueryRates:     config.QueryRates{Limited: true, PerIdentity: 10, PerAddress: 11},
		LocksPerWorker: 19,
		TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::1/128"),
		},
		TrustedDocuments: "documents",
		TrustedOnly:      true,
		AllowedOrigins:   []string{"https://board.example", "http://10.0.0.5:3000"},
		AllowedHosts:     []string{"spools.example"},
		Introspection:    true,
		Playground:       true,
		LogText:          true,
		LogLevel:         slog.LevelWarn,
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("configuration is\n%+v, want\n%+v", got, want)
	}
}

func TestFileIsReadAndEnvironmentWins(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(file, []byte("AUTH_MODE=none\nPORT=9000\nREDIS_RETRY_ATTEMPTS=5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(lookup(map[string]string{"PORT": "9001", "REDIS_RETRY_ATTEMPTS": ""}), false, file)
	if err != nil {
		t.Fatal(err)
	}
	if got.Addr != "127.0.0.1:9001" || got.RetryAttempts != 5 {
		t.Fatalf("configuration is %+v", got)
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		env  map[string]string
		want string
	}{
		"no auth mode":          {map[string]string{"AUTH_MODE": ""}, "AUTH_MODE must be set"},
		"unknown auth mode":     {map[string]string{"AUTH_MODE": "magic"}, "AUTH_MODE must be jwt, keys"},
		"no number":             {map[string]string{"REDIS_MAX_CONNECTIONS": "many"}, "REDIS_MAX_CONNECTIONS must be a whole number"},
		"number too small":      {map[string]string{"REDIS_RETRY_ATTEMPTS": "0"}, "REDIS_RETRY_ATTEMPTS must be"},
		"number too large":      {map[string]string{"PORT": "65536"}, "PORT must be"},
		"no boolean":            {map[string]string{"PLAYGROUND": "yes"}, "PLAYGROUND must be true or false"},
		"no tag case":           {map[string]string{"SPOOL_TAG_CASE": "lower"}, "SPOOL_TAG_CASE must be"},
		"no log format":         {map[string]string{"LOG_FORMAT": "xml"}, "LOG_FORMAT must be"},
		"none for everybody":    {map[string]string{"HOST": "0.0.0.0"}, "AUTH_NONE_ANYWHERE=yes-i-know"},
		"none on a name":        {map[string]string{"HOST": "spools.example"}, "AUTH_NONE_ANYWHERE=yes-i-know"},
		"half a wish":           {map[string]string{"HOST": "0.0.0.0", "AUTH_NONE_ANYWHERE": "yes"}, "AUTH_NONE_ANYWHERE must be"},
		"tokens of nobody":      {map[string]string{"AUTH_MODE": "jwt", "AUTH_ISSUER": "x", "AUTH_AUDIENCE": "y"}, "AUTH_JWKS must be set"},
		"tokens for nobody":     {map[string]string{"AUTH_MODE": "jwt", "AUTH_JWKS": "keys.json", "AUTH_ISSUER": "x"}, "AUTH_AUDIENCE must be set"},
		"keys in the clear":     {map[string]string{"AUTH_MODE": "jwt", "AUTH_JWKS": "http://id.example/keys", "AUTH_ISSUER": "x", "AUTH_AUDIENCE": "y"}, "AUTH_JWKS must be a URL that begins with https"},
		"keys of no file":       {map[string]string{"AUTH_MODE": "keys"}, "AUTH_KEYS_FILE must be set"},
		"a claim of no token":   {map[string]string{"AUTH_CLAIM_NAME": "given"}, "AUTH_CLAIM_NAME has no effect"},
		"a wish for nothing":    {map[string]string{"AUTH_NONE_ANYWHERE": "yes-i-know"}, "AUTH_NONE_ANYWHERE has no effect"},
		"keys without the mode": {map[string]string{"AUTH_KEYS_FILE": "keys.json"}, "AUTH_KEYS_FILE has no effect"},
		"a URL for a host":      {map[string]string{"HOST": "http://localhost"}, "HOST must be"},
		"a level in between":    {map[string]string{"LOG_LEVEL": "info+2"}, "LOG_LEVEL must be"},
		"no log level":          {map[string]string{"LOG_LEVEL": "loud"}, "LOG_LEVEL must be"},
		"default above max":     {map[string]string{"REDIS_LOCK_TTL_SECONDS": "50000"}, "REDIS_LOCK_TTL_SECONDS must not be above"},
		"a path in an origin":   {map[string]string{"ALLOWED_ORIGINS": "https://a/b"}, "ALLOWED_ORIGINS must be"},
		"every origin":          {map[string]string{"ALLOWED_ORIGINS": "*"}, "ALLOWED_ORIGINS must be"},
		"a pattern of origins":  {map[string]string{"ALLOWED_ORIGINS": "https://*.example"}, "ALLOWED_ORIGINS must be"},
		"a default port":        {map[string]string{"ALLOWED_ORIGINS": "https://a:443"}, "ALLOWED_ORIGINS must be"},
		"no port after a colon": {map[string]string{"ALLOWED_ORIGINS": "https://a:"}, "ALLOWED_ORIGINS must be"},
		"a dot after a host":    {map[string]string{"ALLOWED_HOSTS": "a.example."}, "ALLOWED_HOSTS must be"},
		"a host not in ASCII":   {map[string]string{"ALLOWED_HOSTS": "bücher.example"}, "ALLOWED_HOSTS must be"},
		"a name for a proxy":    {map[string]string{"TRUSTED_PROXIES": "10.0.0.1,proxy"}, "TRUSTED_PROXIES must be"},
		"a wide range":          {map[string]string{"TRUSTED_PROXIES": "10.0.0.1/33"}, "TRUSTED_PROXIES must be"},
		"nothing to trust":      {map[string]string{"TRUSTED_DOCUMENTS_ONLY": "true"}, "TRUSTED_DOCUMENTS must be set"},
		"a port in a host":      {map[string]string{"ALLOWED_HOSTS": "a:80"}, "ALLOWED_HOSTS must be"},
		"a limit of no rate":    {map[string]string{"RATE_LIMIT": "off", "RATE_LIMIT_PER_ADDRESS": "7"}, "have no effect with RATE_LIMIT=off"},
		"rates of none shared":  {map[string]string{"RATE_LIMIT": "off", "RATE_LIMIT_SHARED": "true"}, "have no effect with RATE_LIMIT=off"},
		"a rate of no queries":  {map[string]string{"RATE_LIMIT": "off", "RATE_LIMIT_QUERIES_PER_ADDRESS": "700"}, "have no effect with RATE_LIMIT=off"},
		"no queries at all":     {map[string]string{"RATE_LIMIT_QUERIES_PER_IDENTITY": "0", "MAX_UNITS": "1"}, "RATE_LIMIT_QUERIES_PER_IDENTITY must be"},
		"more than a caller":    {map[string]string{"MAX_UNITS": "101", "AUTH_MODE": "keys", "AUTH_KEYS_FILE": "keys.json"}, "MAX_UNITS is 101 and must be at most 100, which is twice RATE_LIMIT_QUERIES_PER_IDENTITY"},
		"more than an address":  {map[string]string{"RATE_LIMIT_QUERIES_PER_ADDRESS": "49"}, "MAX_UNITS is 100 and must be at most 98, which is twice RATE_LIMIT_QUERIES_PER_ADDRESS"},
		"limits in between":     {map[string]string{"LIMITS": "false"}, "LIMITS must be on or off"},
		"neither on nor off":    {map[string]string{"RATE_LIMIT": "false"}, "RATE_LIMIT must be on or off"},
		"no locks at all":       {map[string]string{"MAX_LOCKS_PER_WORKER": "0"}, "MAX_LOCKS_PER_WORKER must be"},
		"unknown scheme":        {map[string]string{"REDIS_URL": "http://:hunter2@a"}, "REDIS_URL must begin with"},
		"a colon for an at":     {map[string]string{"REDIS_URL": "redis://hunter2:10.0.0.1:6379"}, "REDIS_URL is not a URL"},
		"no brackets":           {map[string]string{"REDIS_URL": "redis://:hunter2@::1:6379"}, "REDIS_URL is not a URL"},
		"no URL":                {map[string]string{"REDIS_URL": "redis://:hunter2@a:b:c"}, "REDIS_URL is not a URL"},
		"unknown form":          {map[string]string{"REDIS_URL": "redis+ring://:hunter2@a"}, "REDIS_URL must begin with"},
		"no form":               {map[string]string{"REDIS_URL": "redis+://:hunter2@a"}, "REDIS_URL must begin with"},
		"two hosts":             {map[string]string{"REDIS_URL": "redis://:hunter2@a,b"}, "REDIS_URL must name one host"},
		"no host in a list":     {map[string]string{"REDIS_URL": "redis+cluster://:hunter2@a,,b"}, "REDIS_URL must name one host, or several"},
		"no port in a list":     {map[string]string{"REDIS_URL": "redis+cluster://:hunter2@a:1,b:65536"}, "REDIS_URL must have a port"},
		"no URL in a list":      {map[string]string{"REDIS_URL": "redis+cluster://:hunter2@a,b:b:c"}, "REDIS_URL is not a URL"},
		"a slash in a secret":   {map[string]string{"REDIS_URL": "redis://user:12/hunter2@a"}, "REDIS_URL is not a URL: in a user or password write / ? # @ : % as %2F %3F %23 %40 %3A %25"},
		"a query in a secret":   {map[string]string{"REDIS_URL": "redis+sentinel://user:12?hunter2@a,b/spools"}, "REDIS_URL is not a URL: in a user or password"},
		"a hash in a secret":    {map[string]string{"REDIS_URL": "redis+cluster://user:12#hunter2@a,b"}, "REDIS_URL is not a URL: in a user or password"},
		"a percent in a secret": {map[string]string{"REDIS_URL": "redis://user:hunter2%@a"}, "REDIS_URL is not a URL: in a user or password"},
		"no master":             {map[string]string{"REDIS_URL": "redis+sentinel://:hunter2@a,b"}, "REDIS_URL must end in the name of the master"},
		"no database of it":     {map[string]string{"REDIS_URL": "redis+sentinel://:hunter2@a,b/spools/x"}, "REDIS_URL must end in the name of the master"},
		"database of a Cluster": {map[string]string{"REDIS_URL": "redis+cluster://:hunter2@a,b/1"}, "REDIS_URL must end in nothing"},
		"options in a list":     {map[string]string{"REDIS_URL": "rediss+cluster://:hunter2@a,b?skip_verify=true"}, "REDIS_URL must have no parameters"},
		"no CA":                 {map[string]string{"REDIS_URL": "rediss://a", "REDIS_TLS_CA_FILE": "testdata/none.pem"}, "REDIS_TLS_CA_FILE must be"},
		"a CA that is none":     {map[string]string{"REDIS_URL": "rediss://a", "REDIS_TLS_CA_FILE": "testdata/dotenv"}, "REDIS_TLS_CA_FILE must be"},
		"no key":                {map[string]string{"REDIS_URL": "rediss://a", "REDIS_TLS_CERT_FILE": "testdata/dotenv"}, "REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE must be"},
		"Sentinels of none":     {map[string]string{"REDIS_SENTINEL_PASSWORD": "hunter2"}, "go with a REDIS_URL of redis+sentinel"},
		"replicas of none":      {map[string]string{"REDIS_URL": "embedded://", "LOCK_REPLICAS_ACK": "1"}, "LOCK_REPLICAS_ACK must be 0"},
		"no such port":          {map[string]string{"REDIS_URL": "redis://:hunter2@a:65536"}, "REDIS_URL must have a port"},
		"no host":               {map[string]string{"REDIS_URL": "redis://:6379"}, "REDIS_URL must name one host"},
		"verification off":      {map[string]string{"REDIS_URL": "rediss://:hunter2@a?skip_verify=true"}, "REDIS_URL must have no parameters"},
		"no database number":    {map[string]string{"REDIS_URL": "redis://:hunter2@a/main"}, "REDIS_URL must end in"},
		"two numbers in it":     {map[string]string{"REDIS_URL": "redis://:hunter2@a/1/2"}, "REDIS_URL must end in"},
		"timeout far too long":  {map[string]string{"REDIS_OPERATION_TIMEOUT_MS": "3600000"}, "REDIS_OPERATION_TIMEOUT_MS must be"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, ok := test.env["AUTH_MODE"]; !ok {
				test.env["AUTH_MODE"] = "none"
			}
			_, err := config.Load(lookup(test.env), false, noFile)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is %v, want %q in it", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error names more than the one problem: %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error shows the password: %v", err)
			}
		})
	}
}

// LIMITS=off lifts what bounds how much callers may do, each limit to the most that its
// variable can be, and leaves the bounds on bodies, tokens, depth and time.
func TestLimitsOff(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	want := defaults()
	want.LimitsOff = true
	want.MaxAliases, want.MaxRootFields, want.MaxDirectives, want.MaxFields, want.MaxUnits = most, most, most, most, most
	want.MaxConnectionsPerAddress, want.LocksPerWorker = most, most
	want.Streams.Max, want.Streams.MaxPerAddress, want.Streams.MaxPerIdentity = most, most, most
	want.MutationRates = config.MutationRates{PerIdentity: most, PerAddress: most}
	want.QueryRates = config.QueryRates{PerIdentity: most, PerAddress: most}
	got, err := config.Load(lookup(map[string]string{"LIMITS": "off"}), false, "../.env.example") // the defaults there are no contradiction
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("configuration is\n%+v, want\n%+v", got, want)
	}
	got, err = config.Load(lookup(map[string]string{
		"AUTH_MODE": "none", "LIMITS": "off", "RATE_LIMIT": "off", "MAX_BODY_BYTES": "2048", "MAX_TOKENS": "11", "MAX_DEPTH": "3", "REQUEST_TIMEOUT_SECONDS": "9",
	}), false, noFile)
	want.MaxBodyBytes, want.MaxTokens, want.MaxDepth, want.RequestTimeout = 2048, 11, 3, 9*time.Second
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("configuration is\n%+v, %v, want\n%+v", got, err, want)
	}
}

// A limit that LIMITS=off lifts, and that is set to something else than its default,
// stops the start: one of the two is not what the operator wants.
func TestLimitsOffWithALimit(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"MAX_ALIASES", "MAX_ROOT_FIELDS", "MAX_DIRECTIVES", "MAX_FIELDS", "MAX_UNITS", "MAX_CONNECTIONS_PER_ADDRESS",
		"MAX_SUBSCRIPTIONS", "MAX_SUBSCRIPTIONS_PER_ADDRESS", "MAX_SUBSCRIPTIONS_PER_IDENTITY", "MAX_LOCKS_PER_WORKER",
		"RATE_LIMIT_PER_IDENTITY", "RATE_LIMIT_PER_ADDRESS", "RATE_LIMIT_SHARED",
		"RATE_LIMIT_QUERIES_PER_IDENTITY", "RATE_LIMIT_QUERIES_PER_ADDRESS",
	} {
		value := "7"
		if name == "RATE_LIMIT_SHARED" {
			value = "true"
		}
		_, err := config.Load(lookup(map[string]string{"AUTH_MODE": "none", "LIMITS": "off", name: value}), false, noFile)
		if want := name + " has no effect with LIMITS=off"; err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
}

// A certificate of the test's own is trusted, and shown, and only over TLS.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	certificate, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "both.pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"AUTH_MODE": "none", "REDIS_URL": "rediss+sentinel://:hunter2@a,b:1/spools/2",
		"REDIS_TLS_CA_FILE": file, "REDIS_TLS_CERT_FILE": file, "REDIS_TLS_KEY_FILE": file,
		"REDIS_SENTINEL_USERNAME": "watcher", "REDIS_SENTINEL_PASSWORD": "hunter3", "LOCK_REPLICAS_ACK": "1",
	}
	got, err := config.Load(lookup(env), false, noFile)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(parsed)
	if c := got.RedisTLS; c == nil || !c.RootCAs.Equal(trusted) || len(c.Certificates) != 1 || c.InsecureSkipVerify || c.MinVersion < tls.VersionTLS12 {
		t.Errorf("TLS is %+v", c)
	}
	if got.SentinelUsername != "watcher" || got.SentinelPassword != "hunter3" || got.ReplicasAck != 1 {
		t.Errorf("configuration is %+v", got)
	}
	env["REDIS_URL"] = "redis+sentinel://a,b/spools"
	if _, err := config.Load(lookup(env), false, noFile); err == nil || !strings.Contains(err.Error(), "go with a REDIS_URL that begins with rediss") {
		t.Errorf("without TLS, the error is %v", err)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(lookup(map[string]string{"PORT": "x", "LOG_LEVEL": "x", "TRUSTED_PROXIES": "x"}), false, noFile)
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"PORT", "LOG_LEVEL", "TRUSTED_PROXIES", "AUTH_MODE"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("error does not name %s: %v", name, err)
		}
	}
}

// What is wrong with the file is said, and nothing else: what it would set is not
// known. A name that has no effect is wrong, too, and none of it shows a value.
func TestMalformedFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"no lines of variables":   {"hunter2 is the password\n", "cannot be read as NAME=value lines"},
		"a byte order mark":       {"\ufeffAUTH_MODE=none\n", "begins with a byte order mark"},
		"a directory":             {"", "is a directory"},
		"a name that is not read": {"PORTT=hunter2\nAUTH_MODE=none\n", "PORTT in the file"},
		"with an empty value":     {"PORTT=\nAUTH_MODE=none\n", "PORTT in the file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), ".env")
			err := os.WriteFile(file, []byte(test.text), 0o600)
			if test.text == "" {
				err = errors.Join(os.Remove(file), os.Mkdir(file, 0o700))
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Load(lookup(map[string]string{"PORTT": "hunter2"}), false, file)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), ".env") {
				t.Fatalf("error is %v, want %q in it", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error shows a value, or more than the one problem: %v", err)
			}
		})
	}
}

// A name that was removed stops the start, in the environment and in the file alike, and
// its message says what to do.
func TestRemovedVariables(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"MAX_COMPLEXITY":            "MAX_UNITS what it asks of Redis",
		"MAX_ANSWER_BYTES":          "at most 1048576 bytes",
		"MAX_OPERATIONS_PER_SOCKET": "at most 50 operations",
		"MAX_MESSAGES_PER_SECOND":   "at most 100 messages",
	} {
		for _, dev := range []bool{false, true} {
			_, err := config.Load(lookup(map[string]string{"AUTH_MODE": "none", name: "hunter2"}), dev, noFile)
			wantRemoved(t, err, name+" is removed: delete it from the environment. ", want)
		}
		file := filepath.Join(t.TempDir(), ".env")
		for _, value := range []string{"hunter2", ""} {
			if err := os.WriteFile(file, []byte("AUTH_MODE=none\n"+name+"="+value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := config.Load(lookup(nil), false, file)
			wantRemoved(t, err, name+" is removed: delete it from the file "+file+". ", want)
		}
		if _, err := config.Load(lookup(map[string]string{"AUTH_MODE": "none", name: ""}), false, noFile); err != nil {
			t.Errorf("%s is empty in the environment, which counts as not set, and the error is %v", name, err)
		}
	}
}

func wantRemoved(t *testing.T, err error, begins, want string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), begins) || !strings.Contains(err.Error(), want) ||
		strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error is %v, want %q, and %q in it", err, begins, want)
	}
}

// The example must load, give the defaults, and name every variable that is read.
func TestExampleFile(t *testing.T) {
	t.Parallel()
	const example = "../.env.example"
	got, err := config.Load(lookup(nil), false, example)
	if err != nil {
		t.Fatal(err)
	}
	if want := defaults(); !reflect.DeepEqual(got, want) {
		t.Fatalf("configuration is\n%+v, want\n%+v", got, want)
	}
	read := map[string]bool{}
	_, err = config.Load(func(name string) (string, bool) {
		read[name] = true
		return "\x00", true
	}, false, noFile)
	if err == nil {
		t.Fatal("nonsense was accepted")
	}
	file, fileErr := godotenv.Read(example)
	if fileErr != nil {
		t.Fatal(fileErr)
	}
	for name := range read {
		if removed := strings.Contains(err.Error(), name+" is removed"); removed {
			delete(read, name)
		} else if _, listed := file[name]; !listed {
			t.Errorf("%s is not listed", name)
		}
	}
	for name := range file {
		if !read[name] {
			t.Errorf("%s is listed and never read", name)
		}
	}
}
