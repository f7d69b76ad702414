package repository_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor"
	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// keepUntilLive keeps a view of a Redis with a lock until it is live.
func keepUntilLive(t *testing.T, url string) {
	t.Helper()
	store := open(t, url)
	cmd := lock.TakeCommand{Tag: newTag(), Owner: lock.Worker{ID: "93"}, TTL: time.Hour, Token: lock.NewToken("93", lock.RequestID{})}
	if result := store.Take(t.Context(), []lock.TakeCommand{cmd})[0]; result.Err != nil {
		t.Fatal(result.Err)
	}
	view := floor.NewView()
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		floor.Run(ctx, view, store, floor.Config{RebuildInterval: time.Hour, Timeout: time.Second}, redistest.NewLog(t).Logger())
	}()
	defer func() {
		cancel()
		<-kept
	}()
	testwait.Until(t, "the view is live", func() bool { return view.Status().Live })
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
	operations, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range more {
		if !strings.Contains(string(operations), word.(string)) {
			t.Errorf("docs/OPERATIONS.md does not say %s", word)
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
