package lock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/ratelimit"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// withFreshSpools is a configuration in which a caller can take so many fresh spools.
func withFreshSpools(limit int) lock.Config {
	config := config()
	config.BeginFresh = ratelimit.NewFreshSpools(limit).Begin
	return config
}

// wantTake takes a spool, and compares who refuses it: "" if it is not refused, "FRESH", "OCCUPIED",
// "LOCKS", "EXPIRED" or "VERSION".
func wantTake(ctx context.Context, t *testing.T, service *lock.Service, request lock.TakeRequest, want string) lock.Taken {
	t.Helper()
	taken, err := service.Take(ctx, request)
	if got := refusedBy(err); got != want {
		t.Errorf("the take of %s is refused by %q, %v, want %q", request.Tag, got, err, want)
	}
	return taken
}

func refusedBy(err error) string {
	limited := (*lock.RateLimitedError)(nil)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &limited) && limited.RetryAfter > 0 && limited.Reason == lock.ReasonIdentity:
		return "FRESH"
	case errors.As(err, new(*lock.OccupiedError)):
		return "OCCUPIED"
	case errors.As(err, new(*lock.LimitError)):
		return "LOCKS"
	case errors.As(err, new(*lock.ExpiredError)):
		return "EXPIRED"
	case errors.As(err, new(*lock.VersionConflictError)):
		return "VERSION"
	}
	return err.Error()
}

// A caller who has taken as many fresh spools as it may gets no other one, and every answer
// that it would have had besides.
func TestFreshSpools(t *testing.T) {
	t.Parallel()
	onBothServers(t, freshSpools)
}

func freshSpools(t *testing.T, url string) {
	config := withFreshSpools(3)
	config.Limits.LocksPerWorker = 50
	var held atomic.Int64
	config.Held = func(lock.WorkerID, lock.Tag) (int, bool) { return int(held.Load()), false }
	service, store := open(t, url, config)
	ctx := lock.WithCaller(testwait.Context(t), ana)
	others := lock.WithCaller(ctx, boss)
	request := func(tag string) lock.TakeRequest { return lock.TakeRequest{Tag: tag, RequestID: ptr(uuid.NewString())} }
	release := func(taken lock.Taken) {
		t.Helper()
		if _, err := service.Release(ctx, lock.ReleaseRequest{Tag: string(taken.Lock.Tag), Token: taken.Token.Reveal()}); err != nil {
			t.Fatal(err)
		}
	}

	known := wantTake(others, t, service, lock.TakeRequest{Tag: "MK-KNOWN", WorkerID: "93", WorkerName: ana.Worker.Name}, "")
	wantTake(others, t, service, lock.TakeRequest{Tag: "MK-BOSS"}, "")
	release(known)
	first := request("MK-1")
	one := wantTake(ctx, t, service, first, "")
	// None of these is another fresh one.
	for range 5 {
		wantTake(ctx, t, service, first, "")
		wantTake(ctx, t, service, request("MK-1"), "OCCUPIED")
		wantTake(ctx, t, service, request("MK-BOSS"), "OCCUPIED")
		release(wantTake(ctx, t, service, request("MK-KNOWN"), ""))
	}
	wantTake(ctx, t, service, request("MK-2"), "")
	wantTake(ctx, t, service, request("MK-3"), "")
	for i := range 5 {
		wantTake(ctx, t, service, request(fmt.Sprint("MK-4-", i)), "FRESH")
		wantTake(ctx, t, service, first, "")
		wantTake(ctx, t, service, request("MK-BOSS"), "OCCUPIED")
		release(wantTake(ctx, t, service, request("MK-KNOWN"), ""))
	}
	release(one)
	wantTake(ctx, t, service, first, "EXPIRED")
	again := request("MK-1")
	again.ExpectedVersion = ptr(lock.Version(1))
	wantTake(ctx, t, service, again, "VERSION")
	again.ExpectedVersion = nil
	wantTake(ctx, t, service, again, "")
	again.Tag, again.ExpectedVersion = "MK-5", ptr(lock.Version(0))
	wantTake(ctx, t, service, again, "FRESH")
	held.Store(50)
	wantTake(ctx, t, service, request("MK-KNOWN"), "LOCKS")
	wantTake(ctx, t, service, request("MK-6"), "LOCKS")
	held.Store(0)
	wantTake(lock.WithCaller(ctx, luis), t, service, lock.TakeRequest{Tag: "MK-7"}, "")

	spools := store.Read(ctx, []lock.Tag{"MK-4-0", "MK-5", "MK-6"})
	for _, spool := range spools {
		if spool.Err != nil || spool.Value.Version != 0 {
			t.Errorf("a refused take left %+v, %v", spool.Value, spool.Err)
		}
	}
}

// Each item of a batch counts, and of one that has some that are fresh the others are taken.
func TestFreshSpoolsInABatch(t *testing.T) {
	t.Parallel()
	onBothServers(t, freshSpoolsInABatch)
}

func freshSpoolsInABatch(t *testing.T, url string) {
	service, _ := open(t, url, withFreshSpools(3))
	ctx := lock.WithCaller(testwait.Context(t), acme)
	take := func(wanted string, tags ...string) {
		t.Helper()
		var requests []lock.TakeRequest
		for i, tag := range tags {
			requests = append(requests, lock.TakeRequest{Tag: tag, WorkerID: fmt.Sprint("acme.", i), WorkerName: "N"})
		}
		results, err := service.TakeAll(ctx, requests)
		var got []string
		for _, result := range results {
			got = append(got, refusedBy(result.Err))
			if result.Err == nil {
				if _, err := service.Release(ctx, lock.ReleaseRequest{Tag: string(result.Value.Lock.Tag), Token: result.Value.Token.Reveal()}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err != nil || fmt.Sprint(got) != wanted {
			t.Errorf("%v, %v, want %s", got, err, wanted)
		}
	}
	take("[ ]", "MK-1", "MK-2")
	// While the first is under way, it may be the third that there is room for.
	take("[  FRESH FRESH]", "MK-1", "MK-2", "MK-3", "MK-4")
	take("[ FRESH]", "MK-3", "MK-4")
	take("[  FRESH ]", "MK-3", "MK-2", "MK-4", "MK-1")
	take("[FRESH]", "MK-5")
}

// However many takes come at the same time, a caller gets as many fresh spools as it may.
func TestFreshSpoolsAtTheSameTime(t *testing.T) {
	t.Parallel()
	service, _ := open(t, redistest.Start(t).URL, withFreshSpools(20))
	ctx := lock.WithCaller(testwait.Context(t), ana)
	var taken atomic.Int64
	var taking sync.WaitGroup
	for i := range 100 {
		taking.Go(func() {
			_, err := service.Take(ctx, lock.TakeRequest{Tag: fmt.Sprint("MK-", i)})
			if refused := refusedBy(err); refused == "" {
				taken.Add(1)
			} else if refused != "FRESH" {
				t.Error(err)
			}
		})
	}
	taking.Wait()
	if taken.Load() != 20 {
		t.Errorf("%d are taken", taken.Load())
	}
	wantTake(ctx, t, service, lock.TakeRequest{Tag: "MK-100"}, "FRESH")
}

// A take counts though its caller does not wait for the answer, and once though the answer is
// lost on its way from Redis.
func TestFreshSpoolsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	var lose atomic.Bool
	type leaving struct {
		tag    string
		cancel context.CancelFunc
	}
	var leave atomic.Pointer[leaving]
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr, func(request []byte) bool {
		// A take that was lost before may be taken back at any time.
		if l := leave.Load(); l != nil && bytes.Contains(request, []byte(l.tag)) && leave.CompareAndSwap(l, nil) {
			l.cancel()
			return true
		}
		return bytes.Contains(request, []byte("MK-1")) && lose.CompareAndSwap(true, false)
	})
	service, _ := open(t, proxy.URL, withFreshSpools(3))
	ctx := lock.WithCaller(testwait.Context(t), ana)
	wantTake(lock.WithCaller(ctx, boss), t, service, lock.TakeRequest{Tag: "SP-1"}, "") // Redis has the script
	lose.Store(true)
	wantTake(ctx, t, service, lock.TakeRequest{Tag: "MK-1"}, "")
	if lose.Load() {
		t.Error("no answer was lost")
	}
	for i := range 2 {
		gone, cancel := context.WithCancel(ctx)
		tag := fmt.Sprint("MK-2-", i)
		leave.Store(&leaving{tag, cancel})
		if _, err := service.Take(gone, lock.TakeRequest{Tag: tag}); !lock.IsUnavailable(err) {
			t.Errorf("a caller who left is answered %v", err)
		}
		cancel()
	}
	wantTake(ctx, t, service, lock.TakeRequest{Tag: "MK-3"}, "FRESH")
}

// A take that is asked twice, because its spool is not fresh after all, is taken back too if its
// caller leaves.
func TestTakeOfAKnownSpoolIsTakenBack(t *testing.T) {
	t.Parallel()
	var answers atomic.Int64 // to takes of the spool, since the caller came
	var leave atomic.Pointer[context.CancelFunc]
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr, func(request []byte) bool {
		if !bytes.Contains(request, []byte("MK-KNOWN")) || leave.Load() == nil || answers.Add(1) < 2 {
			return false
		}
		(*leave.Swap(nil))()
		return true
	})
	service, _ := open(t, proxy.URL, withFreshSpools(1))
	ctx := lock.WithCaller(testwait.Context(t), ana)
	known := knownSpoolAtTheLimit(ctx, t, service)
	before, err := service.Spool(ctx, known.Tag)
	if err != nil || before.Lock != nil || before.Version == 0 {
		t.Fatalf("the spool is %+v, %v", before, err)
	}
	gone, cancel := context.WithCancel(ctx)
	defer cancel()
	leave.Store(&cancel)
	_, err = service.Take(gone, known)
	wantUnavailable(t, err, lock.OutcomeUnknown)
	testwait.Until(t, "the spool was taken and is free again", func() bool {
		spool, err := service.Spool(ctx, known.Tag)
		return err == nil && spool.Lock == nil && spool.Version > before.Version
	})
}

// knownSpoolAtTheLimit has the caller use up its one fresh spool, and returns the take of
// another one that is free and known.
func knownSpoolAtTheLimit(ctx context.Context, t *testing.T, service *lock.Service) lock.TakeRequest {
	t.Helper()
	wantTake(ctx, t, service, lock.TakeRequest{Tag: "SP-1"}, "")
	known := lock.TakeRequest{Tag: "MK-KNOWN", WorkerID: "93", WorkerName: ana.Worker.Name}
	taken := wantTake(lock.WithCaller(ctx, boss), t, service, known, "")
	if _, err := service.Release(ctx, lock.ReleaseRequest{Tag: known.Tag, Token: taken.Token.Reveal()}); err != nil {
		t.Fatal(err)
	}
	return known
}

// A take counts as one of a fresh spool if its caller leaves before the answer, unless it could
// not get the spool. If Redis does not answer, that is not the caller's doing.
func TestLostAnswersThatCountAsFresh(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limited, leaves, want bool
	}{
		"the caller leaves":              {leaves: true, want: true},
		"the caller leaves at the limit": {limited: true, leaves: true},
		"Redis does not answer":          {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(testwait.Context(t))
			defer cancel()
			proxy := redistest.StartProxy(t, redistest.Start(t).Addr, func(request []byte) bool {
				if !bytes.Contains(request, []byte("MK-1")) {
					return false
				}
				if c.leaves {
					cancel()
				}
				return true
			})
			counted := make(chan bool, 1)
			config := config()
			config.BeginFresh = func(context.Context) (end func(bool), err error) {
				if c.limited {
					err = &lock.RateLimitedError{RetryAfter: time.Hour}
				}
				return func(fresh bool) { counted <- fresh }, err
			}
			service, _ := open(t, proxy.URL, config)
			_, err := service.Take(lock.WithCaller(ctx, ana), lock.TakeRequest{Tag: "MK-1", RequestID: ptr(uuid.NewString())})
			wantUnavailable(t, err, lock.OutcomeUnknown)
			if got := <-counted; got != c.want {
				t.Errorf("the take counts: %t", got)
			}
		})
	}
}

// deadlines is a store that remembers until when it may take.
type deadlines struct {
	lock.Store
	ofTakes []time.Time
}

func (d *deadlines) Take(ctx context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	deadline, _ := ctx.Deadline()
	d.ofTakes = append(d.ofTakes, deadline)
	return d.Store.Take(ctx, cmds)
}

// A take that is asked twice has the time of one.
func TestTakeOfAKnownSpoolHasOneDeadline(t *testing.T) {
	t.Parallel()
	config := withFreshSpools(1)
	config.Attempts = 1
	service, store := open(t, redistest.Start(t).URL, config)
	ctx := lock.WithCaller(testwait.Context(t), ana)
	known := knownSpoolAtTheLimit(ctx, t, service)
	watched := &deadlines{Store: store}
	wantTake(ctx, t, serve(t, watched, config, redistest.NewLog(t).Logger()), known, "")
	if got := watched.ofTakes; len(got) != 2 || got[1].After(got[0]) {
		t.Errorf("the deadlines are %v", got)
	}
}
