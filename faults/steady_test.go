//go:build faults

package faults_test

import (
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"spoollock/servicetest"
	"spoollock/testwait"
)

// slack is by how much an answer may come later than the operation's deadline, for all
// that is not the operation.
const slack = time.Second

// size is what a process has of the machine.
type size struct{ goroutines, descriptors, megabytes float64 }

func sizeOf(service *servicetest.Service) size {
	metrics := service.Metrics()
	return size{metrics["go_goroutines"], metrics["process_open_fds"], service.Memory() / (1 << 20)}
}

// grown reports whether it is more than before by more than what a pool, or the
// collector of garbage, may have at one moment and not at the other.
func (s size) grown(before size) bool {
	return s.goroutines > before.goroutines+50 || s.descriptors > before.descriptors+50 || s.megabytes > 1.5*before.megabytes+20
}

// TestSteady breaks something every five seconds under a steady load, for long, and
// looks at the one process that is never broken itself: whether it grows, and whether it
// answers each request in time when Redis does not.
func TestSteady(t *testing.T) {
	ctx := scenario(t, *steady+10*time.Minute)
	random := seeded(*seed, 0)
	s, _ := standalone(t, random)
	s.launch(ctx, t, random, io.Discard)
	whole := s.services[0]

	c := newClient(s.services)
	var mu sync.Mutex
	var took []time.Duration
	silent, late := 0, 0
	c.asked = func(url string, d time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		if url != whole.URL {
			return
		}
		took = append(took, d)
		if err != nil && !errors.As(err, new(*servicetest.RefusedError)) {
			silent++
		}
		if d > operationTimeout+slack {
			late++
		}
	}
	d := newDriver(*seed, c.carry, s.foreign, usual)
	d.pause = 100 * time.Millisecond
	n := &nemesis{breaks: s.breaks, random: random, log: io.Discard, struck: map[string]int{}}
	e := keep(t, directory(t), d, s.bounds, n)
	load := func(span time.Duration) {
		stop := d.start(ctx)
		for end := time.Now().Add(span); time.Now().Before(end) && ctx.Err() == nil; {
			next := time.Now().Add(5 * time.Second)
			n.strike(ctx)
			during(ctx, time.Until(next))
		}
		stop()
	}
	load(min(*steady, 30*time.Second)) // until pools and caches have what they need
	before := sizeOf(whole)
	clear(n.struck)
	took, silent, late = nil, 0, 0
	load(*steady)
	var after size
	testwait.Within(ctx, t, "the process is as large as before", func() bool {
		after = sizeOf(whole)
		return !after.grown(before)
	})
	verdict := e.judge()
	e.wantLegal(verdict)
	e.wantChecked(verdict)
	slices.Sort(took)
	struck := 0
	for _, times := range n.struck {
		struck += times
	}
	printf("\n## A steady load\n\n%v of it, with %d faults, one every five seconds; a process that was not broken itself.\n", *steady, struck)
	printf("| | before | after |\n|---|---|---|\n| goroutines | %.0f | %.0f |\n| descriptors | %.0f | %.0f |\n| memory, MB | %.0f | %.0f |\n",
		before.goroutines, after.goroutines, before.descriptors, after.descriptors, before.megabytes, after.megabytes)
	printf("It answered %d requests, half of them within %v, all within %v; %d not within the %v of an operation and %v more, %d not at all.",
		len(took), took[len(took)/2].Round(100*time.Microsecond), took[len(took)-1].Round(time.Millisecond), late, operationTimeout, slack, silent)
	printf("Of %d operations %d were checked; %d spools broke a promise.", len(d.history), verdict.Checked, len(verdict.Illegal))
	if late > 0 || silent > 0 {
		t.Errorf("%d answers were late, %d did not come", late, silent)
	}
}
