package graph_test

import (
	"context"
	"testing"

	"spoollock/graph"
	"spoollock/lock"
)

// Subscriptions share by role.
func TestShareKey(t *testing.T) {
	t.Parallel()
	as := func(role lock.Role, worker lock.WorkerID) string {
		key, shared := graph.ShareKey(lock.WithCaller(context.Background(), lock.Caller{Role: role, Worker: lock.Worker{ID: worker}}), nil)
		if !shared {
			t.Errorf("the responses of a %s are not shared", role)
		}
		return key
	}
	viewer, another, worker := as(lock.RoleViewer, "93"), as(lock.RoleViewer, "94"), as(lock.RoleWorker, "93")
	if viewer != another || viewer == worker {
		t.Errorf("two viewers have the keys %q and %q, a worker %q", viewer, another, worker)
	}
	if _, shared := graph.ShareKey(context.Background(), nil); shared {
		t.Error("without a caller it is shared")
	}
}
