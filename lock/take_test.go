package lock_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/testwait"
)

func TestTakeDefaults(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	service, _ := open(t, redisurl.EmbeddedText, config())
	request := takeRequest()
	taken, err := service.Take(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(taken.Token.Reveal(), "93:") || taken.Replayed {
		t.Fatalf("taken is %+v", taken)
	}
	if _, err := lock.ParseRequestID(taken.Token.Reveal()[len("93:"):]); err != nil {
		t.Fatalf("the token's second half is no UUID v4: %v", err)
	}
	if ttl := taken.Lock.ExpiresAt.Sub(taken.Lock.AcquiredAt); ttl != time.Hour {
		t.Fatalf("time to live is %v, want the default of an hour", ttl)
	}
	if taken.Lock.Owner != (lock.Worker{ID: "93", Name: "MR(93)"}) || taken.Lock.Note != "weld 3" {
		t.Fatalf("lock is %+v", taken.Lock)
	}
}

func TestRequestSentAgain(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	service, _ := open(t, redisurl.EmbeddedText, config())
	request := takeRequest()
	request.RequestID = ptr(uuid.NewString())
	first, err := service.Take(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	if want := "93:" + *request.RequestID; first.Token.Reveal() != want || first.Replayed {
		t.Fatalf("first answer is %+v", first)
	}

	again := request
	again.TTL, again.Note, again.ExpectedVersion = ptr(time.Minute), "other", ptr(lock.Version(1))
	second, err := service.Take(ctx, again)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Replayed || second.Token.Reveal() != first.Token.Reveal() || second.Lock.ExpiresAt != first.Lock.ExpiresAt {
		t.Fatalf("second answer is %+v", second)
	}

	other := request
	other.WorkerID = "94"
	var occupied *lock.OccupiedError
	if _, err := service.Take(ctx, other); !errors.As(err, &occupied) || occupied.Lock.Owner.ID != "93" {
		t.Fatalf("another worker with the same request id got %v", err)
	}

	if _, err := service.Release(ctx, lock.ReleaseRequest{Tag: request.Tag, Token: first.Token.Reveal()}); err != nil {
		t.Fatal(err)
	}
	var expired *lock.ExpiredError
	if _, err := service.Take(ctx, request); !errors.As(err, &expired) || expired.Cause != lock.EndReleased {
		t.Fatalf("a spent request got %v", err)
	}
}

// What a take says of the worker, and whom it is for.
func TestTakeIsForWhomTheCallerMayActAs(t *testing.T) {
	t.Parallel()
	service, _ := open(t, redisurl.EmbeddedText, config())
	forbidden, invalid := &lock.ForbiddenError{}, &lock.InvalidError{}
	for name, test := range map[string]struct {
		caller   lock.Caller
		id, name string
		want     lock.Worker
		err      any
	}{
		"a worker says nothing":                 {caller: ana, want: ana.Worker},
		"a worker says who it is":               {caller: ana, id: "93", name: "MR(93)", want: ana.Worker},
		"a worker says its id":                  {caller: ana, id: "93", want: ana.Worker},
		"a worker says its name":                {caller: ana, name: "MR(93)", want: ana.Worker},
		"a worker by another name":              {caller: ana, id: "93", name: "Luis", err: &forbidden},
		"a worker as another":                   {caller: ana, id: "94", name: "Luis", err: &forbidden},
		"a worker as one whose id goes on":      {caller: ana, id: "93.1", name: "Luis", err: &forbidden},
		"a worker as nobody":                    {caller: ana, id: "9 3", err: &invalid},
		"a partner says nothing":                {caller: acme, want: acme.Worker},
		"a partner for its worker":              {caller: acme, id: "acme.7", name: "Seven", want: lock.Worker{ID: "acme.7", Name: "Seven"}},
		"a partner for its worker without name": {caller: acme, id: "acme.7", err: &invalid},
		"a partner for another's":               {caller: acme, id: "acme2.7", name: "Seven", err: &forbidden},
		"a partner for one like its own":        {caller: acme, id: "acme7", name: "Seven", err: &forbidden},
		"an administrator for another":          {caller: boss, id: "93", name: "MR(93)", want: ana.Worker},
		"an administrator says nothing":         {caller: boss, want: boss.Worker},
		"nobody knows who":                      {id: "93", name: "MR(93)", want: ana.Worker},
		"nobody knows who, and says nothing":    {err: &invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := lock.WithCaller(testwait.Context(t), test.caller)
			tag := "MK-" + uuid.NewString()
			taken, err := service.Take(ctx, lock.TakeRequest{Tag: tag, WorkerID: test.id, WorkerName: test.name})
			if test.err != nil {
				if !errors.As(err, test.err) {
					t.Fatalf("error is %v", err)
				}
				if spool, err := service.Spool(ctx, tag); err != nil || spool.Lock != nil {
					t.Fatalf("spool is %+v, %v", spool, err)
				}
				return
			}
			if err != nil || taken.Lock.Owner != test.want {
				t.Fatalf("taken for %+v, %v; want %+v", taken.Lock.Owner, err, test.want)
			}
		})
	}
}
