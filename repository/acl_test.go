package repository_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor"
	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
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

// lookAtForeignLocks reads what another program writes: locks that never expire, with values
// longer than a token has, as many as the history begins for.
func lookAtForeignLocks(t *testing.T, store *repository.Redis, other *redis.Client) {
	t.Helper()
	tag := newTag()
	for i := range 10 {
		value := fmt.Sprintf("%d:%s", i, strings.Repeat("x", 700))
		if err := other.Set(t.Context(), "spool_lock:"+string(tag), value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if result := store.Read(t.Context(), []lock.Tag{tag})[0]; result.Err != nil || result.Value.Lock == nil {
			t.Fatalf("another program's lock is read as %+v, %v", result.Value, result.Err)
		}
	}
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
	wantScripts(t, server)
	t.Run("conformance", func(t *testing.T) { locktest.Run(t, open(t, url)) })
	t.Run("floor", func(t *testing.T) { keepUntilLive(t, url) })
	if _, err := open(t, url).Draw(t.Context(), map[string]int{"identity:93": 1}, 20, 40); err != nil {
		t.Errorf("rates: %v", err)
	}
	t.Run("another program", func(t *testing.T) { lookAtForeignLocks(t, open(t, url), admin) })
	used := map[string]bool{}
	stats, err := admin.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for command := range stats["Commandstats"] {
		used[strings.TrimPrefix(command, "cmdstat_")] = true
	}
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
