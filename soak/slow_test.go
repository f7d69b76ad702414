//go:build soak

package soak_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/floor/floortest"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// TestSlowSubscribers has some subscribers stop reading while others go on.
func TestSlowSubscribers(t *testing.T) {
	ctx := scenario(t, "Subscribers that do not read", *silence+2*(*stepTime)+5*time.Minute)
	const many, slow, faster = 50, 20, 6 // faster: than the usual rate
	// As many bytes as a note can have, or the network holds it all.
	long := strings.Repeat("焊", lock.MaxNoteLength)
	server := redistest.Start(t)
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // the test is over
	s := launch(t, server.URL)
	testwait.Live(ctx, t, s.URL)
	c := gather(ctx, t, s, many)
	before := measure(ctx, t, s, c, "ALONE", long, faster**rate, *stepTime)

	var silent []*floortest.Client
	for range slow {
		subscriber := servicetest.Must[*floortest.Client](t)(floortest.Dial(ctx, s.URL))
		defer subscriber.Close()
		servicetest.Must[floortest.Update](t)(subscriber.Next(ctx))
		silent = append(silent, subscriber)
	}
	largest := watchMemory(ctx, s)
	beside := measure(ctx, t, s, c, "MK", long, faster**rate, *silence)
	peak := largest()
	left := s.Metrics()["spoollock_floor_subscribers"]

	// They read again, or connect anew: a little more happens, so that what they are
	// sent is not the past alone.
	_, _, err := s.take(ctx, "AFTERWARDS", note, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	truth := servicetest.Must[map[string]floortest.Held](t)(floortest.Truth(ctx, plain, ""))
	begun := time.Now()
	var cut atomic.Int64
	var reading sync.WaitGroup
	for _, subscriber := range silent {
		reading.Go(func() {
			anew, err := readAgain(ctx, s, subscriber, truth)
			if err != nil {
				t.Errorf("a slow subscriber does not come to what Redis has: %v", err)
			}
			if anew {
				cut.Add(1)
			}
		})
	}
	reading.Wait()
	took := time.Since(begun).Round(time.Millisecond)

	printf("%d subscribers that read, %d changes a second. Then %d more do not read for %v.\n", many, faster**rate, slow, *silence)
	printf("| | without | beside them |\n|---|---|---|")
	printf("| arrivals at those that read, p50, p99 | %v, %v | %v, %v |", before.reached.toEach(.5), before.reached.toEach(.99), beside.reached.toEach(.5), beside.reached.toEach(.99))
	printf("| take, p50, p99 | %v, %v | %v, %v |", before.takeP50, before.takeP99, beside.takeP50, beside.takeP99)
	printf("| memory of the service, MB | %.0f | %.0f at most |", before.memory/megabyte, peak/megabyte)
	printf("\n%.0f of the %d were still connected at the end of it, by the service's count; the others had been cut off,", left-many, slow)
	printf("as they took nothing for 10 s. %d connected anew, %d read on; all of them had the right set %v later.", cut.Load(), slow-cut.Load(), took)
}

// readAgain reads until the subscriber shows what it should, on a new connection if
// the old one was cut off.
func readAgain(ctx context.Context, s *service, subscriber *floortest.Client, truth map[string]floortest.Held) (anew bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, testwait.Patience)
	defer cancel()
	for {
		_, err := subscriber.Next(ctx)
		switch {
		case err != nil && anew:
			return anew, err
		case err != nil:
			if subscriber, err = floortest.Dial(ctx, s.URL); err != nil {
				return anew, err
			}
			defer subscriber.Close()
			anew = true
		case equal(subscriber.Held(), truth):
			return anew, nil
		}
	}
}

func equal(held, truth map[string]floortest.Held) bool {
	f := follower{held: held}
	return f.shows("", truth)
}

// watchMemory looks at the service's memory until the returned function is called,
// which answers the largest.
func watchMemory(ctx context.Context, s *service) (largest func() float64) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan float64, 1)
	go func() {
		most := 0.
		for ctx.Err() == nil {
			most = max(most, s.Memory())
			during(ctx, 200*time.Millisecond)
		}
		result <- most
	}()
	return func() float64 {
		cancel()
		return <-result
	}
}
