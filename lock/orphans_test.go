package lock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

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
	if _, err := service.Take(testwait.Context(t), takeRequest()); err != nil {
		t.Fatal(err)
	}
	ctx, cancelTake := context.WithCancel(testwait.Context(t))
	cancel = cancelTake
	armed.Store(true)
	request := takeRequest()
	_, err := service.Take(ctx, request)
	wantUnavailable(t, err, lock.OutcomeUnknown)
	testwait.Until(t, "the orphan is free", func() bool {
		spool, err := service.Spool(testwait.Context(t), request.Tag)
		return err == nil && spool.Lock == nil && spool.Version > 0
	})
}

// What Redis refuses for a while is tried again, and one spool that cannot be
// worked with holds up no other.
func TestOrphansAreTriedUntilTheyCanBeTakenBack(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
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
	testwait.Until(t, "the second orphan is free", free(second))
	if err := client.Del(ctx, "spool_lock:"+first.Tag).Err(); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the first orphan is free", free(first))
}

// Closing gives up on what cannot be taken back, in time.
func TestCloseWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	service, _ := open(t, server.URL, config())
	if _, err := service.Take(testwait.Context(t), takeRequest()); err != nil { // so that there is a connection
		t.Fatal(err)
	}
	server.Pause()
	_, err := service.Take(testwait.Context(t), takeRequest())
	wantUnavailable(t, err, lock.OutcomeUnknown)
	server.Kill()
	// The cleanup of open closes the service; goleak sees that nothing is left.
}

// Closing ends when it is told to, though Redis owes the answer to an attempt that has
// longer.
func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	config := config()
	config.Timeout = testwait.Patience
	_, store := open(t, server.URL, config)
	service := lock.NewService(store, config, redistest.NewLog(t).Logger())
	if _, err := service.Take(testwait.Context(t), takeRequest()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	brief, cancel := context.WithTimeout(testwait.Context(t), 2*time.Second)
	defer cancel()
	_, err := service.Take(brief, takeRequest())
	wantUnavailable(t, err, lock.OutcomeUnknown)
	closing, cancel := context.WithTimeout(testwait.Context(t), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	service.Close(closing)
	if took := time.Since(begun); took > testwait.Patience/2 {
		t.Fatalf("closing took %v", took)
	}
}

// A take that was refused does not come into force when an attempt of it is late.
func TestRefusedTakeComesLate(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
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
	testwait.Until(t, "the first attempt is on its way", func() bool { return proxy.Seen(*request.RequestID) })
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
	testwait.Until(t, "the first attempt has arrived", func() bool { return calls() > before })
	if spool, err := other.Spool(ctx, request.Tag); err != nil || spool.Lock != nil {
		t.Fatalf("the spool is %+v, %v", spool, err)
	}
}
