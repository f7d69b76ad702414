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

// readers is how many readers of a flood wait for an answer at any time, each without a
// pause.
const readers = 44

// TestFloods has takes go on beside readers who ask without a pause.
func TestFloods(t *testing.T) {
	ctx := scenario(t, "A flood of reads beside takes", 5*time.Minute)
	printf("%d takes and releases a second, and %d readers, each with 42 spools a request.\n", *rate, readers)
	printf("| | takes p50 | takes p99 | answered requests of readers, a second | refused ones |\n|---|---|---|---|---|")
	server := redistest.Start(t)
	for i, limits := range []string{"off", "on"} {
		s := &service{servicetest.Launch(t, redistest.NewLog(t), []string{"REDIS_URL=" + server.URL, "AUTH_MODE=none", "LIMITS=" + limits}, binary)}
		for j, flooded := range []bool{false, true} {
			var answered, refused atomic.Int64
			stop := load{service: s, prefix: fmt.Sprintf("FLOOD-%d-%d", i, j), rate: *rate, keep: 5}.start(ctx)
			row := "| nobody reads"
			if flooded {
				flood(ctx, s, &answered, &refused)
				row = "| readers"
			} else {
				during(ctx, *stepTime)
			}
			beside := stop()
			beside.check(t)
			printf("%s, `LIMITS=%s` | %v | %v | %.0f | %.0f |", row, limits, percentile(beside.takes, .5), percentile(beside.takes, .99),
				float64(answered.Load())/stepTime.Seconds(), float64(refused.Load())/stepTime.Seconds())
		}
		s.Stop()
	}
}

// flood reads for the time of a step.
func flood(ctx context.Context, s *service, answered, refused *atomic.Int64) {
	ctx, cancel := context.WithTimeout(ctx, *stepTime)
	defer cancel()
	tags := make([]string, 42)
	for i := range tags {
		tags[i] = fmt.Sprintf("FLOOD-1-0-%05d", i)
	}
	var done sync.WaitGroup
	for range readers {
		done.Go(func() {
			for ctx.Err() == nil {
				err := s.post(ctx, `query($tags:[ID!]!){spools(tagSpools:$tags){version}}`, map[string]any{"tags": tags}, &struct{}{})
				switch {
				case err == nil:
					answered.Add(1)
				case ctx.Err() == nil:
					refused.Add(1)
				}
			}
		})
	}
	done.Wait()
}
