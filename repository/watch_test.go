package repository_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func openLogged(t *testing.T, url string) (*repository.Redis, *redistest.Log) {
	t.Helper()
	log := redistest.NewLog(t)
	return redistest.Open(t, url, log.Logger(), repository.Config{MaxConnections: 5, Timeout: time.Second}), log
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

// oldRedis answers INFO as Redis 6.2 does, and everything else with an error. No
// such server can be had next to a current one.
func oldRedis(t *testing.T) (url string) {
	t.Helper()
	info := "# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n"
	return "redis://" + answeringRedis(t, map[string]string{
		"INFO":  fmt.Sprintf("$%d\r\n%s", len(info), info),
		"PING":  "+PONG",
		"HELLO": "-ERR unknown command",
	})
}

// answeringRedis has an answer for lines of what it is sent, in upper case.
func answeringRedis(t *testing.T, answers map[string]string) (addr string) {
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
					if answer, ok := answers[strings.ToUpper(lines.Text())]; ok {
						_, _ = fmt.Fprint(conn, answer+"\r\n")
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		conns.Wait()
	})
	return listener.Addr().String()
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
	testwait.Until(t, "redis is away again", func() bool { return strings.Count(log.String(), "redis is away") >= 2 })
	server.Resume()
	testwait.Until(t, "redis is found again", func() bool { return strings.Count(log.String(), "redis found") >= 2 })
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
		if !testwait.Poll(func() bool { return strings.Count(log.String(), "redis found") == n }) {
			t.Fatalf("redis is not found %d times:\n%s", n, log)
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

// What is warned of at the start is warned of when it comes to be so.
func TestWatchWarnsOfWhatIsSetAtRunTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes")
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	store, log := openLogged(t, server.URL)
	watched := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { watched <- store.Watch(ctx) }()
	log.Find(t, "redis found")
	for _, test := range []struct {
		command []any
		warned  string
	}{
		{[]any{"CONFIG", "SET", "appendonly", "no"}, "redis keeps no append-only file"},
		{[]any{"CONFIG", "SET", "maxmemory-policy", "volatile-lru"}, "redis may evict locks"},
		{[]any{"REPLICAOF", "127.0.0.1", "1"}, "redis is a replica"},
	} {
		if strings.Contains(log.String(), test.warned) {
			t.Errorf("%s is warned of before:\n%s", test.warned, log)
		}
		if err := client.Do(ctx, test.command...).Err(); err != nil {
			t.Fatal(err)
		}
		log.Find(t, test.warned)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
}

// Where a name leads to another server, the connections to the former one are left, also if that
// one still accepts changes.
func TestConnectionsToAFormerMasterAreClosed(t *testing.T) {
	t.Parallel()
	former, next := redistest.Start(t), redistest.Start(t)
	proxy := redistest.StartProxy(t, former.Addr, nil)
	admin := former.Client()
	defer admin.Close() //nolint:errcheck // a client of the moment
	store, log := openLogged(t, proxy.URL)
	watched := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { watched <- store.Watch(ctx) }()
	log.Find(t, "redis found")
	// Of the clients two are no one's but the test's.
	clients := func() int {
		list, err := admin.ClientList(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n") - 2
	}
	var pings sync.WaitGroup
	for range 100 {
		pings.Go(func() { _ = store.Ping(ctx) })
	}
	pings.Wait()
	if n := clients(); n < 3 {
		t.Fatalf("the pool has %d connections", n)
	}
	proxy.Lead(next)
	testwait.Until(t, "no connection leads to the former server", func() bool { return clients() == 0 })
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
}

// Connections of the pool do not live for ever.
func TestConnectionsHaveALifetime(t *testing.T) {
	t.Parallel()
	sentinels := redistest.StartSentinels(t)
	for _, url := range []string{"redis://127.0.0.1:1", sentinels.URL} {
		options := open(t, url).Client().Options()
		if options.ConnMaxLifetime != 30*time.Minute || options.ConnMaxLifetimeJitter <= 0 {
			t.Errorf("connections live for %v, %v more or less", options.ConnMaxLifetime, options.ConnMaxLifetimeJitter)
		}
	}
}

// A Redis that is found is given the scripts, and again after a restart, in which it forgets
// them.
func TestWatchLoadsTheScripts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store, log := openLogged(t, server.URL)
	watched := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { watched <- store.Watch(ctx) }()
	for found := 1; found <= 2; found++ {
		testwait.Until(t, "redis is found", func() bool { return strings.Count(log.String(), "redis found") == found })
		wantScripts(t, server)
		if found == 1 {
			server.Kill()
			server.Restart()
		}
	}
	cancel()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
}

// wantScripts fails unless the server knows the scripts.
func wantScripts(t *testing.T, server *redistest.Server) {
	t.Helper()
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	for name, text := range repository.Scripts() {
		known, err := client.ScriptExists(t.Context(), redis.NewScript(text).Hash()).Result()
		if err != nil || !known[0] {
			t.Errorf("the script %s is known: %v, %v", name, known, err)
		}
	}
}

// A user who may not load scripts can still lock.
func TestWatchWithoutTheRightToLoadScripts(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.must(s.client.Do(s.ctx, "ACL", "SETUSER", "spools", "on", ">hunter2", "~*", "&*", "+@all", "-script").Err())
	url := "redis://spools:hunter2@" + s.server.Addr
	if log := watch(t, url, "redis found"); strings.Contains(log.String(), "refuses") || strings.Contains(log.String(), "does not say") {
		t.Errorf("the user is refused:\n%s", log)
	}
	s.store = locktest.OneAtATime{Store: open(t, url)}
	s.take(s.command())
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

// quotingRedis answers each password that it is shown with the text, in which %s is the
// password.
func quotingRedis(t *testing.T, text string) (addr string) {
	t.Helper()
	const password = "HUNTER2"
	return answeringRedis(t, map[string]string{password: strings.ReplaceAll(text, "%s", password)})
}

// A server can quote the password in words of its own, or answer it as what is no answer.
func TestPasswordThatAServerQuotes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"-ERR invalid password %s", "-WRONGPASS the user default has no password %s", "-%s is wrong", "-ERR Bad auth (default:%s)",
		"-NOPERM this user has no permissions to run the '%s' command", "-MISCONF %s", "-LOADING %s", "-MOVED 1 %s:1", "-ERR user_script:%s",
		"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' '%s'",
		"%s", "$%s", ":%s", "*%s", "(%s", "!9\r\n%s", ">1\r\n+%s", "%%1\r\n+%[1]s\r\n+%[1]s",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			log := watch(t, "redis://:HUNTER2@"+quotingRedis(t, text), "redis refuses|redis is away|redis accepts no changes")
			if strings.Contains(log.String(), "HUNTER2") {
				t.Errorf("the log has the password:\n%s", log)
			}
		})
	}
}
