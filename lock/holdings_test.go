package lock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// A worker has at most as many locks as it may have, counted from what is known to be
// held and from what is under way.
func TestLocksPerWorker(t *testing.T) {
	t.Parallel()
	config := config()
	config.Limits.LocksPerWorker = 5
	var known atomic.Int64 // by the others
	config.Held = func(worker lock.WorkerID, _ lock.Tag) (int, bool) {
		if worker != "93" {
			return 0, false
		}
		return int(known.Load()), false
	}
	service, _ := open(t, redisurl.EmbeddedText, config)
	ctx := testwait.Context(t)
	known.Store(3)
	take := func(tag, worker string) error {
		_, err := service.Take(ctx, lock.TakeRequest{Tag: tag, WorkerID: worker, WorkerName: "N"})
		return err
	}
	// Nothing tells Held of these takes, so only those under way count.
	var requests []lock.TakeRequest
	for i := range 4 {
		requests = append(requests, lock.TakeRequest{Tag: fmt.Sprint("MK-", i), WorkerID: "93", WorkerName: "N"})
	}
	results, err := service.TakeAll(ctx, requests)
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range results {
		if limit := (*lock.LimitError)(nil); errors.As(result.Err, &limit) != (i >= 2) || i >= 2 && *limit != (lock.LimitError{Limit: 5, Held: 5}) {
			t.Errorf("the take %d is answered %v", i, result.Err)
		}
	}
	known.Store(5)
	if limit := (*lock.LimitError)(nil); !errors.As(take("MK-9", "93"), &limit) || limit.Held != 5 {
		t.Errorf("a take too many is answered %v", limit)
	}
	if err := take("MK-9", "94"); err != nil {
		t.Errorf("another worker's: %v", err)
	}
	known.Store(4)
	if err := take("MK-10", "93"); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// The locks of all workers of a partner count together when the partner takes one, and no
// other caller's takes are bounded by them.
func TestLocksPerPartner(t *testing.T) {
	t.Parallel()
	config := config()
	config.Limits.LocksPerWorker = 1
	var known atomic.Int64 // of the partner
	config.Held = func(lock.WorkerID, lock.Tag) (int, bool) { return 0, false }
	config.HeldByPartner = func(partner lock.WorkerID) int {
		if partner != "acme" {
			return 0
		}
		return int(known.Load())
	}
	service, _ := open(t, redisurl.EmbeddedText, config)
	take := func(caller lock.Caller, workers ...string) (limits []lock.LimitError) {
		t.Helper()
		var requests []lock.TakeRequest
		for _, worker := range workers {
			request := lock.TakeRequest{Tag: "MK-" + uuid.NewString(), WorkerID: worker, WorkerName: "N"}
			if lock.WorkerID(worker) == caller.Worker.ID {
				request.WorkerName = caller.Worker.Name
			}
			requests = append(requests, request)
		}
		results, err := service.TakeAll(lock.WithCaller(testwait.Context(t), caller), requests)
		if err != nil {
			t.Fatal(err)
		}
		for _, result := range results {
			limit := (*lock.LimitError)(nil)
			switch {
			case result.Err == nil:
				limits = append(limits, lock.LimitError{})
			case errors.As(result.Err, &limit):
				limits = append(limits, *limit)
			default:
				t.Fatal(result.Err)
			}
		}
		return limits
	}
	taken := lock.LimitError{}
	partners := lock.LimitError{Limit: 10, Held: 10, Partner: true}
	known.Store(8)
	for name, test := range map[string]struct{ got, want []lock.LimitError }{
		"a partner's":         {take(acme, "acme.0", "acme.1", "acme.2", "acme.3"), []lock.LimitError{taken, taken, partners, partners}},
		"one worker of it":    {take(acme, "acme.0", "acme.0"), []lock.LimitError{taken, {Limit: 1, Held: 1}}},
		"its own id":          {take(acme, "acme.0", "acme.eu.1", "acme"), []lock.LimitError{taken, taken, partners}},
		"another partner's":   {take(lock.Caller{Worker: lock.Worker{ID: "acm"}, Role: lock.RolePartner}, "acm.0", "acm.1", "acm.2"), []lock.LimitError{taken, taken, taken}},
		"an administrator's":  {take(boss, "acme.0", "acme.1", "acme.2"), []lock.LimitError{taken, taken, taken}},
		"an anonymous one's":  {take(lock.Caller{}, "acme.0", "acme.1", "acme.2"), []lock.LimitError{taken, taken, taken}},
		"once those are over": {take(acme, "acme.0"), []lock.LimitError{taken}},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, test.got, test.want)
		}
	}
	known.Store(10)
	if got := take(acme, "acme.99"); got[0] != partners {
		t.Errorf("at the limit: %+v", got)
	}
}

// Takes that are under way at the same time are counted together, and none of them once
// it is answered.
func TestLocksPerWorkerAtTheSameTime(t *testing.T) {
	t.Parallel()
	onBothServers(t, locksPerWorkerAtTheSameTime)
}

func locksPerWorkerAtTheSameTime(t *testing.T, url string) {
	config := config()
	config.Limits.LocksPerWorker = 10
	config.Held = func(lock.WorkerID, lock.Tag) (int, bool) { return 0, false }
	config.Timeout = testwait.Patience
	_, store := open(t, url, config)
	const takes = 50
	gate := gate{Store: store, begun: make(chan struct{}, takes+1), open: make(chan struct{})}
	service := lock.NewService(gate, config, redistest.NewLog(t).Logger())
	ctx := testwait.Context(t)
	var refused atomic.Int64
	var taking sync.WaitGroup
	var tags []string
	for i := range takes {
		tag := fmt.Sprint("MK-", i)
		tags = append(tags, tag)
		taking.Go(func() {
			_, err := service.Take(ctx, lock.TakeRequest{Tag: tag, WorkerID: "93", WorkerName: "N"})
			if limit := (*lock.LimitError)(nil); errors.As(err, &limit) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	for range takes {
		<-gate.begun
	}
	close(gate.open)
	taking.Wait()
	held := 0
	for _, spool := range all[lock.Spool](t)(service.Spools(ctx, tags)) {
		if spool.Lock != nil {
			held++
		}
	}
	if held != 10 || refused.Load() != 40 {
		t.Errorf("%d are held, and %d refused", held, refused.Load())
	}
	if _, err := service.Take(ctx, lock.TakeRequest{Tag: "MK-99", WorkerID: "93", WorkerName: "N"}); err != nil {
		t.Errorf("a take when none is under way: %v", err)
	}
}

// What was taken and is not answered yet is known already, and does not count twice.
func TestLocksPerWorkerOfWhatIsNotAnsweredYet(t *testing.T) {
	t.Parallel()
	config := config()
	config.Limits.LocksPerWorker = 2
	config.Timeout = testwait.Patience
	var known sync.Map // tags
	config.Held = func(_ lock.WorkerID, tag lock.Tag) (locks int, occupied bool) {
		known.Range(func(any, any) bool { locks++; return true })
		_, occupied = known.Load(tag)
		return locks, occupied
	}
	_, store := open(t, redisurl.EmbeddedText, config)
	gate := gate{Store: store, begun: make(chan struct{}, 2), open: make(chan struct{})}
	service := lock.NewService(gate, config, redistest.NewLog(t).Logger())
	ctx := testwait.Context(t)
	take := func(tag string) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := service.Take(ctx, lock.TakeRequest{Tag: tag, WorkerID: "93", WorkerName: "N"})
			done <- err
		}()
		<-gate.begun
		return done
	}
	first := take("MK-1")
	known.Store(lock.Tag("MK-1"), true) // as the view is told before the caller is
	second := take("MK-2")
	close(gate.open)
	for name, done := range map[string]chan error{"first": first, "second": second} {
		if err := <-done; err != nil {
			t.Errorf("the %s take: %v", name, err)
		}
	}
}

// A take that was to get no lock, and whose answer was lost, may be sent again when there
// is room.
func TestLostAnswerAtTheLimit(t *testing.T) {
	t.Parallel()
	config := config()
	config.Limits.LocksPerWorker = 1
	var full, lose atomic.Bool
	full.Store(true)
	config.Held = func(lock.WorkerID, lock.Tag) (int, bool) {
		if full.Load() {
			return 1, false
		}
		return 0, false
	}
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr, func(request []byte) bool {
		return bytes.Contains(request, []byte("eval")) && lose.CompareAndSwap(true, false)
	})
	service, _ := open(t, proxy.URL, config)
	ctx, id := testwait.Context(t), uuid.NewString()
	request := lock.TakeRequest{Tag: "MK-1", WorkerID: "93", WorkerName: "N", RequestID: &id}
	lose.Store(true)
	if _, err := service.Take(ctx, request); !errors.As(err, new(*lock.LimitError)) || lose.Load() {
		t.Fatalf("at the limit: %v", err)
	}
	// Whatever was to be taken back is, by now.
	service.Close(ctx)
	full.Store(false)
	another, _ := open(t, proxy.URL, config)
	if _, err := another.Take(ctx, request); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// gate is a store whose takes wait until it is open.
type gate struct {
	lock.Store
	begun chan struct{}
	open  chan struct{}
}

func (g gate) Take(ctx context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	g.begun <- struct{}{}
	<-g.open
	return g.Store.Take(ctx, cmds)
}

// refusing is a store that refuses each take as one of a worker at the limit.
type refusing struct{ lock.Store }

func (refusing) Take(_ context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	results := make([]lock.Result[lock.Taken], len(cmds))
	for i := range results {
		results[i].Err = &lock.AtLimitError{}
	}
	return results
}

// A store that finds a worker at a limit which the service did not see is broken.
func TestLimitThatTheServiceDidNotSee(t *testing.T) {
	t.Parallel()
	service := lock.NewService(refusing{}, config(), redistest.NewLog(t).Logger())
	_, err := service.Take(t.Context(), takeRequest())
	if !errors.As(err, new(*lock.AtLimitError)) || errors.As(err, new(*lock.LimitError)) {
		t.Errorf("the error is %#v", err)
	}
}
