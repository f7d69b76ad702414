package floor_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"spoollock/floor"
	"spoollock/lock"
)

// Whatever happens to spools, a partner has the locks of its own id and of those that begin
// with it and a dot.
func TestHeldByPartner(t *testing.T) {
	t.Parallel()
	owners := []lock.WorkerID{
		"acme", "acme.", "acme.0", "acme.1", "acme.eu", "acme.eu.1", "acm", "acmex.1", "93", ".", "..x", "ACME.1",
		lock.WorkerID(strings.Repeat("a", 64) + ".1"), lock.WorkerID(strings.Repeat("a", 65) + ".1"), lock.WorkerID(strings.Repeat(".", 256)),
	}
	partners := append([]lock.WorkerID{"", "a", "acme.eu.", lock.WorkerID(strings.Repeat("a", 64))}, owners...)
	view, held := floor.NewView(), map[lock.Tag]lock.WorkerID{}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in each run
	for version := range lock.Version(3000) {
		spool := lock.Spool{Tag: lock.Tag(fmt.Sprint("MK-", random.IntN(40))), Version: version + 1}
		delete(held, spool.Tag)
		if version < 2000 && random.IntN(3) > 0 {
			held[spool.Tag] = owners[random.IntN(len(owners))]
			spool.Lock = &lock.Lock{
				Tag: spool.Tag, Owner: lock.Worker{ID: held[spool.Tag]}, Version: spool.Version, ExpiresAt: time.Now().Add(time.Hour), Remaining: time.Hour,
			}
		}
		view.Apply(spool)
		for _, partner := range partners {
			want := 0
			for _, owner := range held {
				if owner == partner || len(partner) <= 64 && strings.HasPrefix(string(owner), string(partner)+".") {
					want++
				}
			}
			if got := view.HeldByPartner(partner); got != want {
				t.Fatalf("at %d, %q has %d locks, want %d of %v", version, partner, got, want, held)
			}
		}
	}
	if len(held) > 0 {
		t.Errorf("held at the end are %v", held)
	}
}
