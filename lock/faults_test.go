package lock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/repository/redistest"
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
	ctx := newContext(t)
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
	ctx := newContext(t)
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
	if _, err := service.Take(newContext(t), takeRequest()); err != nil {
		t.Fatal(err)
	}
	swallow.Store(true)
	if taken, err := service.Take(newContext(t), takeRequest()); err != nil || swallow.Load() {
		t.Fatalf("a take whose first answer does not come is answered %+v, %v", taken, err)
	}
}

// A request id makes the client's own repetition safe, too.
func TestLostReplyOfARepeatedRequest(t *testing.T) {
	t.Parallel()
	ctx := newContext(t)
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

func TestReleaseSentTwiceWithLostReplies(t *testing.T) {
	t.Parallel()
	ctx := newContext(t)
	service, _, lose := losesReplies(t)
	request := takeRequest()
	taken, err := service.Take(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []lock.ReleaseOutcome{lock.OutcomeReleased, lock.OutcomeAlreadyReleased} {
		lose.Store(true)
		released, err := service.Release(ctx, lock.ReleaseRequest{Tag: request.Tag, Token: taken.Token.Reveal()})
		if err != nil || released.Outcome != want {
			t.Fatalf("release is %+v, %v; want %s", released, err, want)
		}
	}
}

// wantUnavailable fails unless err is an *UnavailableError of the outcome.
func wantUnavailable(t *testing.T, err error, want lock.Outcome) {
	t.Helper()
	var unavailable *lock.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.Outcome != want {
		t.Fatalf("error is %v, want it unavailable with outcome %s", err, want)
	}
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

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not seen in %v: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Promise 5: a Redis that hangs.
func TestHangingRedis(t *testing.T) {
	t.Parallel()
	ctx := newContext(t)
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

	// With connections in the pool, what is sent to the hanging Redis is a take, and
	// not the greeting of a connection.
	var warm sync.WaitGroup
	for range 40 {
		warm.Go(func() { _, _ = service.Spool(ctx, held.Tag) })
	}
	warm.Wait()

	unnamed, named := takeRequest(), takeRequest()
	named.RequestID = ptr(uuid.NewString())
	server.Pause()
	operations := []func() error{
		func() error { _, err := service.Spool(ctx, held.Tag); return err },
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
	wantUnavailable(t, errs[0], lock.NotApplied)
	for _, err := range errs[1:] {
		wantUnavailable(t, err, lock.OutcomeUnknown)
	}
	server.Resume()

	// The request that can be sent again gets its lock, whether or not Redis ran it
	// on waking.
	again, err := service.Take(ctx, named)
	if err != nil || again.Token.Reveal() != "93:"+*named.RequestID {
		t.Fatalf("the request sent again got %+v, %v", again, err)
	}
	// The one that cannot is taken back, and nobody is in the way of the next.
	var next lock.Taken
	eventually(t, "the orphan is free", func() bool {
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
	if by := spool.Lock.ExpiresAt.Sub(taken.Lock.ExpiresAt); by != 0 && by != time.Minute {
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
	ctx := newContext(t)
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
	eventually(t, "Redis is back", func() bool {
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

// A caller who is gone when the answer comes never learns the token.
func TestCallerGone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var cancel context.CancelFunc
	var armed atomic.Bool
	proxy := redistest.StartProxy(t, server.Addr, func(request []byte) bool {
		if bytes.Contains(request, []byte("evalsha")) && armed.CompareAndSwap(true, false) {
			cancel()
		}
		return false
	})
	service, _ := open(t, proxy.URL, config())
	if _, err := service.Take(newContext(t), takeRequest()); err != nil {
		t.Fatal(err)
	}
	ctx, cancelTake := context.WithCancel(newContext(t))
	cancel = cancelTake
	armed.Store(true)
	request := takeRequest()
	_, err := service.Take(ctx, request)
	wantUnavailable(t, err, lock.OutcomeUnknown)
	eventually(t, "the orphan is free", func() bool {
		spool, err := service.Spool(newContext(t), request.Tag)
		return err == nil && spool.Lock == nil && spool.Version > 0
	})
}

func TestCallerGoneBefore(t *testing.T) {
	t.Parallel()
	service, _ := open(t, redistest.Start(t).URL, config())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	request := takeRequest()
	_, err := service.Take(ctx, request)
	wantUnavailable(t, err, lock.NotApplied)
	spool, err := service.Spool(newContext(t), request.Tag)
	if err != nil || spool.Version != 0 {
		t.Fatalf("spool is %+v, %v", spool, err)
	}
}

// What Redis says for good is not tried again, and is no unavailability.
func TestBrokenStoreIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	ctx := newContext(t)
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

// What Redis refuses for a while is tried again, and one spool that cannot be
// worked with holds up no other.
func TestOrphansAreTriedUntilTheyCanBeTakenBack(t *testing.T) {
	t.Parallel()
	ctx := newContext(t)
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	var cancel context.CancelFunc
	var abandoned atomic.Value // the tag whose take is awaited, so that no retry of another passes for it
	abandoned.Store("")
	var broken string
	proxy := redistest.StartProxy(t, server.Addr, func(request []byte) bool {
		tag := abandoned.Load().(string)
		if tag != "" && bytes.Contains(request, []byte("spool_lock:"+tag)) && abandoned.CompareAndSwap(tag, "") {
			// The caller is gone, and the lock of another type when it is to be released.
			if broken != "" {
				if err := errors.Join(client.Del(ctx, "spool_lock:"+broken).Err(),
					client.LPush(ctx, "spool_lock:"+broken, "x").Err()); err != nil {
					t.Error(err)
				}
			}
			cancel()
		}
		return false
	})
	service, _ := open(t, proxy.URL, config())
	if _, err := service.Take(ctx, takeRequest()); err != nil {
		t.Fatal(err)
	}
	abandon := func(request lock.TakeRequest) {
		t.Helper()
		gone, done := context.WithCancel(ctx)
		defer done()
		cancel = done
		abandoned.Store(request.Tag)
		_, err := service.Take(gone, request)
		wantUnavailable(t, err, lock.OutcomeUnknown)
	}
	free := func(request lock.TakeRequest) func() bool {
		return func() bool {
			spool, err := service.Spool(ctx, request.Tag)
			return err == nil && spool.Lock == nil && spool.Version > 0
		}
	}
	first, second := takeRequest(), takeRequest()
	broken = first.Tag
	abandon(first)
	broken = ""
	abandon(second)
	eventually(t, "the second orphan is free", free(second))
	if err := client.Del(ctx, "spool_lock:"+first.Tag).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first orphan is free", free(first))
}

// Closing gives up on what cannot be taken back, in time.
func TestCloseWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	service, _ := open(t, server.URL, config())
	server.Pause()
	for range 3 {
		_, err := service.Take(newContext(t), takeRequest())
		wantUnavailable(t, err, lock.OutcomeUnknown)
	}
	server.Kill()
	// The cleanup of open closes the service; goleak sees that nothing is left.
}

// Closing ends when it is told to, though Redis owes the answer to an attempt that has
// longer.
func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	config := config()
	config.Timeout = patience
	_, store := open(t, server.URL, config)
	service := lock.NewService(store, config, redistest.NewLog(t).Logger())
	if _, err := service.Take(newContext(t), takeRequest()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	brief, cancel := context.WithTimeout(newContext(t), 2*time.Second)
	defer cancel()
	_, err := service.Take(brief, takeRequest())
	wantUnavailable(t, err, lock.OutcomeUnknown)
	closing, cancel := context.WithTimeout(newContext(t), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	service.Close(closing)
	if took := time.Since(begun); took > patience/2 {
		t.Fatalf("closing took %v", took)
	}
}

// A take that was refused does not come into force when an attempt of it is late.
func TestRefusedTakeComesLate(t *testing.T) {
	t.Parallel()
	ctx := newContext(t)
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr, nil)
	service, _ := open(t, proxy.URL, config())
	other, _ := open(t, server.URL, config())
	request := takeRequest()
	taken, err := other.Take(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.Spool(ctx, request.Tag); err != nil { // there is a connection
		t.Fatal(err)
	}
	const late = 1500 * time.Millisecond // for longer than an attempt, and not than all
	proxy.Delay(late)
	refused := make(chan error)
	request.RequestID = ptr(uuid.NewString())
	go func() {
		_, err := service.Take(ctx, request)
		refused <- err
	}()
	eventually(t, "the first attempt is on its way", func() bool { return proxy.Seen(*request.RequestID) })
	proxy.Delay(0)
	if err := <-refused; !errors.As(err, new(*lock.OccupiedError)) {
		t.Fatalf("the take is answered %v", err)
	}
	if _, err := other.Release(ctx, lock.ReleaseRequest{Tag: request.Tag, Token: taken.Token.Reveal()}); err != nil {
		t.Fatal(err)
	}
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // the test is over
	calls := func() int {
		stats, err := plain.InfoMap(ctx, "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		_, _ = fmt.Sscanf(stats["Commandstats"]["cmdstat_evalsha"], "calls=%d", &n)
		return n
	}
	before := calls()
	eventually(t, "the first attempt has arrived", func() bool { return calls() > before })
	if spool, err := other.Spool(ctx, request.Tag); err != nil || spool.Lock != nil {
		t.Fatalf("the spool is %+v, %v", spool, err)
	}
}
