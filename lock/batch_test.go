package lock_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
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

// takeRequests are as many as a batch can have.
func takeRequests(named bool) []lock.TakeRequest {
	requests := make([]lock.TakeRequest, lock.MaxBatch)
	for i := range requests {
		requests[i] = takeRequest()
		if named {
			requests[i].RequestID = ptr(uuid.NewString())
		}
	}
	return requests
}

func tagsOf(requests []lock.TakeRequest) (tags []string) {
	for _, request := range requests {
		tags = append(tags, request.Tag)
	}
	return tags
}

func releaseRequests(taken []lock.Taken) (requests []lock.ReleaseRequest) {
	for _, taken := range taken {
		requests = append(requests, lock.ReleaseRequest{Tag: string(taken.Lock.Tag), Token: taken.Token.Reveal()})
	}
	return requests
}

func extendRequests(taken []lock.Taken, by time.Duration) (requests []lock.ExtendRequest) {
	for _, taken := range taken {
		requests = append(requests, lock.ExtendRequest{Tag: string(taken.Lock.Tag), Token: taken.Token.Reveal(), By: by})
	}
	return requests
}

// all are the values of a batch in which nothing may have failed.
func all[T any](t *testing.T) func([]lock.Result[T], error) []T {
	return func(results []lock.Result[T], err error) (values []T) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for i, result := range results {
			if result.Err != nil {
				t.Fatalf("item %d of %d got %v", i, len(results), result.Err)
			}
			values = append(values, result.Value)
		}
		return values
	}
}

// wantHistory fails unless exactly these types of events are in the history of the
// spool, newest first.
func wantHistory(t *testing.T, service *lock.Service, tag string, want ...lock.EventType) {
	t.Helper()
	page, err := service.History(testwait.Context(t), tag, lock.MaxPage, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []lock.EventType
	for _, event := range page.Events {
		got = append(got, event.Type)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("history of %s is %v, want %v", tag, got, want)
	}
}

// cut is when a proxy loses a reply.
type cut struct{ parts atomic.Int64 }

const never = -1

// after has the proxy pass on so many parts of the next reply of scripts, and then
// close the connection, once.
func (c *cut) after(parts int64) { c.parts.Store(parts + 1) }

// now reports whether this is the part.
func (c *cut) now(request []byte) bool {
	if !bytes.Contains(request, []byte("evalsha")) || c.parts.Load() == never {
		return false
	}
	if c.parts.Add(-1) > 0 {
		return false
	}
	c.parts.Store(never)
	return true
}

// behindProxy returns a service behind a proxy that cuts, whose scripts are known to
// Redis. What onCut does comes before the cut.
func behindProxy(t *testing.T, server *redistest.Server, onCut func()) (*lock.Service, *redistest.Proxy, *cut) {
	t.Helper()
	cut := &cut{}
	cut.parts.Store(never)
	proxy := redistest.StartProxy(t, server.Addr, func(request []byte) bool {
		now := cut.now(request)
		if now {
			onCut()
		}
		return now
	})
	patient := config()
	patient.Timeout = 5 * time.Second // a batch is to be answered in the first of three attempts
	service, _ := open(t, proxy.URL, patient)
	ctx := testwait.Context(t)
	taken, err := service.Take(ctx, takeRequest())
	if err != nil {
		t.Fatal(err)
	}
	tag, token := string(taken.Lock.Tag), taken.Token.Reveal()
	if _, err := service.Extend(ctx, lock.ExtendRequest{Tag: tag, Token: token, By: time.Minute}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Release(ctx, lock.ReleaseRequest{Tag: tag, Token: token}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Spool(ctx, tag); err != nil {
		t.Fatal(err)
	}
	return service, proxy, cut
}

// Promise 2 for batches: a reply that is lost, at its beginning or in its middle,
// costs nothing and doubles nothing, and the results are in order.
func TestLostRepliesOfBatches(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	service, proxy, cut := behindProxy(t, redistest.Start(t), func() {})
	for _, parts := range []int64{0, 1, 3} {
		requests := takeRequests(false)
		cut.after(parts)
		taken := all[lock.Taken](t)(service.TakeAll(ctx, requests))
		cut.after(parts)
		spools := all[lock.Spool](t)(service.Spools(ctx, tagsOf(requests)))
		for i, request := range requests {
			if string(taken[i].Lock.Tag) != request.Tag || taken[i].Replayed {
				t.Fatalf("take %d of %s is %+v", i, request.Tag, taken[i])
			}
			if spools[i].Lock == nil || spools[i].Version != taken[i].Lock.Version || spools[i].Lock.ExpiresAt != taken[i].Lock.ExpiresAt {
				t.Fatalf("spool %d is %+v after %+v", i, spools[i], taken[i])
			}
		}

		cut.after(parts)
		extended := all[lock.Lock](t)(service.ExtendAll(ctx, extendRequests(taken, 10*time.Minute)))
		for i := range requests {
			if extended[i].Version != taken[i].Lock.Version || extended[i].ExpiresAt != taken[i].Lock.ExpiresAt.Add(10*time.Minute) {
				t.Fatalf("extension %d is %+v after %+v", i, extended[i], taken[i])
			}
		}

		cut.after(parts)
		released := all[lock.Released](t)(service.ReleaseAll(ctx, releaseRequests(taken)))
		for i, request := range requests {
			if released[i].Outcome != lock.OutcomeReleased || string(released[i].Spool.Tag) != request.Tag || released[i].Spool.Lock != nil {
				t.Fatalf("release %d of %s is %+v", i, request.Tag, released[i])
			}
			wantHistory(t, service, request.Tag, lock.EventReleased, lock.EventExtended, lock.EventTaken)
		}
	}
	if proxy.Dropped() != 3*4 {
		t.Fatalf("%d replies were lost, want %d", proxy.Dropped(), 3*4)
	}
}

// Promise 5 for batches: Redis hangs when a part of the answer is there. That part
// stands; the rest is of unknown outcome, and there for the next sending.
func TestRedisHangsInTheMiddleOfABatch(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	server := redistest.Start(t)
	service, _, cut := behindProxy(t, server, server.Pause)
	requests := takeRequests(true)
	cut.after(2)
	results, err := service.TakeAll(ctx, requests)
	if err != nil {
		t.Fatal(err)
	}
	answered := 0
	for _, result := range results {
		if result.Err == nil {
			answered++
			continue
		}
		wantUnavailable(t, result.Err, lock.OutcomeUnknown)
	}
	if answered == 0 || answered == len(results) {
		t.Fatalf("%d of %d are answered", answered, len(results))
	}
	server.Resume()
	again := all[lock.Taken](t)(service.TakeAll(ctx, requests))
	for i, request := range requests {
		if !again[i].Replayed || again[i].Token.Reveal() != "93:"+*request.RequestID ||
			results[i].Err == nil && again[i].Lock.Version != results[i].Value.Lock.Version {
			t.Fatalf("the request sent again got %+v after %+v", again[i], results[i])
		}
		wantHistory(t, service, request.Tag, lock.EventTaken)
	}
}

// Takes that nobody can send again, and whose answers were lost, are taken back; those
// of the same batch that were answered stay.
func TestLostTakesOfABatchAreTakenBack(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	server := redistest.Start(t)
	service, _, cut := behindProxy(t, server, server.Pause)
	requests := takeRequests(false)
	cut.after(2)
	results, err := service.TakeAll(ctx, requests)
	if err != nil {
		t.Fatal(err)
	}
	server.Resume()
	lost := 0
	for i, result := range results {
		if result.Err == nil {
			continue
		}
		lost++
		wantUnavailable(t, result.Err, lock.OutcomeUnknown)
		testwait.Until(t, "the orphan is free", func() bool {
			spool, err := service.Spool(ctx, requests[i].Tag)
			return err == nil && spool.Lock == nil && spool.Version > 0
		})
		wantHistory(t, service, requests[i].Tag, lock.EventReleased, lock.EventTaken)
	}
	if lost == 0 || lost == len(results) {
		t.Fatalf("%d of %d are lost", lost, len(results))
	}
	for i, spool := range all[lock.Spool](t)(service.Spools(ctx, tagsOf(requests))) {
		if results[i].Err == nil && (spool.Lock == nil || spool.Version != results[i].Value.Lock.Version) {
			t.Fatalf("spool is %+v after %+v", spool, results[i].Value)
		}
	}
}

// A caller who is gone when the answer comes learns no token, and nothing stays held.
func TestCallerOfABatchGone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	caller, leave := context.WithCancel(testwait.Context(t))
	var armed atomic.Bool
	proxy := redistest.StartProxy(t, server.Addr, func(request []byte) bool {
		if bytes.Contains(request, []byte("evalsha")) && armed.CompareAndSwap(true, false) {
			leave()
		}
		return false
	})
	service, _ := open(t, proxy.URL, config())
	if _, err := service.Take(testwait.Context(t), takeRequest()); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	requests := takeRequests(false)
	results, err := service.TakeAll(caller, requests)
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range results {
		wantUnavailable(t, result.Err, lock.OutcomeUnknown)
		testwait.Until(t, "the orphan is free", func() bool {
			spool, err := service.Spool(testwait.Context(t), requests[i].Tag)
			return err == nil && spool.Lock == nil && spool.Version > 0
		})
	}
}

func TestBatchSentAgain(t *testing.T) {
	t.Parallel()
	onBothServers(t, batchSentAgain)
}

func batchSentAgain(t *testing.T, url string) {
	ctx := testwait.Context(t)
	service, _ := open(t, url, config())
	requests := takeRequests(true)
	first := all[lock.Taken](t)(service.TakeAll(ctx, requests))
	again := all[lock.Taken](t)(service.TakeAll(ctx, requests))
	for i := range requests {
		if first[i].Replayed || !again[i].Replayed || again[i].Token.Reveal() != first[i].Token.Reveal() ||
			again[i].Lock.Version != first[i].Lock.Version || again[i].Lock.ExpiresAt != first[i].Lock.ExpiresAt {
			t.Fatalf("item %d is answered %+v, then %+v", i, first[i], again[i])
		}
		wantHistory(t, service, requests[i].Tag, lock.EventTaken)
	}
	extensions := extendRequests(first, time.Minute)
	for i := range extensions {
		extensions[i].RequestID = ptr(uuid.NewString())
	}
	once := all[lock.Lock](t)(service.ExtendAll(ctx, extensions))
	twice := all[lock.Lock](t)(service.ExtendAll(ctx, extensions))
	for i := range extensions {
		if once[i].ExpiresAt != first[i].Lock.ExpiresAt.Add(time.Minute) || twice[i].ExpiresAt != once[i].ExpiresAt {
			t.Fatalf("extension %d is %+v, then %+v", i, once[i], twice[i])
		}
	}
	for _, want := range []lock.ReleaseOutcome{lock.OutcomeReleased, lock.OutcomeAlreadyReleased} {
		for _, released := range all[lock.Released](t)(service.ReleaseAll(ctx, releaseRequests(first))) {
			if released.Outcome != want {
				t.Fatalf("release is %+v, want %s", released, want)
			}
		}
	}
}

// What is wrong with one item is its own affair.
func TestOneBrokenItemOfABatch(t *testing.T) {
	t.Parallel()
	const broken, invalid = 17, 31
	server := redistest.Start(t)
	ctx := testwait.Context(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	service, _ := open(t, server.URL, config())
	requests := takeRequests(false)
	if err := client.LPush(ctx, "spool_lock:"+requests[broken].Tag, "x").Err(); err != nil {
		t.Fatal(err)
	}
	requests[invalid].Tag = "{}"
	check := func(operation string, i int, err error) {
		t.Helper()
		switch i {
		case broken:
			if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Fatalf("%s of a key of another type got %v", operation, err)
			}
		case invalid:
			field := lock.FieldTag
			if operation == "read" {
				field = lock.FieldTags
			}
			_ = wantInvalid(t, err, field, lock.ReasonInvalidCharacter)
		default:
			if err != nil {
				t.Fatalf("%s %d got %v", operation, i, err)
			}
		}
	}
	takes, err := service.TakeAll(ctx, requests)
	if err != nil {
		t.Fatal(err)
	}
	taken := make([]lock.Taken, len(takes))
	for i, result := range takes {
		check("take", i, result.Err)
		taken[i] = result.Value
		taken[i].Lock.Tag = lock.Tag(requests[i].Tag)
		if result.Err != nil {
			taken[i].Token = taken[0].Token
		}
	}
	spools, err := service.Spools(ctx, tagsOf(requests))
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range spools {
		check("read", i, result.Err)
	}
	extended, err := service.ExtendAll(ctx, extendRequests(taken, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range extended {
		check("extension", i, result.Err)
	}
	released, err := service.ReleaseAll(ctx, releaseRequests(taken))
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range released {
		check("release", i, result.Err)
	}
}

// Promise 1 for batches: of several that want the same spools, in different orders,
// each spool goes to one, and the others are told to whom.
func TestSimultaneousBatches(t *testing.T) {
	t.Parallel()
	onBothServers(t, simultaneousBatches)
}

func simultaneousBatches(t *testing.T, url string) {
	const takers = 8
	ctx := testwait.Context(t)
	service, _ := open(t, url, config())
	wanted := takeRequests(false)
	var answers [takers][]lock.Result[lock.Taken]
	var batches sync.WaitGroup
	start := make(chan struct{})
	for taker := range takers {
		requests := slices.Clone(wanted)
		if taker%2 == 1 {
			slices.Reverse(requests)
		}
		for i := range requests {
			requests[i].WorkerID = strconv.Itoa(taker)
		}
		batches.Go(func() {
			<-start
			results, err := service.TakeAll(ctx, requests)
			if err != nil {
				t.Error(err)
			}
			if taker%2 == 1 {
				slices.Reverse(results)
			}
			answers[taker] = results
		})
	}
	close(start)
	batches.Wait()
	for i, request := range wanted {
		var winners []lock.Lock
		for _, results := range answers {
			if len(results) == len(wanted) && results[i].Err == nil {
				winners = append(winners, results[i].Value.Lock)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("%s was taken by %+v", request.Tag, winners)
		}
		for taker, results := range answers {
			if winners[0].Owner.ID == lock.WorkerID(strconv.Itoa(taker)) {
				continue
			}
			var occupied *lock.OccupiedError
			if !errors.As(results[i].Err, &occupied) || occupied.Lock.Owner.ID != winners[0].Owner.ID || occupied.Lock.Version != winners[0].Version {
				t.Fatalf("%d is told %v of %s, which %+v has", taker, results[i].Err, request.Tag, winners[0])
			}
		}
	}
}

// A Redis that forgot the scripts gets them again, and does each item once.
func TestScriptsForgottenBetweenBatches(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	service, _ := open(t, server.URL, config())
	forget := func() {
		t.Helper()
		if err := client.ScriptFlush(ctx).Err(); err != nil {
			t.Fatal(err)
		}
	}
	requests := takeRequests(false)
	forget()
	taken := all[lock.Taken](t)(service.TakeAll(ctx, requests))
	forget()
	extended := all[lock.Lock](t)(service.ExtendAll(ctx, extendRequests(taken, time.Minute)))
	forget()
	spools := all[lock.Spool](t)(service.Spools(ctx, tagsOf(requests)))
	for i := range requests {
		if taken[i].Replayed || spools[i].Lock == nil || spools[i].Lock.ExpiresAt != extended[i].ExpiresAt ||
			extended[i].ExpiresAt != taken[i].Lock.ExpiresAt.Add(time.Minute) {
			t.Fatalf("item %d is %+v, then %+v, then %+v", i, taken[i], extended[i], spools[i])
		}
	}
	forget()
	for i, released := range all[lock.Released](t)(service.ReleaseAll(ctx, releaseRequests(taken))) {
		if released.Outcome != lock.OutcomeReleased {
			t.Fatalf("release %d is %+v", i, released)
		}
		wantHistory(t, service, requests[i].Tag, lock.EventReleased, lock.EventExtended, lock.EventTaken)
	}
}

// What concerns a batch as a whole is refused before anything is done.
func TestBatchesThatAreRefused(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	service, _ := open(t, redisurl.EmbeddedText, config())
	full := takeRequests(false)
	twice := slices.Clone(full)
	twice[49].Tag = " " + twice[0].Tag
	for name, test := range map[string]struct {
		requests []lock.TakeRequest
		reason   lock.Reason
	}{
		"none":        {nil, lock.ReasonOutOfRange},
		"too many":    {append(slices.Clone(full), takeRequest()), lock.ReasonOutOfRange},
		"a tag twice": {twice, lock.ReasonDuplicate},
	} {
		t.Run(name, func(t *testing.T) {
			var releases []lock.ReleaseRequest
			var extensions []lock.ExtendRequest
			for _, request := range test.requests {
				releases = append(releases, lock.ReleaseRequest{Tag: request.Tag, Token: "93:x"})
				extensions = append(extensions, lock.ExtendRequest{Tag: request.Tag, Token: "93:x", By: time.Minute})
			}
			_, err := service.TakeAll(ctx, test.requests)
			_ = wantInvalid(t, err, lock.FieldItems, test.reason)
			_, err = service.ReleaseAll(ctx, releases)
			_ = wantInvalid(t, err, lock.FieldItems, test.reason)
			_, err = service.ExtendAll(ctx, extensions)
			_ = wantInvalid(t, err, lock.FieldItems, test.reason)
			_, err = service.Spools(ctx, tagsOf(test.requests))
			_ = wantInvalid(t, err, lock.FieldTags, test.reason)
		})
	}
	for _, spool := range all[lock.Spool](t)(service.Spools(ctx, tagsOf(full))) {
		if spool.Version != 0 {
			t.Fatalf("spool is %+v after batches that were refused", spool)
		}
	}
}

// Without Redis, nothing of a batch was applied, and every item says so.
func TestBatchWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	service, _ := open(t, server.URL, config())
	server.Kill()
	results, err := service.TakeAll(testwait.Context(t), takeRequests(false))
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		wantUnavailable(t, result.Err, lock.NotApplied)
	}
}
