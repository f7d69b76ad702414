//go:build bench

package bench_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
	"spoollock/repository/redistest"
)

const (
	hostileTime = 5 * time.Second      // for each row
	takeEvery   = 5 * time.Millisecond // a take begins, whether or not those before it have ended
	timeout     = 2 * time.Second      // the defaults of the program
	attempts    = 3
)

// hostile is what another program did to a spool, and what readers then ask of it.
type hostile struct {
	what string
	do   func(*bench, string)
	ask  func(context.Context, *lock.Service, string) error
}

// TestHostileSizes prints how long takes of other spools wait while readers ask for one that
// another program has made very large. The readers have a service of their own, so that they
// share no connection and no circuit with the takes.
func TestHostileSizes(t *testing.T) {
	rows := []string{
		"| the spool | readers | reads a second | failed | a read, p50 | takes | failed | p50 | p99 | longest | longest script |",
		"|---|---|---|---|---|---|---|---|---|---|---|",
	}
	for _, h := range []hostile{
		{"sound", func(*bench, string) {}, readSpool},
		{"a value of 64 MB", growLock(64 << 20), readSpool},
		{"a value of 512 MB", growLock(512 << 20), readSpool},
		{"sound, its history is read", func(*bench, string) {}, readHistory},
		{"a history of 500,000 foreign entries, which is read", lengthenHistory, readHistory},
		{"a history of 64 MB, which is read", growHistory, readHistory},
		{"a history of 64 MB, the spool is released and taken", growHistory, releaseAndTake},
		{"500,000 entries, the spool is released and taken", lengthenHistory, releaseAndTake},
	} {
		for _, readers := range []int{0, 1, 4} {
			server := redistest.Start(t) // the last one may be busy for a while
			b := &bench{t: t, client: server.Client(), service: newService(t, server.URL, timeout, attempts)}
			rows = append(rows, b.measureHostile(h, newService(t, server.URL, timeout, attempts), readers))
			_ = b.client.Close()
			server.Kill()
		}
	}
	fmt.Printf("A take begins every %v, %d in all. Times in ms.\n\n%s\n\n", takeEvery, hostileTime/takeEvery, strings.Join(rows, "\n"))
}

func readSpool(ctx context.Context, service *lock.Service, tag string) error {
	_, err := service.Spool(ctx, tag)
	return err
}

func readHistory(ctx context.Context, service *lock.Service, tag string) error {
	_, err := service.History(ctx, tag, lock.MaxPage, nil)
	return err
}

func releaseAndTake(ctx context.Context, service *lock.Service, tag string) error {
	taken, err := service.Take(ctx, lock.TakeRequest{Tag: tag, WorkerID: "94", WorkerName: "JP(94)"})
	if errors.As(err, new(*lock.OccupiedError)) {
		return nil // another one of the readers has it
	}
	if err != nil {
		return err
	}
	_, err = service.Release(ctx, lock.ReleaseRequest{Tag: tag, Token: taken.Token.Reveal()})
	return err
}

// growLock makes the value of the lock so many bytes long.
func growLock(size int64) func(*bench, string) {
	return func(b *bench, tag string) {
		key := "spool_lock:" + tag
		for _, err := range []error{
			b.client.Del(b.t.Context(), key).Err(),
			b.client.SetRange(b.t.Context(), key, size-1, "!").Err(),
			b.client.SetRange(b.t.Context(), key, 0, "94:").Err(),
		} {
			if err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// lengthenHistory puts a list of half a million entries in the place of the history.
func lengthenHistory(b *bench, tag string) {
	key := b.historyKey(tag)
	entries := make([]any, 1000)
	for i := range entries {
		entries[i] = strings.Repeat("of another program ", 5)
	}
	err := b.client.Del(b.t.Context(), key).Err()
	for range 500 {
		err = errors.Join(err, b.client.LPush(b.t.Context(), key, entries...).Err())
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// growHistory makes the history 64 MB longer.
func growHistory(b *bench, tag string) {
	key := b.historyKey(tag)
	if err := b.client.SetRange(b.t.Context(), key, 64<<20, "!").Err(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) historyKey(tag string) string {
	for _, key := range b.keysOf(tag) {
		if strings.HasPrefix(key, "spool_history") {
			return key
		}
	}
	b.t.Fatalf("%s has no history", tag)
	return ""
}

// measureHostile answers a row of the table.
func (b *bench) measureHostile(h hostile, service *lock.Service, readers int) string {
	tag := b.fresh()
	for range 10 {
		b.letGo(tag, b.hold(tag, nil))
	}
	take := func(ctx context.Context) error {
		_, err := b.service.Take(ctx, lock.TakeRequest{Tag: b.fresh(), WorkerID: "93", WorkerName: "MR(93)", Note: "weld 3 of 5"})
		return err
	}
	run(500, connections, func() { must[any](b)(nil, take(b.t.Context())) })
	run(500, connections, func() { must[any](b)(nil, readHistory(b.t.Context(), service, tag)) })
	h.do(b, tag)
	if err := errors.Join(
		b.client.ConfigSet(b.t.Context(), "slowlog-log-slower-than", "500").Err(), // µs
		b.client.Do(b.t.Context(), "SLOWLOG", "RESET").Err(),
	); err != nil {
		b.t.Fatal(err)
	}

	var asked, taken timings
	ctx := b.t.Context()
	begun := time.Now()
	var reading, taking sync.WaitGroup
	for range readers {
		reading.Go(func() {
			for time.Since(begun) < hostileTime {
				due := time.Now()
				if !asked.add(due, h.ask(ctx, service, tag)) {
					time.Sleep(50 * time.Millisecond) // as a client would
				}
			}
		})
	}
	for due := begun; due.Sub(begun) < hostileTime; due = due.Add(takeEvery) {
		time.Sleep(time.Until(due))
		taking.Go(func() { taken.add(due, take(ctx)) })
	}
	taking.Wait()
	reading.Wait()
	return fmt.Sprintf("| %s | %d | %.0f | %d | %s | %d | %d | %s | %s | %s | %s |", h.what, readers,
		float64(len(asked.took))/hostileTime.Seconds(), asked.failed, asked.percentile(.5),
		len(taken.took), taken.failed, taken.percentile(.5), taken.percentile(.99), taken.percentile(1), b.longestScript())
}

// longestScript is in ms, by Redis' log of slow commands.
func (b *bench) longestScript() string {
	b.t.Helper()
	var log []redis.SlowLog
	err := errors.New("not asked")
	for range 20 { // it may be busy with what it was asked
		if log, err = b.client.SlowLogGet(b.t.Context(), -1).Result(); err == nil {
			break
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	longest := time.Duration(0)
	for _, entry := range log {
		longest = max(longest, entry.Duration)
	}
	if longest == 0 {
		return "below 0.5"
	}
	return fmt.Sprintf("%.1f", longest.Seconds()*1000)
}

// timings are of calls by several goroutines.
type timings struct {
	mu     sync.Mutex
	took   []time.Duration
	failed int
}

// add counts a call that was due then and has ended now, and reports whether it succeeded.
func (t *timings) add(due time.Time, err error) bool {
	took := time.Since(due)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, took)
	if err != nil {
		t.failed++
	}
	return err == nil
}

// percentile is in ms, of the calls that failed too.
func (t *timings) percentile(p float64) string {
	if len(t.took) == 0 {
		return ""
	}
	slices.Sort(t.took)
	return fmt.Sprintf("%.1f", t.took[int(p*float64(len(t.took)-1))].Seconds()*1000)
}
