package lock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config() lock.Config {
	return lock.Config{
		Limits:   lock.Limits{DefaultTTL: time.Hour, MaxTTL: 12 * time.Hour},
		Timeout:  2 * time.Second,
		Attempts: 3,
	}
}

// open returns a service on the Redis at url, and its store.
func open(t testing.TB, url string, config lock.Config) (*lock.Service, *repository.Redis) {
	t.Helper()
	log := redistest.NewLog(t).Logger()
	store := redistest.Open(t, url, log, repository.Config{Timeout: config.Timeout, Attempts: config.Attempts})
	return serve(t, store, config, log), store
}

// serve returns a service on the store, and closes it when the test ends.
func serve(t testing.TB, store lock.Store, config lock.Config, log *slog.Logger) *lock.Service {
	t.Helper()
	service := lock.NewService(store, config, log)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		service.Close(ctx)
	})
	return service
}

// onBothServers runs a test on the embedded Redis and on a real one.
func onBothServers(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, redisurl.EmbeddedText)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, redistest.Start(t).URL)
	})
}

func takeRequest() lock.TakeRequest {
	return lock.TakeRequest{Tag: "MK-" + uuid.NewString(), WorkerID: "93", WorkerName: "MR(93)", Note: "weld 3"}
}

func ptr[T any](v T) *T { return &v }

func TestUpperCaseFindsTheSameSpool(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	upper := config()
	upper.Tags.UpperCase = true
	service, _ := open(t, redisurl.EmbeddedText, upper)
	request := takeRequest()
	request.Tag = " mk-1 "
	if _, err := service.Take(ctx, request); err != nil {
		t.Fatal(err)
	}
	spool, err := service.Spool(ctx, "Mk-1")
	if err != nil || spool.Lock == nil || spool.Tag != "MK-1" {
		t.Fatalf("spool is %+v, %v", spool, err)
	}
}

func TestInvalidInput(t *testing.T) {
	t.Parallel()
	service, _ := open(t, redisurl.EmbeddedText, config())
	ctx := testwait.Context(t)
	take := func(change func(*lock.TakeRequest)) error {
		request := takeRequest()
		change(&request)
		_, err := service.Take(ctx, request)
		return err
	}
	extend := func(change func(*lock.ExtendRequest)) error {
		request := lock.ExtendRequest{Tag: "MK-1", Token: "93:x", By: time.Minute}
		change(&request)
		_, err := service.Extend(ctx, request)
		return err
	}
	release := func(tag, token string) error {
		_, err := service.Release(ctx, lock.ReleaseRequest{Tag: tag, Token: token})
		return err
	}
	read := func(tag string) error {
		_, err := service.Spool(ctx, tag)
		return err
	}
	tests := map[string]struct {
		err    error
		field  lock.Field
		reason lock.Reason
	}{
		"take without a tag":      {take(func(r *lock.TakeRequest) { r.Tag = "" }), lock.FieldTag, lock.ReasonTooShort},
		"take without a worker":   {take(func(r *lock.TakeRequest) { r.WorkerID = "" }), lock.FieldWorkerID, lock.ReasonRequired},
		"take without a name":     {take(func(r *lock.TakeRequest) { r.WorkerName = "" }), lock.FieldWorkerName, lock.ReasonRequired},
		"take with a long note":   {take(func(r *lock.TakeRequest) { r.Note = strings.Repeat("x", 141) }), lock.FieldNote, lock.ReasonTooLong},
		"take for no time":        {take(func(r *lock.TakeRequest) { r.TTL = ptr(time.Duration(0)) }), lock.FieldTTL, lock.ReasonOutOfRange},
		"take for less":           {take(func(r *lock.TakeRequest) { r.TTL = ptr(-time.Second) }), lock.FieldTTL, lock.ReasonOutOfRange},
		"take for too long":       {take(func(r *lock.TakeRequest) { r.TTL = ptr(12*time.Hour + time.Second) }), lock.FieldTTL, lock.ReasonOutOfRange},
		"take below version 0":    {take(func(r *lock.TakeRequest) { r.ExpectedVersion = ptr(lock.Version(-1)) }), lock.FieldExpectedVersion, lock.ReasonOutOfRange},
		"take above version max":  {take(func(r *lock.TakeRequest) { r.ExpectedVersion = ptr(lock.MaxVersion + 1) }), lock.FieldExpectedVersion, lock.ReasonOutOfRange},
		"take with an empty id":   {take(func(r *lock.TakeRequest) { r.RequestID = ptr("") }), lock.FieldRequestID, lock.ReasonNotUUIDv4},
		"extend without a tag":    {extend(func(r *lock.ExtendRequest) { r.Tag = "{}" }), lock.FieldTag, lock.ReasonInvalidCharacter},
		"extend without a token":  {extend(func(r *lock.ExtendRequest) { r.Token = "" }), lock.FieldToken, lock.ReasonTooShort},
		"extend by nothing":       {extend(func(r *lock.ExtendRequest) { r.By = 0 }), lock.FieldExtension, lock.ReasonOutOfRange},
		"extend by too much":      {extend(func(r *lock.ExtendRequest) { r.By = 12*time.Hour + time.Second }), lock.FieldExtension, lock.ReasonOutOfRange},
		"extend with an odd id":   {extend(func(r *lock.ExtendRequest) { r.RequestID = ptr("1") }), lock.FieldRequestID, lock.ReasonNotUUIDv4},
		"release without a tag":   {release("", "93:x"), lock.FieldTag, lock.ReasonTooShort},
		"release without a token": {release("MK-1", ""), lock.FieldToken, lock.ReasonTooShort},
		"read without a tag":      {read("\u200b"), lock.FieldTag, lock.ReasonInvalidCharacter},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			invalid := wantInvalid(t, test.err, test.field, test.reason)
			if test.reason == lock.ReasonOutOfRange && (invalid.Min == nil || invalid.Max == nil) {
				t.Fatalf("bounds are %v to %v", invalid.Min, invalid.Max)
			}
		})
	}
}

// ExampleService shows a spool's way from one hand to the next.
func ExampleService() {
	log := slog.New(slog.DiscardHandler)
	store, err := repository.Open(repository.Config{
		URL: redisurl.URL{Form: redisurl.Embedded}, MaxConnections: 10, Timeout: time.Second, Memory: 24 * time.Hour,
	}, log)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close() //nolint:errcheck // an example
	service := lock.NewService(store, lock.Config{
		Limits:   lock.Limits{DefaultTTL: time.Hour, MaxTTL: 12 * time.Hour},
		Timeout:  2 * time.Second,
		Attempts: 3,
	}, log)
	ctx := context.Background()
	defer service.Close(ctx)

	taken, err := service.Take(ctx, lock.TakeRequest{Tag: "MK-1335", WorkerID: "93", WorkerName: "MR(93)"})
	fmt.Println(taken.Lock.Owner.Name, taken.Token, err)

	_, err = service.Take(ctx, lock.TakeRequest{Tag: "MK-1335", WorkerID: "94", WorkerName: "JP(94)"})
	var occupied *lock.OccupiedError
	fmt.Println(errors.As(err, &occupied), occupied.Lock.Owner.Name)

	released, err := service.Release(ctx, lock.ReleaseRequest{Tag: "MK-1335", Token: taken.Token.Reveal()})
	fmt.Println(released.Outcome, released.Spool.Lock == nil, err)
	// Output:
	// MR(93) [token] <nil>
	// true MR(93)
	// RELEASED true <nil>
}

// What is not let through is not even looked at, each item of several for itself;
// questions always are.
func TestAdmission(t *testing.T) {
	t.Parallel()
	config := config()
	let := 3
	limited := &lock.RateLimitedError{Reason: lock.ReasonAddress}
	config.Admit = func(context.Context) error {
		if let--; let < 0 {
			return limited
		}
		return nil
	}
	service, _ := open(t, redisurl.EmbeddedText, config)
	ctx := lock.WithCaller(testwait.Context(t), boss)
	results, err := service.TakeAll(ctx, []lock.TakeRequest{{Tag: "MK-1"}, {Tag: "{}"}, {Tag: "MK-2"}, {Tag: "MK-3"}, {Tag: "{}}"}})
	if err != nil || results[0].Err != nil || !errors.As(results[1].Err, new(*lock.InvalidError)) || results[2].Err != nil ||
		!errors.Is(results[3].Err, limited) || !errors.Is(results[4].Err, limited) {
		t.Fatalf("%+v, %v", results, err)
	}
	token := results[0].Value.Token.Reveal()
	for name, change := range map[string]func() error{
		"take": func() error { _, err := service.Take(ctx, lock.TakeRequest{Tag: "MK-3"}); return err },
		"release": func() error {
			_, err := service.Release(ctx, lock.ReleaseRequest{Tag: "MK-1", Token: token})
			return err
		},
		"extend": func() error { _, err := service.Extend(ctx, lock.ExtendRequest{Tag: "MK-1", Token: token}); return err },
		"resume": func() error { _, err := service.Resume(ctx, lock.ResumeRequest{Tag: "MK-1"}); return err },
		"force":  func() error { _, err := service.ForceRelease(ctx, lock.ForceReleaseRequest{Tag: "MK-1"}); return err },
	} {
		if err := change(); !errors.Is(err, limited) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if spools, err := service.Spools(ctx, []string{"MK-1", "MK-2", "MK-3"}); err != nil || spools[0].Value.Lock == nil || spools[1].Value.Lock == nil || spools[2].Value.Lock != nil {
		t.Errorf("%+v, %v", spools, err)
	}
}
