package floor

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"spoollock/lock"
)

// A lock of another program, whose tag has 22 bytes, takes at most 250 bytes of memory, where
// there are many of them in no order.
func TestMemoryOfALock(t *testing.T) {
	const locks, most = 100_000, 250
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	v := NewView()
	defer v.stop()
	before := heap()
	for n, i := range rand.Perm(locks) { //nolint:gosec // no secret
		owner := lock.WorkerID(fmt.Sprintf("worker%04d", i%1000))
		message := fmt.Sprintf("spool_lock:MK-1335-CW-%07d-011 and what else a message has, which is not to be kept", i)
		v.Apply(lock.Spool{Tag: lock.Tag(message[11:33]), Version: lock.Version(n + 1), Change: 1, Fingerprint: 1, Lock: &lock.Lock{
			Tag: lock.Tag(message[11:33]), Owner: lock.Worker{ID: owner}, Version: lock.Version(n + 1),
			ExpiresAt: time.Now().Add(time.Hour), Remaining: time.Hour + time.Duration(i),
		}})
	}
	if each := (heap() - before) / locks; each > most {
		t.Errorf("a lock takes %d bytes, want at most %d", each, most)
	} else {
		t.Logf("a lock takes %d bytes", each)
	}
	runtime.KeepAlive(v)
}
