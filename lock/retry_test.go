package lock_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// losesReplies returns a service whose next reply of a script is lost, after
// Redis has run it, each time the switch is set. Its scripts are known to Redis.
func losesReplies(t *testing.T) (*lock.Service, *redistest.Proxy, *atomic.Bool) {
	t.Helper()
	var lose atomic.Bool
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr, func(request []byte) bool {
		return bytes.Contains(request, []byte("evalsha")) && lose.CompareAndSwap(true, false)
	})
	service, _ := open(t, proxy.URL, config())
	ctx := testwait.Context(t)
	taken, err := service.Take(ctx, takeRequest())
	if err != nil {
		t.Fatal(err)
	}
	token := taken.Token.Reveal()
	if _, err := service.Extend(ctx, lock.ExtendRequest{Tag: string(taken.Lock.Tag), Token: token, By: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Release(ctx, lock.ReleaseRequest{Tag: string(taken.Lock.Tag), Token: token}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Spool(ctx, string(taken.Lock.Tag)); err != nil {
		t.Fatal(err)
	}
	return service, proxy, &lose
}

// Promise 2: a lost reply of Redis costs nothing and doubles nothing.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	const rounds = 50
	ctx := testwait.Context(t)
	service, proxy, lose := losesReplies(t)
	for range rounds {
		request := takeRequest()
		lose.Store(true)
		taken, err := service.Take(ctx, request)
		if err != nil || taken.Replayed {
			t.Fatalf("take is %+v, %v", taken, err)
		}
		spool, err := service.Spool(ctx, request.Tag)
		if err != nil || spool.Lock == nil || spool.Version != taken.Lock.Version || spool.Lock.ExpiresAt != taken.Lock.ExpiresAt {
			t.Fatalf("spool is %+v, %v after %+v", spool, err, taken)
		}

		lose.Store(true)
		extended, err := service.Extend(ctx, lock.ExtendRequest{
			Tag: request.Tag, Token: taken.Token.Reveal(), By: 10 * time.Minute,
		})
		if err != nil || extended.ExpiresAt != taken.Lock.ExpiresAt.Add(10*time.Minute) || extended.Version != taken.Lock.Version {
			t.Fatalf("extension is %+v, %v after %+v", extended, err, taken)
		}
		if spool, err = service.Spool(ctx, request.Tag); err != nil || spool.Lock.ExpiresAt != extended.ExpiresAt {
			t.Fatalf("spool is %+v, %v after %+v", spool, err, extended)
		}

		lose.Store(true)
		released, err := service.Release(ctx, lock.ReleaseRequest{Tag: request.Tag, Token: taken.Token.Reveal()})
		if err != nil || released.Outcome != lock.OutcomeReleased || released.Spool.Lock != nil {
			t.Fatalf("release is %+v, %v", released, err)
		}
		if spool, err = service.Spool(ctx, request.Tag); err != nil || spool != released.Spool {
			t.Fatalf("spool is %+v, %v after %+v", spool, err, released)
		}
	}
	if proxy.Dropped() != 3*rounds {
		t.Fatalf("%d replies were lost, want %d", proxy.Dropped(), 3*rounds)
	}
}

// Each attempt has its share of the deadline: where the answer does not come and the
// connection stays open, there is time for another.
func TestSwallowedReply(t *testing.T) {
	t.Parallel()
	var swallow atomic.Bool
	proxy := redistest.StartProxy(t, redistest.Start(t).Addr, func(request []byte) bool {
		swallowed := bytes.Contains(request, []byte("evalsha")) && swallow.CompareAndSwap(true, false)
		if swallowed {
			<-t.Context().Done()
		}
		return swallowed
	})
	patient := config()
	patient.Timeout = 4 * time.Second
	service, _ := open(t, proxy.URL, patient)
	if _, err := service.Take(testwait.Context(t), takeRequest()); err != nil {
		t.Fatal(err)
	}
	swallow.Store(true)
	if taken, err := service.Take(testwait.Context(t), takeRequest()); err != nil || swallow.Load() {
		t.Fatalf("a take whose first answer does not come is answered %+v, %v", taken, err)
	}
}

// A request id makes the client's own repetition safe, too.
func TestLostReplyOfARepeatedRequest(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	service, _, lose := losesReplies(t)
	request := takeRequest()
	request.RequestID = ptr(uuid.NewString())
	lose.Store(true)
	first, err := service.Take(ctx, request)
	if err != nil || !first.Replayed {
		t.Fatalf("the attempt after a lost one is answered %+v, %v", first, err)
	}
	lose.Store(true)
	second, err := service.Take(ctx, request)
	if err != nil || !second.Replayed || second.Token.Reveal() != first.Token.Reveal() {
		t.Fatalf("second answer is %+v, %v", second, err)
	}
	extension := lock.ExtendRequest{
		Tag: request.Tag, Token: first.Token.Reveal(), By: time.Minute, RequestID: ptr(uuid.NewString()),
	}
	for range 2 {
		lose.Store(true)
		extended, err := service.Extend(ctx, extension)
		if err != nil || extended.ExpiresAt != first.Lock.ExpiresAt.Add(time.Minute) {
			t.Fatalf("extension is %+v, %v", extended, err)
		}
	}
}

// wantUnavailable fails unless err is an *UnavailableError of the outcome.
func wantUnavailable(t *testing.T, err error, want lock.Outcome) {
	t.Helper()
	if outcome(t, err) != want {
		t.Fatalf("error is %v, want it unavailable with outcome %s", err, want)
	}
}

// outcome fails unless err is an *UnavailableError.
func outcome(t *testing.T, err error) lock.Outcome {
	t.Helper()
	var unavailable *lock.UnavailableError
	if !errors.As(err, &unavailable) {
		t.Fatalf("error is %v, want it unavailable", err)
	}
	return unavailable.Outcome
}

// impatient is a configuration whose timeout is long beside what a busy machine may
// lose.
func impatient() lock.Config {
	c := config()
	c.Timeout = 8 * time.Second
	return c
}

// within runs op and fails if it takes twice the operation's timeout: each of the
// attempts with a timeout of its own would take longer.
func within(t *testing.T, timeout time.Duration, op func() error) error {
	t.Helper()
	begun := time.Now()
	err := op()
	if took := time.Since(begun); took > 2*timeout {
		t.Errorf("it took %v to say %v", took, err)
	}
	return err
}

// Promise 5: a Redis that hangs.
func TestHangingRedis(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	server := redistest.Start(t)
	service, _ := open(t, server.URL, impatient())
	hold := func() (lock.TakeRequest, lock.Taken) {
		t.Helper()
		request := takeRequest()
		taken, err := service.Take(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		return request, taken
	}
	held, taken := hold()
	releasing, released := hold()
	// Redis must know the scripts, or it has nothing to run on waking.
	_, scratch := hold()
	tag, token := string(scratch.Lock.Tag), scratch.Token.Reveal()
	if _, err := service.Extend(ctx, lock.ExtendRequest{Tag: tag, Token: token, By: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Release(ctx, lock.ReleaseRequest{Tag: tag, Token: token}); err != nil {
		t.Fatal(err)
	}

	unnamed, named := takeRequest(), takeRequest()
	named.RequestID = ptr(uuid.NewString())
	server.Pause()
	operations := []func() error{
		func() error { _, err := service.Take(ctx, unnamed); return err },
		func() error { _, err := service.Take(ctx, named); return err },
		func() error {
			_, err := service.Extend(ctx, lock.ExtendRequest{Tag: held.Tag, Token: taken.Token.Reveal(), By: time.Minute})
			return err
		},
		func() error {
			_, err := service.Release(ctx, lock.ReleaseRequest{Tag: releasing.Tag, Token: released.Token.Reveal()})
			return err
		},
	}
	errs := make([]error, len(operations))
	var answered sync.WaitGroup
	for i, operation := range operations {
		answered.Go(func() { errs[i] = within(t, impatient().Timeout, operation) })
	}
	answered.Wait()
	wantUnavailable(t, within(t, impatient().Timeout, func() error { _, err := service.Spool(ctx, held.Tag); return err }), lock.NotApplied)
	// What was sent is unknown. What waited for another connection was not sent.
	unknown := make([]bool, len(errs))
	for i, err := range errs {
		unknown[i] = outcome(t, err) == lock.OutcomeUnknown
	}
	if !slices.Contains(unknown, true) {
		t.Fatalf("on a connection to a Redis that hangs, the errors are %v", errs)
	}
	server.Resume()

	// The request that can be sent again gets its lock, whether or not Redis ran it
	// on waking.
	again, err := service.Take(ctx, named)
	if err != nil || again.Token.Reveal() != "93:"+*named.RequestID || again.Replayed && !unknown[1] {
		t.Fatalf("the request sent again got %+v, %v", again, err)
	}
	// The one that cannot is taken back, and nobody is in the way of the next.
	var next lock.Taken
	testwait.Until(t, "the orphan is free", func() bool {
		request := unnamed
		request.WorkerID = "94"
		next, err = service.Take(ctx, request)
		return err == nil
	})
	spool, err := service.Spool(ctx, unnamed.Tag)
	if err != nil || spool.Lock == nil || spool.Lock.Owner.ID != "94" || spool.Version != next.Lock.Version {
		t.Fatalf("spool is %+v, %v", spool, err)
	}
	// Attempts that Redis ran late extended once, if at all.
	spool, err = service.Spool(ctx, held.Tag)
	if err != nil || spool.Lock == nil || spool.Version != taken.Lock.Version {
		t.Fatalf("spool is %+v, %v", spool, err)
	}
	if by := spool.Lock.ExpiresAt.Sub(taken.Lock.ExpiresAt); by != 0 && (by != time.Minute || !unknown[2]) {
		t.Fatalf("the lock was extended by %v", by)
	}
	repeated, err := service.Release(ctx, lock.ReleaseRequest{Tag: releasing.Tag, Token: released.Token.Reveal()})
	if err != nil || !repeated.Outcome.Released() || repeated.Spool.Lock != nil {
		t.Fatalf("the release sent again got %+v, %v", repeated, err)
	}
}

// Promise 5: a Redis that is gone, and comes back.
func TestKilledRedis(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	service, _ := open(t, server.URL, impatient())
	held := takeRequest()
	taken, err := service.Take(ctx, held)
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	for range 5 {
		err := within(t, impatient().Timeout, func() error { _, err := service.Take(ctx, takeRequest()); return err })
		var unavailable *lock.UnavailableError
		if !errors.As(err, &unavailable) {
			t.Fatalf("a take without Redis got %v", err)
		}
	}
	// With nobody listening, nothing can have been applied.
	_, err = service.Take(ctx, takeRequest())
	wantUnavailable(t, err, lock.NotApplied)

	server.Restart()
	testwait.Until(t, "Redis is back", func() bool {
		_, err := service.Take(ctx, takeRequest())
		return err == nil
	})
	spool, err := service.Spool(ctx, held.Tag)
	if err != nil || spool.Lock == nil || spool.Version != taken.Lock.Version || spool.Lock.Owner.Name != "MR(93)" {
		t.Fatalf("spool is %+v, %v after the restart", spool, err)
	}
	released, err := service.Release(ctx, lock.ReleaseRequest{Tag: held.Tag, Token: taken.Token.Reveal()})
	if err != nil || released.Outcome != lock.OutcomeReleased || released.Spool.Version <= taken.Lock.Version {
		t.Fatalf("release is %+v, %v", released, err)
	}
}

func TestCallerGoneBefore(t *testing.T) {
	t.Parallel()
	service, _ := open(t, redisurl.EmbeddedText, config())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	request := takeRequest()
	_, err := service.Take(ctx, request)
	wantUnavailable(t, err, lock.NotApplied)
	spool, err := service.Spool(testwait.Context(t), request.Tag)
	if err != nil || spool.Version != 0 {
		t.Fatalf("spool is %+v, %v", spool, err)
	}
}

// What Redis says for good is not tried again, and is no unavailability.
func TestBrokenStoreIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	ctx := testwait.Context(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	request := takeRequest()
	if err := client.HSet(ctx, "spool_lock:"+request.Tag, "a", "b").Err(); err != nil {
		t.Fatal(err)
	}
	service, _ := open(t, server.URL, config())
	_, err := service.Take(ctx, request)
	var unavailable *lock.UnavailableError
	if err == nil || errors.As(err, &unavailable) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Fatalf("a lock key of another type gives %v", err)
	}
	if _, err := service.Spool(ctx, request.Tag); err == nil {
		t.Fatal("a lock key of another type reads as a spool")
	}
}

// overloaded is a store that has no room for any operation, after so many answers were
// lost.
type overloaded struct {
	lock.Store
	lost, attempts int
}

func (o *overloaded) Take(_ context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	o.attempts++
	failed := &lock.UnavailableError{Outcome: lock.NotApplied, Overloaded: true}
	if o.attempts <= o.lost {
		failed = &lock.UnavailableError{Outcome: lock.OutcomeUnknown}
	}
	results := make([]lock.Result[lock.Taken], len(cmds))
	for i := range results {
		results[i].Err = failed
	}
	return results
}

// Further attempts would only add to what a store has too much of. The outcome is still
// that of all attempts.
func TestOverloadedStoreIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for lost, want := range []lock.Outcome{lock.NotApplied, lock.OutcomeUnknown} {
		store := &overloaded{lost: lost}
		service := serve(t, store, config(), redistest.NewLog(t).Logger())
		request := takeRequest()
		request.RequestID = ptr(uuid.NewString())
		_, err := service.Take(testwait.Context(t), request)
		wantUnavailable(t, err, want)
		if store.attempts != lost+1 {
			t.Errorf("after %d lost answers, %d attempts were made", lost, store.attempts)
		}
	}
}
