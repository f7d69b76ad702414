package redistest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/repository/redistest"
)

func TestAKilledMasterIsReplacedAndComesBackAsAReplica(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinels(t, "--appendonly", "yes")
	old := set.Master()
	if old != set.Nodes[0] {
		t.Error("the first node is not the master")
	}
	client := connect(t, old)
	must(t, client.Set(t.Context(), "kept", "before", 0).Err())
	must(t, client.Wait(t.Context(), 2, 10*time.Second).Err())
	old.Kill()
	master := set.AwaitMaster(old)
	must(t, connect(t, master).Set(t.Context(), "new", "after", 0).Err())
	old.Restart()
	set.AwaitOK()
	if set.Master() != master {
		t.Error("the mastership went on")
	}
	for _, replica := range set.Replicas() {
		wantValue(t, replica, "kept", "before")
		wantValue(t, replica, "new", "after")
	}
	again := set.Failover()
	if again == master || set.Master() != again {
		t.Error("the mastership did not go on")
	}
	set.AwaitOK()
}

func TestAnIsolatedMasterGoesOnAcknowledgingWhileAnotherIsElected(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinels(t)
	old := set.Master()
	client := connect(t, old)
	must(t, client.Set(t.Context(), "key", "common", 0).Err())
	set.Isolate(old)
	master := set.AwaitMaster(old)
	must(t, connect(t, master).Set(t.Context(), "key", "elected", 0).Err())
	must(t, client.Set(t.Context(), "key", "isolated", 0).Err())
	if replicas, err := client.Wait(t.Context(), 1, 100*time.Millisecond).Result(); err != nil || replicas != 0 {
		t.Errorf("the isolated master waited for %d replicas, %v", replicas, err)
	}
	wantValue(t, old, "key", "isolated")
	set.Rejoin(old)
	set.AwaitOK()
	if set.Master() != master {
		t.Error("the mastership went back")
	}
	wantValue(t, old, "key", "elected")
}

func TestAnIsolatedMinorityKeepsItsMaster(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinels(t)
	old, sentinel := set.Master(), set.Sentinels[2]
	set.Isolate(old, sentinel)
	set.AwaitMaster(old)
	announced := redis.NewStringSliceCmd(t.Context(), "sentinel", "get-master-addr-by-name", "spools")
	must(t, connect(t, sentinel).Process(t.Context(), announced))
	if got := "redis://" + strings.Join(announced.Val(), ":"); got != old.Proxy.URL {
		t.Errorf("the isolated sentinel announces %s, want %s", got, old.Proxy.URL)
	}
	set.Rejoin(old, sentinel)
	set.AwaitOK()
}
