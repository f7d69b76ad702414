//go:build soak

package soak_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/repository/redistest"
	"spoollock/servicetest"
)

// readers is how many readers of a flood wait for an answer at any time.
const readers = 44

// flood is what readers ask for, each with 42 spools.
type flood struct {
	name  string
	query string        // empty: there are no readers
	pause time.Duration // between two requests of all readers; 0: none
}

var floods = []flood{
	{name: "no readers"},
	{"five times 42 spools with their histories, 23 a second", `query($tags:[ID!]!){
		a:spools(tagSpools:$tags){...s} b:spools(tagSpools:$tags){...s} c:spools(tagSpools:$tags){...s}
		d:spools(tagSpools:$tags){...s} e:spools(tagSpools:$tags){...s}
	} fragment s on Spool{version history(first:1){edges{cursor}}}`, time.Second / 23},
	{name: "42 spools, without a pause", query: `query($tags:[ID!]!){spools(tagSpools:$tags){version}}`},
}

// TestFloods has takes go on while readers ask for much.
func TestFloods(t *testing.T) {
	ctx := scenario(t, "A flood of reads next to takes", 5*time.Minute)
	printf("%d takes and releases a second, and %d readers.\n", *rate, readers)
	printf("| readers | | takes p50 | takes p99 | answered, a second | refused, a second |\n|---|---|---|---|---|---|")
	server := redistest.Start(t)
	for i, limits := range []string{"off", "on"} {
		s := &service{servicetest.Launch(t, redistest.NewLog(t), []string{"REDIS_URL=" + server.URL, "AUTH_MODE=none", "LIMITS=" + limits}, binary)}
		for j, f := range floods {
			stop := load{service: s, prefix: fmt.Sprintf("FLOOD-%d-%d", i, j), rate: *rate, keep: 5}.start(ctx)
			answered, refused := f.run(ctx, s)
			meanwhile := stop()
			meanwhile.check(t)
			printf("| %s | `LIMITS=%s` | %v | %v | %.0f | %.0f |", f.name, limits, percentile(meanwhile.takes, .5), percentile(meanwhile.takes, .99),
				float64(answered)/stepTime.Seconds(), float64(refused)/stepTime.Seconds())
		}
		s.Stop()
	}
}

// run has the readers ask for the time of a step.
func (f flood) run(ctx context.Context, s *service) (answered, refused int64) {
	if f.query == "" {
		during(ctx, *stepTime)
		return 0, 0
	}
	ctx, cancel := context.WithTimeout(ctx, *stepTime)
	defer cancel()
	tags := make([]string, 42)
	for i := range tags {
		tags[i] = fmt.Sprintf("FLOOD-1-0-%05d", i)
	}
	turns := make(chan struct{})
	var done sync.WaitGroup
	var right, wrong atomic.Int64
	for range readers {
		done.Go(func() {
			for range turns {
				err := s.post(ctx, f.query, map[string]any{"tags": tags}, &struct{}{})
				switch {
				case err == nil:
					right.Add(1)
				case ctx.Err() == nil:
					wrong.Add(1)
				}
			}
		})
	}
	for ctx.Err() == nil {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
		}
		during(ctx, f.pause)
	}
	close(turns)
	done.Wait()
	return right.Load(), wrong.Load()
}
