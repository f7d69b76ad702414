package repository_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor"
	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
)

func openLogged(t *testing.T, url string) (*repository.Redis, *redistest.Log) {
	t.Helper()
	log := redistest.NewLog(t)
	store, err := repository.Open(repository.Config{
		URL: url, MaxConnections: 5, Timeout: time.Second, Memory: memory,
	}, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store, log
}

// watch lets the store watch the Redis at url, until the log has the pattern.
func watch(t *testing.T, url, until string) *redistest.Log {
	t.Helper()
	store, log := openLogged(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error)
	go func() { watched <- store.Watch(ctx) }()
	log.Find(t, until)
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
	return log
}

func TestWatchSaysWhichRedis(t *testing.T) {
	t.Parallel()
	log := watch(t, redistest.Start(t).URL, "append-only file")
	for _, want := range []string{`msg="redis found"`, "version=7.", "mode=standalone", "maxmemory_policy=noeviction", `level=WARN msg="redis keeps no append-only file`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "evict locks") {
		t.Errorf("noeviction is warned of:\n%s", log)
	}
}

func TestWatchDoesNotWarnOfARedisAsItShouldBe(t *testing.T) {
	t.Parallel()
	// The first look and the second one are a second apart, and the first is over by
	// the second.
	server := redistest.Start(t, "--appendonly", "yes")
	if log := watch(t, server.URL, "redis found"); strings.Contains(log.String(), "WARN") {
		t.Errorf("it is warned of:\n%s", log)
	}
}

func TestWatchWarnsOfEviction(t *testing.T) {
	t.Parallel()
	watch(t, redistest.Start(t, "--maxmemory-policy", "volatile-lru").URL, `level=WARN msg="redis may evict locks.*maxmemory_policy=volatile-lru`)
}

// A user who may not ask what Redis is can still lock.
func TestWatchWithoutInfo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.Do(t.Context(), "ACL", "SETUSER", "spools", "on", ">hunter2", "~*", "+@all", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	log := watch(t, "redis://spools:hunter2@"+server.Addr, "level=WARN msg=\"redis does not say what it is")
	if strings.Contains(log.String(), "redis is away") || strings.Contains(log.String(), "refuses") {
		t.Errorf("a Redis that serves is said not to:\n%s", log)
	}
}

// keepUntilLive keeps a view of a Redis with a lock until it is live.
func keepUntilLive(t *testing.T, url string) {
	t.Helper()
	store := open(t, url)
	cmd := lock.TakeCommand{Tag: newTag(), Owner: lock.Worker{ID: "93"}, TTL: time.Hour, Token: lock.NewToken("93", lock.RequestID{})}
	if result := store.Take(t.Context(), []lock.TakeCommand{cmd})[0]; result.Err != nil {
		t.Fatal(result.Err)
	}
	view := floor.NewView()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		floor.Keep(ctx, view, store, floor.Config{RebuildInterval: time.Hour, Timeout: time.Second}, redistest.NewLog(t).Logger())
	}()
	for !view.Status().Live {
		if ctx.Err() != nil {
			t.Fatal("the view is not live")
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-kept
}

// The user of docs/redis.acl can do all that the service does, and each command of
// the rule is needed.
func TestACL(t *testing.T) {
	t.Parallel()
	rule := aclRule(t)
	file, err := filepath.Abs("../docs/redis.acl")
	if err != nil {
		t.Fatal(err)
	}
	redistest.Start(t, "--aclfile", file) // which Redis would refuse to do if it were none
	server := redistest.Start(t)
	url := withUser(t, server.URL, rule, server)
	admin := server.Client()
	t.Cleanup(func() { _ = admin.Close() })
	if log := watch(t, url, "redis found"); strings.Contains(log.String(), "refuses") || strings.Contains(log.String(), "does not say") {
		t.Fatalf("the user is refused:\n%s", log)
	}
	used := map[string]bool{}
	t.Run("conformance", func(t *testing.T) { locktest.Run(t, open(t, url)) })
	t.Run("floor", func(t *testing.T) { keepUntilLive(t, url) })
	if _, err := open(t, url).Draw(t.Context(), map[string]int{"identity:93": 1}, 20, 40); err != nil {
		t.Errorf("rates: %v", err)
	}
	stats, err := admin.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for command := range stats["Commandstats"] {
		used[strings.TrimPrefix(command, "cmdstat_")] = true
	}
	// Locks without an expiry are another program's, and no part of the conformance.
	used["persist"], used["del"] = true, true
	for _, word := range rule {
		if command, granted := strings.CutPrefix(word.(string), "+"); granted && !used[command] {
			t.Errorf("%s is granted and not used", command)
		}
	}
	user := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "spools", Password: "hunter2", DisableIdentity: true})
	t.Cleanup(func() { _ = user.Close() })
	for _, command := range [][]any{{"KEYS", "*"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"GET", "other"}, {"EVAL", "return redis.call('GET', 'other')", "0"}} {
		if err := user.Do(t.Context(), command...).Err(); err == nil || errors.Is(err, redis.Nil) {
			t.Errorf("%v is answered %v", command, err)
		}
	}
}

// aclRule is what docs/redis.acl says of the user; on a Cluster, with the words that
// its comment adds for one.
func aclRule(t *testing.T, more ...any) (rule []any) {
	t.Helper()
	text, err := os.ReadFile("../docs/redis.acl")
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(text)) {
		rule = append(rule, word)
	}
	security, err := os.ReadFile("../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range more {
		if !strings.Contains(string(security), word.(string)) {
			t.Errorf("docs/SECURITY.md does not say %s", word)
		}
	}
	return append(rule[2:], more...) // without "user NAME"
}

// withUser makes the user on each server, and returns the URL with it.
func withUser(t *testing.T, url string, rule []any, servers ...*redistest.Server) string {
	t.Helper()
	for _, server := range servers {
		admin := server.Client()
		err := admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "spools", ">hunter2"}, rule...)...).Err()
		if err = errors.Join(err, admin.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Replace(url, "://", "://spools:hunter2@", 1)
}

// oldRedis answers INFO as Redis 6.2 does, and everything else with an error. No
// such server can be had beside a current one.
func oldRedis(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close() //nolint:errcheck // the test is over
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					switch strings.ToUpper(lines.Text()) {
					case "INFO":
						info := "# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n"
						_, _ = fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(info), info)
					case "PING":
						_, _ = fmt.Fprint(conn, "+PONG\r\n")
					case "HELLO":
						_, _ = fmt.Fprint(conn, "-ERR unknown command\r\n")
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		conns.Wait()
	})
	return "redis://" + listener.Addr().String()
}

func TestTooOldRedisIsRefused(t *testing.T) {
	url := oldRedis(t)
	store, _ := openLogged(t, url)
	err := store.Watch(t.Context())
	if !errors.Is(err, repository.ErrTooOld) || !strings.Contains(err.Error(), "7.0 or newer") || !strings.Contains(err.Error(), "6.2.14") {
		t.Fatalf("Redis 6.2 gives %v", err)
	}
}

// What leads to another kind of Redis than REDIS_URL says is told so.
func TestWatchRefusesASentinel(t *testing.T) {
	t.Parallel()
	sentinels := redistest.StartSentinels(t)
	store, _ := openLogged(t, "redis://"+sentinels.Sentinels[0].Addr)
	if err := store.Watch(t.Context()); !errors.Is(err, repository.ErrSentinel) {
		t.Errorf("a Sentinel gives %v", err)
	}
	watch(t, "redis://"+sentinels.Replicas()[0].Addr, "redis is a replica")
	node := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-port", redistest.FreePort)
	watch(t, node.URL, "redis is a node of a Cluster")
	// A name that no Sentinel knows is the operator's to mend, and no refusal.
	watch(t, sentinels.URL+"-unknown", "know no master of the name")
}

func TestWatchSaysOnceWhatChanges(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	store, log := openLogged(t, server.URL)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error)
	go func() { watched <- store.Watch(ctx) }()

	log.Find(t, "redis is away")
	server.Restart()
	log.Find(t, "redis is back")
	log.Find(t, "redis found")
	server.Pause()
	deadline := time.Now().Add(patience)
	for strings.Count(log.String(), "redis is away") != 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	server.Resume()
	for strings.Count(log.String(), "redis found") != 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{"redis is away", "redis is back", "redis found"} {
		if n := strings.Count(log.String(), said); n != 2 {
			t.Fatalf("%q is said %d times, want 2:\n%s", said, n, log)
		}
	}
}

// A Redis that was away for less than anybody looked is another one all the same.
func TestWatchInspectsARestartedRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, log := openLogged(t, server.URL)
	watched := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { watched <- store.Watch(ctx) }()
	found := func(n int) {
		t.Helper()
		deadline := time.Now().Add(patience)
		for strings.Count(log.String(), "redis found") != n {
			if time.Now().After(deadline) {
				t.Fatalf("redis is not found %d times:\n%s", n, log)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	found(1)
	server.Kill()
	server.Restart()
	found(2)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if got := store.Eviction(); got != "noeviction" {
		t.Errorf("the policy is %q", got)
	}
	if err := client.ConfigSet(ctx, "maxmemory-policy", "volatile-lru").Err(); err != nil {
		t.Fatal(err)
	}
	log.Find(t, "may evict locks")
	if got := store.Eviction(); got != "volatile-lru" {
		t.Errorf("the policy is %q", got)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
}

// Of a Redis that refuses and then dies, both are said.
func TestWatchTellsAwayFromRefusing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.ConfigSet(t.Context(), "requirepass", "correct").Err(); err != nil {
		t.Fatal(err)
	}
	store, log := openLogged(t, "redis://:hunter2@"+server.Addr)
	watched := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { watched <- store.Watch(ctx) }()
	log.Find(t, "redis refuses")
	server.Kill()
	log.Find(t, "redis is away")
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, _ := openLogged(t, server.URL)
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := store.Ping(t.Context()); err == nil {
		t.Fatal("a dead Redis answers")
	}
}

// The caller's deadline holds where it is shorter than the store's own: the service
// divides one among its attempts.
func TestDeadlineOfTheContext(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, server.URL) // which waits for 10 s
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := locktest.OneAtATime{Store: store}.Read(ctx, "MK-1")
	if took := time.Since(begun); !lock.IsUnavailable(err) || took > 5*time.Second {
		t.Fatalf("after %v, a Redis that hangs gives %v", took, err)
	}
}

// The client dials once, as it sends a command once: only the service tries again.
func TestOneDialForOneAttempt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	store := open(t, server.URL)
	var dials atomic.Int64
	store.CountDials(&dials)
	if err := store.Ping(t.Context()); err == nil || dials.Load() != 1 {
		t.Fatalf("%d dials give %v, want 1", dials.Load(), err)
	}
}

func TestWrongPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.ConfigSet(t.Context(), "requirepass", "correct").Err(); err != nil {
		t.Fatal(err)
	}
	url := "redis://:hunter2@" + server.Addr
	log := watch(t, url, "redis refuses the service")
	store, _ := openLogged(t, url)
	_, err := locktest.OneAtATime{Store: store}.Read(t.Context(), "MK-1")
	var unavailable *lock.UnavailableError
	if err == nil || errors.As(err, &unavailable) {
		t.Fatalf("a wrong password gives %v", err)
	}
	if strings.Contains(log.String()+err.Error(), "hunter2") {
		t.Fatalf("the password shows: %v\n%s", err, log)
	}
}

func TestMalformedURLIsNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://:hunter2@a:b:c", "hunter2", "http://:hunter2@a", "redis://:hunter2@a/x", "redis://:hunter2@a,b",
		"redis://:hunter2@a?skip_verify=true", "rediss+cluster://:hunter2@a,b?skip_verify=true", "redis+ring://:hunter2@a",
		"redis+sentinel://:hunter2@a,b", "redis+sentinel://:hunter2@a/spools/x", "redis+cluster://:hunter2@a,b/1",
	} {
		_, err := repository.Open(repository.Config{URL: url}, redistest.NewLog(t).Logger())
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a malformed URL gives %v", err)
		}
	}
}

// The embedded Redis is reachable by redis-cli, at the address in the log.
func TestEmbeddedIsReachable(t *testing.T) {
	t.Parallel()
	redistest.NeedProgram(t, "redis-cli", "needs redis-cli, install redis-tools")
	store, log := openLogged(t, repository.EmbeddedURL)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error)
	go func() { watched <- store.Watch(ctx) }()
	port := log.Find(t, `redis_addr=127\.0\.0\.1:(\d+)`)
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
	if _, _, err := (locktest.OneAtATime{Store: store}).Take(t.Context(), lock.TakeCommand{
		Tag: "MK-1", Owner: lock.Worker{ID: "93"}, TTL: time.Hour, Token: lock.NewToken("93", lock.RequestID{}),
	}); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(*exec.Cmd){
		"with a command":          func(cli *exec.Cmd) { cli.Args = append(cli.Args, "GET", "spool_lock:MK-1") },
		"with a terminal's input": func(cli *exec.Cmd) { cli.Stdin = strings.NewReader("GET spool_lock:MK-1\n") },
	} {
		cli := exec.Command("redis-cli", "-p", port)
		run(cli)
		out, err := cli.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "93:") {
			t.Errorf("redis-cli %s says %q, %v", name, out, err)
		}
	}
}

// Once Redis has not answered time and again, operations fail without asking it; once it
// answers, they do not.
func TestCircuitOpensAndCloses(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	read := func() error {
		ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
		defer cancel()
		_, err := s.store.Read(ctx, s.tag)
		return err
	}
	s.server.Pause()
	await(t, "the circuit opens", func() bool {
		err := read()
		return err != nil && strings.Contains(err.Error(), "is not asked")
	})
	s.server.Resume()
	await(t, "the circuit closes", func() bool { return read() == nil })
}
