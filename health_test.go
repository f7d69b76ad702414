package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// readiness is what /readyz answers.
type readiness struct {
	code    int
	Status  string
	Failing []string
	Checks  map[string]string
}

func readinessOf(t *testing.T, url string) (r readiness) {
	t.Helper()
	code, body := get(t, url+"/readyz")
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	r.code = code
	return r
}

// awaitReadiness waits until /readyz has the status, and just these checks fail.
func awaitReadiness(t *testing.T, url string, code int, status string, failing ...string) {
	t.Helper()
	var got readiness
	if !testwait.Poll(func() bool {
		got = readinessOf(t, url)
		return got.code == code && got.Status == status && slices.Equal(got.Failing, failing)
	}) {
		t.Fatalf("readiness is %+v, want %d %s, failing %v", got, code, status, failing)
	}
	if got := status == "not ready"; got != (code == 503) {
		t.Errorf("%d says %s", code, status)
	}
}

const listOne = `{"query":"{spoolLocks(first:1){totalCount asOf}}"}`

// ailment is a Redis that answers PING and cannot serve.
type ailment struct {
	breaks, mends [][]any // commands
	code          int     // of /readyz meanwhile, with the status and the checks that fail
	status        string
	failing       []string
	logged        string
}

const notReady, degraded = "not ready", "degraded"

var ailments = map[string]ailment{
	"demoted": {
		breaks: [][]any{{"REPLICAOF", "127.0.0.1", "1"}}, mends: [][]any{{"REPLICAOF", "NO", "ONE"}},
		code: 503, status: notReady, failing: []string{"floor", "redis"}, logged: "READONLY",
	},
	"full": {
		breaks: [][]any{{"CONFIG", "SET", "maxmemory", "1"}}, mends: [][]any{{"CONFIG", "SET", "maxmemory", "0"}},
		code: 200, status: degraded, failing: []string{"memory"}, logged: "OOM",
	},
	"paused": {
		breaks: [][]any{{"CLIENT", "PAUSE", "1000000", "WRITE"}}, mends: [][]any{{"CLIENT", "UNPAUSE"}},
		code: 503, status: notReady, failing: []string{"floor", "redis"}, logged: "timeout",
	},
	"without scripts": {
		breaks: [][]any{{"ACL", "SETUSER", "default", "-evalsha", "-eval"}}, mends: [][]any{{"ACL", "SETUSER", "default", "+evalsha", "+eval"}},
		code: 503, status: notReady, failing: []string{"floor", "redis"}, logged: "NOPERM",
	},
	"without the keys": {
		breaks: [][]any{{"ACL", "SETUSER", "default", "resetkeys", "~other:*"}}, mends: [][]any{{"ACL", "SETUSER", "default", "~*"}},
		code: 503, status: notReady, failing: []string{"redis"}, logged: "NOPERM", // the beat has no key
	},
	"without one of the keys": {
		breaks: [][]any{{"ACL", "SETUSER", "default", "resetkeys", "~spool_lock:*", "~spool_state2:*", "~spool_history2:*", "~spool_barred2:*"}},
		mends:  [][]any{{"ACL", "SETUSER", "default", "~*"}},
		code:   503, status: notReady, failing: []string{"redis"}, logged: "NOPERM",
	},
	"too few replicas": {
		breaks: [][]any{{"CONFIG", "SET", "min-replicas-to-write", "1"}}, mends: [][]any{{"CONFIG", "SET", "min-replicas-to-write", "0"}},
		code: 503, status: notReady, failing: []string{"floor", "redis"}, logged: "NOREPLICAS",
	},
	"another password": {
		breaks: [][]any{{"CONFIG", "SET", "requirepass", "hunter2"}}, mends: [][]any{{"CONFIG", "SET", "requirepass", ""}},
		code: 200, status: degraded, failing: []string{"connect"}, logged: "NOAUTH",
	},
}

// What a take needs is proved, and the service is ready by itself when Redis serves again.
func TestReadinessProvesWhatATakeNeeds(t *testing.T) {
	t.Parallel()
	for name, ailment := range ailments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ailment.test(t)
		})
	}
}

func (test ailment) test(t *testing.T) {
	t.Helper()
	server := redistest.Start(t)
	admin := server.Client()
	t.Cleanup(func() { _ = admin.Close() })
	conn := admin.Conn() // which a changed password leaves alone
	run := func(commands [][]any) {
		for _, command := range commands {
			if err := conn.Do(testwait.Context(t), command...).Err(); err != nil {
				t.Fatalf("%v: %v", command, err)
			}
		}
	}
	run([][]any{{"PING"}})
	url, log := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none", "REDIS_OPERATION_TIMEOUT_MS": "1000"})
	awaitReadiness(t, url, 200, "ready")
	run(test.breaks)
	awaitReadiness(t, url, test.code, test.status, test.failing...)
	if got := status(t, url+"/healthz"); got != 200 {
		t.Errorf("health is %d", got)
	}
	test.wantMetrics(t, url)
	if slices.Contains(test.failing, "floor") {
		log.Find(t, "the store takes no beat|the feed of the floor is cut")
	}
	if listed := post(t, url, listOne); strings.Contains(listed, `"asOf"`) == slices.Contains(test.failing, "floor") {
		t.Errorf("the floor is listed as %s", listed)
	}
	run(test.mends)
	awaitReadiness(t, url, 200, "ready")
	if got := post(t, url, takeOne); !strings.Contains(got, `"lockToken":"93:`) {
		t.Errorf("a take is answered %s", got)
	}
	wantSaidOnce(t, log, test.failing, test.logged)
}

func (test ailment) wantMetrics(t *testing.T, url string) {
	t.Helper()
	_, metrics := get(t, url+"/metrics")
	for _, check := range test.failing {
		if check != "floor" && !strings.Contains(metrics, fmt.Sprintf("spoollock_check_failing{check=%q} 1\n", check)) {
			t.Errorf("no metric says that %s fails:\n%s", check, metrics)
		}
	}
	if !strings.Contains(metrics, fmt.Sprintf("spoollock_ready %d\n", test.code%503/200)) {
		t.Errorf("the metrics of %s:\n%s", test.status, metrics)
	}
}

// wantSaidOnce fails unless the log has one ERROR for each of the checks of Redis that began
// to fail, with the reason, and comes to have one INFO that it is well again.
func wantSaidOnce(t *testing.T, log *redistest.Log, failing []string, why string) {
	t.Helper()
	checks := len(slices.DeleteFunc(slices.Clone(failing), func(check string) bool { return check == "floor" }))
	well := regexp.MustCompile("redis is well again|redis is back")
	testwait.Until(t, "the log says that it is well again", func() bool { return len(well.FindAllString(log.String(), -1)) >= checks })
	errors := regexp.MustCompile(`.*"level":"ERROR".*`).FindAllString(log.String(), -1)
	if len(errors) != checks || len(well.FindAllString(log.String(), -1)) != checks || !strings.Contains(strings.Join(errors, ""), why) {
		t.Errorf("%d checks failed because of %s; the log is\n%s", checks, why, log)
	}
}

// The scripts need EVALSHA; what is loaded, and so all of them, does without EVAL.
func TestReadinessWithRenamedCommands(t *testing.T) {
	t.Parallel()
	for renamed, ready := range map[string]bool{"EVALSHA": false, "EVAL": true} {
		t.Run(renamed, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, "--rename-command", renamed, "")
			url, log := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none"})
			log.Find(t, "redis refuses") // without EVAL, until they are loaded
			if ready {
				awaitReadiness(t, url, 200, "ready")
			} else {
				awaitReadiness(t, url, 503, "not ready", "floor", "redis")
			}
			if taken := strings.Contains(post(t, url, takeOne), `"lockToken":"93:`); taken != ready {
				t.Errorf("a take succeeds: %v", taken)
			}
		})
	}
}

// Fresh connections are refused first, and then all.
func TestReadinessWithAnotherPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client()
	t.Cleanup(func() { _ = admin.Close() })
	conn := admin.Conn()
	do := func(command ...any) {
		if err := conn.Do(testwait.Context(t), command...).Err(); err != nil {
			t.Fatalf("%v: %v", command, err)
		}
	}
	do("PING")
	url, _ := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none"})
	awaitReadiness(t, url, 200, "ready")
	do("CONFIG", "SET", "requirepass", "hunter2")
	awaitReadiness(t, url, 200, "degraded", "connect")
	do("CLIENT", "KILL", "SKIPME", "yes")
	awaitReadiness(t, url, 503, "not ready", "connect", "floor", "redis")
	do("CONFIG", "SET", "requirepass", "")
	awaitReadiness(t, url, 200, "ready")
}

// A Redis that reads what it has kept says so to all that it is asked.
func TestReadinessWhileRedisLoads(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
	admin := server.Client()
	t.Cleanup(func() { _ = admin.Close() })
	ctx := testwait.Context(t)
	if err := admin.Do(ctx, "DEBUG", "POPULATE", "30000").Err(); err != nil {
		t.Fatal(err)
	}
	url, _ := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none"})
	awaitReadiness(t, url, 200, "ready")
	if err := admin.ConfigSet(ctx, "key-load-delay", "10000").Err(); err != nil { // µs
		t.Fatal(err)
	}
	loaded := make(chan error, 1)
	go func() {
		reloading := server.Client()
		defer reloading.Close() //nolint:errcheck // a client of the moment
		loaded <- reloading.WithTimeout(testwait.Patience).Do(context.WithoutCancel(ctx), "DEBUG", "RELOAD").Err()
	}()
	awaitReadiness(t, url, 503, "not ready", "floor", "redis")
	if err := admin.ConfigSet(ctx, "key-load-delay", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	awaitReadiness(t, url, 200, "ready")
}

// A Redis that hangs holds up no answer of /readyz.
func TestReadinessOfAHangingRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	url, _ := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none", "REDIS_OPERATION_TIMEOUT_MS": "1000"})
	awaitReadiness(t, url, 200, "ready")
	server.Pause()
	awaitReadiness(t, url, 503, "not ready", "floor", "redis")
	server.Resume()
	awaitReadiness(t, url, 200, "ready")
}

// One master of a Cluster that is away is no reason to send nothing to the others, unless
// they refuse for its sake.
func TestReadinessOfACluster(t *testing.T) {
	t.Parallel()
	for coverage, want := range map[string]struct {
		code   int
		status string
	}{"no": {200, "degraded"}, "yes": {503, "not ready"}} {
		t.Run(fmt.Sprint("full coverage ", coverage), func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t, "--cluster-require-full-coverage", coverage)
			url, _ := start(t, map[string]string{"REDIS_URL": cluster.URL, "AUTH_MODE": "none"})
			awaitReadiness(t, url, 200, "ready")
			master := cluster.Masters()[0]
			replica := cluster.ReplicaOf(master)
			replica.Kill()
			master.Kill()
			awaitReadiness(t, url, want.code, want.status, "floor", "redis")
			master.Restart()
			replica.Restart()
			awaitReadiness(t, url, 200, "ready")
		})
	}
}

// What the checks do not see, the operations do.
func TestReadinessCountsOperations(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	url, log := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none", "RATE_LIMIT": "off"})
	awaitReadiness(t, url, 200, "ready")
	do(t, server, "ACL", "SETUSER", "default", "-set")
	failing := func(failing ...string) func() bool {
		return func() bool {
			post(t, url, takeOne)
			return slices.Equal(readinessOf(t, url).Failing, failing)
		}
	}
	testwait.Until(t, "the operations fail", failing("operations"))
	awaitReadiness(t, url, 200, "degraded", "operations")
	do(t, server, "ACL", "SETUSER", "default", "+set")
	testwait.Until(t, "the operations succeed", failing())
	awaitReadiness(t, url, 200, "ready")
	log.Find(t, `"level":"ERROR","msg":"operations fail.*ERR is what redis answers`)
	log.Find(t, `"level":"INFO","msg":"redis is well again","check":"operations"`)
}
