package redistest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"spoollock/repository/redistest"
)

func TestASlotMovesWithItsKeys(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	masters := cluster.Masters()
	if len(masters) != 3 {
		t.Fatalf("%d masters", len(masters))
	}
	from := cluster.MasterOf("{tag}")
	to := masters[0]
	if to == from {
		to = masters[1]
	}
	const keys = 250
	for i := range keys {
		must(t, connect(t, from).Set(t.Context(), fmt.Sprint("{tag}", i), i, time.Hour).Err())
	}
	cluster.MoveSlot(redistest.Slot("{tag}"), to)
	if cluster.MasterOf("{tag}") != to {
		t.Error("the slot has not moved")
	}
	for i := range keys {
		wantValue(t, to, fmt.Sprint("{tag}", i), fmt.Sprint(i))
	}
	if err := connect(t, from).Get(t.Context(), "{tag}0").Err(); err == nil || !strings.HasSuffix(err.Error(), strings.TrimPrefix(to.Proxy.URL, "redis://")) {
		t.Errorf("the old owner answers %v", err)
	}
	cluster.AwaitOK()
}

func TestAKilledMasterOfAClusterIsReplacedAndComesBackAsAReplica(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, "--appendonly", "yes")
	old := cluster.MasterOf("key")
	replica := cluster.ReplicaOf(old)
	must(t, connect(t, old).Set(t.Context(), "key", "before", 0).Err())
	must(t, connect(t, old).Wait(t.Context(), 1, 10*time.Second).Err())
	old.Kill()
	if got := cluster.AwaitMaster("key", old); got != replica {
		t.Errorf("%s is elected, want %s", got.Addr, replica.Addr)
	}
	wantValue(t, replica, "key", "before")
	old.Restart()
	cluster.AwaitOK()
	if got := cluster.ReplicaOf(replica); got != old {
		t.Error("the killed master is no replica")
	}
	if got := cluster.Failover(replica); got != old || cluster.MasterOf("key") != old {
		t.Error("the mastership did not go back")
	}
	cluster.AwaitOK()
}

func TestAnIsolatedMasterOfAClusterLosesWhatItAcknowledges(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	old := cluster.MasterOf("key")
	client := connect(t, old)
	cluster.Isolate(old)
	must(t, client.Set(t.Context(), "key", "isolated", 0).Err())
	master := cluster.AwaitMaster("key", old)
	if err := client.Set(t.Context(), "key", "later", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "CLUSTERDOWN") {
		t.Errorf("the isolated master answers %v", err)
	}
	must(t, connect(t, master).Set(t.Context(), "other{key}", "elected", 0).Err())
	cluster.Rejoin(old)
	cluster.AwaitOK()
	if exist, err := connect(t, master).Exists(t.Context(), "key").Result(); err != nil || exist != 0 {
		t.Errorf("what only the isolated master had is there: %d, %v", exist, err)
	}
}

func TestSlotIsAsRedisHasIt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-port", redistest.FreePort)
	for _, key := range []string{
		"", "123456789", "spool_lock:MK-1", "spool_state2:{spool_lock:MK-1}", "{}a", "a{b", "a{b}{c}", "{{a}}", "}{a}", "é",
	} {
		want, err := connect(t, server).ClusterKeySlot(t.Context(), key).Result()
		must(t, err)
		if got := redistest.Slot(key); got != int(want) {
			t.Errorf("%q is in slot %d, want %d", key, got, want)
		}
	}
}
