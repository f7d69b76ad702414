package floor

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"spoollock/lock"
)

func heapBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A lock of another program, whose tag has 22 bytes, takes at most 250 bytes of memory, where
// there are many of them in no order.
func TestMemoryOfALock(t *testing.T) {
	const locks, most = 100_000, 250
	v := NewView()
	defer v.stop()
	before := heapBytes()
	for n, i := range rand.Perm(locks) { //nolint:gosec // no secret
		owner := lock.WorkerID(fmt.Sprintf("worker%04d", i%1000))
		message := fmt.Sprintf("spool_lock:MK-1335-CW-%07d-011 and what else a message has, which is not to be kept", i)
		v.Apply(lock.Spool{Tag: lock.Tag(message[11:33]), Version: lock.Version(n + 1), Change: 1, Fingerprint: 1, Lock: &lock.Lock{
			Tag: lock.Tag(message[11:33]), Owner: lock.Worker{ID: owner}, Version: lock.Version(n + 1),
			ExpiresAt: time.Now().Add(time.Hour), Remaining: time.Hour + time.Duration(i),
		}})
	}
	if each := (heapBytes() - before) / locks; each > most {
		t.Errorf("a lock takes %d bytes, want at most %d", each, most)
	} else {
		t.Logf("a lock takes %d bytes", each)
	}
	runtime.KeepAlive(v)
}

// An update says no less than it takes, and no more than twice that.
func TestSizeOfAnUpdate(t *testing.T) {
	const updates = 200
	v := NewView()
	defer v.stop()
	for n := range MaxUpdateSpools {
		tag := lock.Tag(fmt.Sprintf("MK-1335-CW-%07d-011", n))
		v.Apply(lock.Spool{Tag: tag, Version: 1, Change: 1, Lock: &lock.Lock{
			Tag: tag, Owner: lock.Worker{ID: "93", Name: "MR(93)"}, Version: 1, ExpiresAt: time.Now().Add(time.Hour), Remaining: time.Hour,
		}})
	}
	before := heapBytes()
	all := make([]*Update, updates)
	for i := range all {
		v.steps.state = viewState{} // or the next one is the same
		all[i], _, _ = v.Subscribe(Filter{}).collect()
	}
	takes, says := int(heapBytes()-before)/updates, all[0].Size() //nolint:gosec // some megabytes
	if len(all[0].Changed) != MaxUpdateSpools || says < takes || says > 2*takes {
		t.Errorf("an update of %d spools takes %d bytes, and says %d", len(all[0].Changed), takes, says)
	}
	runtime.KeepAlive(all)
}
