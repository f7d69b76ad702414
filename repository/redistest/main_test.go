package redistest_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"spoollock/repository/redistest"
)

func TestMain(m *testing.M) {
	// Each server that is not there yet, or no more, would be a line.
	redis.SetLogger(&logging.VoidLogger{})
	goleak.VerifyTestMain(m)
}

// connect reaches the server as the service does.
func connect(t *testing.T, server *redistest.Server) *redis.Client {
	t.Helper()
	addr := server.Addr
	if server.Proxy != nil {
		addr = strings.TrimPrefix(server.Proxy.URL, "redis://")
	}
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DisableIdentity: true})
	t.Cleanup(func() { must(t, client.Close()) })
	return client
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantValue(t *testing.T, server *redistest.Server, key, want string) {
	t.Helper()
	got, err := connect(t, server).Get(t.Context(), key).Result()
	must(t, err)
	if got != want {
		t.Errorf("%s is %q, want %q", key, got, want)
	}
}
