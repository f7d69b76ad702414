package repository_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
)

// The embedded Redis is reachable by redis-cli, at the address in the log.
func TestEmbeddedIsReachable(t *testing.T) {
	t.Parallel()
	redistest.NeedProgram(t, "redis-cli", "needs redis-cli, install redis-tools")
	store, log := openLogged(t, redisurl.EmbeddedText)
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
