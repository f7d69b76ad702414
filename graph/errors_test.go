package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"

	"spoollock/floor"
	"spoollock/graph"
	"spoollock/lock"
)

// refusingStore fails each take with err.
type refusingStore struct {
	lock.Store

	err error
}

// Take implements [lock.Store].
func (s refusingStore) Take(_ context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	results := make([]lock.Result[lock.Taken], len(cmds))
	for i := range results {
		results[i].Err = s.err
	}
	return results
}

var (
	takenAt = time.Date(2026, 11, 23, 14, 5, 9, 123456789, time.UTC)
	heldBy  = lock.Lock{
		Tag: "MK-1", Owner: lock.Worker{ID: "94", Name: "JP(94)"}, Note: "weld 3", Version: 7,
		AcquiredAt: takenAt, ExpiresAt: takenAt.Add(time.Hour), Remaining: 90*time.Second + 1,
	}
	one, fifty = int64(1), int64(50)
)

// clientErrors are the errors that an operation answers, one of each kind, and what a
// client sees of each: the message and the extensions of a single operation's error, and
// what else is not null in the SpoolError of a batch's item.
var clientErrors = map[string]struct {
	err                       error
	message, extensions, item string
}{
	"occupied": {
		&lock.OccupiedError{Lock: heldBy},
		"Spool MK-1 is held by JP(94) (94) until 2026-11-23T15:05:09Z.",
		`{"acquiredAt":"2026-11-23T14:05:09.123Z","code":"SPOOL_OCCUPIED","expiresAt":"2026-11-23T15:05:09.123Z","note":"weld 3","ownerId":"94","ownerName":"JP(94)","remainingSeconds":91,"tagSpool":"MK-1","version":7}`,
		`{"code":"SPOOL_OCCUPIED","owner":{"acquiredAt":"2026-11-23T14:05:09.123Z","expiresAt":"2026-11-23T15:05:09.123Z","id":"lock:MK-1@7","note":"weld 3","ownerId":"94","ownerName":"JP(94)","remainingSeconds":91,"tagSpool":"MK-1","version":7},"retryable":false}`,
	},
	"occupied by another program": {
		&lock.OccupiedError{Lock: lock.Lock{Tag: "MK-1", Owner: lock.Worker{ID: lock.UnknownWorker}, Version: 1}},
		"Spool MK-1 is held by somebody whom another program did not name.",
		`{"acquiredAt":null,"code":"SPOOL_OCCUPIED","expiresAt":null,"note":null,"ownerId":"unknown","ownerName":null,"remainingSeconds":null,"tagSpool":"MK-1","version":1}`,
		`{"code":"SPOOL_OCCUPIED","owner":{"acquiredAt":null,"expiresAt":null,"id":"lock:MK-1@1","note":null,"ownerId":"unknown","ownerName":null,"remainingSeconds":null,"tagSpool":"MK-1","version":1},"retryable":false}`,
	},
	"version conflict": {
		&lock.VersionConflictError{Tag: "MK-1", Expected: 0, Actual: lock.MaxVersion},
		"Spool MK-1 has version 9007199254740991, not 0.",
		`{"actual":9007199254740991,"code":"VERSION_CONFLICT","expected":0,"tagSpool":"MK-1"}`,
		`{"actual":9007199254740991,"code":"VERSION_CONFLICT","expected":0,"retryable":false}`,
	},
	"expired": {
		&lock.ExpiredError{Tag: "MK-1", Cause: lock.EndExpired},
		"The lock on spool MK-1 has expired.",
		`{"cause":"EXPIRED","code":"LOCK_EXPIRED","tagSpool":"MK-1"}`,
		`{"cause":"EXPIRED","code":"LOCK_EXPIRED","retryable":false}`,
	},
	"released by another program": {
		&lock.ExpiredError{Tag: "MK-1", Cause: lock.EndReleasedExternally},
		"The lock on spool MK-1 was released by another program.",
		`{"cause":"RELEASED_EXTERNALLY","code":"LOCK_EXPIRED","tagSpool":"MK-1"}`,
		`{"cause":"RELEASED_EXTERNALLY","code":"LOCK_EXPIRED","retryable":false}`,
	},
	"invalid": {
		&lock.InvalidError{Field: lock.FieldRequestID, Reason: lock.ReasonNotUUIDv4, Problem: "must be a UUID v4"},
		"requestId must be a UUID v4.",
		`{"code":"BAD_USER_INPUT","field":"requestId","reason":"NOT_UUID_V4"}`,
		`{"code":"BAD_USER_INPUT","field":"requestId","reason":"NOT_UUID_V4","retryable":false}`,
	},
	"out of bounds": {
		&lock.InvalidError{Field: lock.FieldTTL, Reason: lock.ReasonOutOfRange, Problem: "must be 1 to 50", Min: &one, Max: &fifty},
		"ttlSeconds must be 1 to 50.",
		`{"code":"BAD_USER_INPUT","field":"ttlSeconds","maximum":50,"minimum":1,"reason":"OUT_OF_RANGE"}`,
		`{"code":"BAD_USER_INPUT","field":"ttlSeconds","maximum":50,"minimum":1,"reason":"OUT_OF_RANGE","retryable":false}`,
	},
	"above a maximum": {
		&lock.InvalidError{Field: lock.FieldExtension, Reason: lock.ReasonOutOfRange, Problem: "is too much", Max: &fifty},
		"additionalSeconds is too much.",
		`{"code":"BAD_USER_INPUT","field":"additionalSeconds","maximum":50,"reason":"OUT_OF_RANGE"}`,
		`{"code":"BAD_USER_INPUT","field":"additionalSeconds","maximum":50,"reason":"OUT_OF_RANGE","retryable":false}`,
	},
	"an input without a name in the schema": {
		&lock.InvalidError{Field: "other", Reason: lock.ReasonBlank, Problem: "is blank"},
		" is blank.",
		`{"code":"BAD_USER_INPUT","field":"","reason":"BLANK"}`,
		`{"code":"BAD_USER_INPUT","field":"","reason":"BLANK","retryable":false}`,
	},
	"not applied": {
		&lock.UnavailableError{Outcome: lock.NotApplied, Err: errors.New("redis: secret")},
		"Redis cannot be reached, accepts no changes, or did not answer in time. Try again.",
		`{"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryable":true}`,
		`{"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryable":true}`,
	},
	"outcome unknown": {
		&lock.UnavailableError{Outcome: lock.OutcomeUnknown, Err: errors.New("redis: secret")},
		"Redis cannot be reached, accepts no changes, or did not answer in time. Try again.",
		`{"code":"SERVICE_UNAVAILABLE","outcome":"UNKNOWN","retryable":true}`,
		`{"code":"SERVICE_UNAVAILABLE","outcome":"UNKNOWN","retryable":true}`,
	},
	"floor not live": {
		&lock.UnavailableError{Outcome: lock.NotApplied, Err: floor.ErrNotLive},
		"The floor is not known at the moment. Try again.",
		`{"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryable":true}`,
		`{"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED","retryable":true}`,
	},
	"unauthenticated": {
		lock.ErrUnauthenticated,
		"This needs a caller of whom it is known who they are.",
		`{"code":"UNAUTHENTICATED"}`,
		`{"code":"UNAUTHENTICATED","retryable":false}`,
	},
	"forbidden": {
		&lock.ForbiddenError{Required: lock.RoleAdmin},
		"This needs the role ADMIN.",
		`{"code":"FORBIDDEN","required":"ADMIN"}`,
		`{"code":"FORBIDDEN","required":"ADMIN","retryable":false}`,
	},
	"another's lock": {
		&lock.ForbiddenError{Owner: "94"},
		"The lock is that of worker 94, and the caller may not act as that worker.",
		`{"code":"FORBIDDEN","ownerId":"94"}`,
		`{"code":"FORBIDDEN","ownerId":"94","retryable":false}`,
	},
	"as another": {
		&lock.ForbiddenError{Problem: "the caller is not worker 94"},
		"The caller is not worker 94.",
		`{"code":"FORBIDDEN"}`,
		`{"code":"FORBIDDEN","retryable":false}`,
	},
	"limit reached": {
		&lock.LimitError{Limit: 200, Held: 201},
		"The worker holds 201 spools, of 200 that one may hold.",
		`{"code":"LOCK_LIMIT_REACHED","held":201,"limit":200}`,
		`{"code":"LOCK_LIMIT_REACHED","held":201,"limit":200,"retryable":false}`,
	},
	"rate limited by identity": {
		&lock.RateLimitedError{Reason: lock.ReasonIdentity, RetryAfter: 1500 * time.Millisecond},
		"The caller has asked for too many changes.",
		`{"code":"RATE_LIMITED","reason":"IDENTITY","retryAfterSeconds":2}`,
		`{"code":"RATE_LIMITED","reason":"IDENTITY","retryAfterSeconds":2,"retryable":true}`,
	},
	"rate limited by address": {
		&lock.RateLimitedError{Reason: lock.ReasonAddress, RetryAfter: time.Second},
		"Too many changes were asked for from the caller's address.",
		`{"code":"RATE_LIMITED","reason":"ADDRESS","retryAfterSeconds":1}`,
		`{"code":"RATE_LIMITED","reason":"ADDRESS","retryAfterSeconds":1,"retryable":true}`,
	},
	"wrapped": {
		fmt.Errorf("take: %w", &lock.VersionConflictError{Tag: "MK-1", Expected: 3, Actual: 4}),
		"Spool MK-1 has version 4, not 3.",
		`{"actual":4,"code":"VERSION_CONFLICT","expected":3,"tagSpool":"MK-1"}`,
		`{"actual":4,"code":"VERSION_CONFLICT","expected":3,"retryable":false}`,
	},
	"any other": {
		errors.New("redis: secret"),
		"Something went wrong on the server. Its log has the details under ID.",
		`{"code":"INTERNAL_SERVER_ERROR","errorId":"ID"}`,
		`{"code":"INTERNAL_SERVER_ERROR","errorId":"ID","retryable":false}`,
	},
}

const (
	takeOne  = `mutation($input:TomarSpoolInput!){tomarSpool(input:$input){replayed}}`
	takeMany = `mutation($input:TomarSpoolInput!){tomarSpools(input:{items:[$input]}){results{error{
		code message retryable owner{id tagSpool ownerId ownerName note version acquiredAt expiresAt remainingSeconds}
		cause expected actual field reason outcome retryAfterSeconds
		minimum maximum limit held ownerId required errorId}}}}`
)

// A client is told the same of an error, whether the operation is about one spool or
// several.
func TestClientErrors(t *testing.T) {
	t.Parallel()
	errorID := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
	for name, test := range clientErrors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alone := take(t, test.err, takeOne)
			if len(alone.Errors) != 1 {
				t.Fatalf("the answer is %s with the errors %v", alone.Data, alone.Errors)
			}
			extensions, err := json.Marshal(alone.Errors[0].Extensions)
			if err != nil {
				t.Fatal(err)
			}
			message, item := spoolError(t, take(t, test.err, takeMany))
			for what, got := range map[string][2]string{
				"message":            {alone.Errors[0].Message, test.message},
				"extensions":         {string(extensions), test.extensions},
				"message of an item": {message, test.message},
				"rest of an item":    {item, test.item},
			} {
				if seen := errorID.ReplaceAllString(got[0], "ID"); seen != got[1] {
					t.Errorf("the %s is\n%s, want\n%s", what, seen, got[1])
				}
			}
		})
	}
}

// spoolError returns the message of the only item's error, and its other fields that are
// not null.
func spoolError(t *testing.T, answer *graphql.Response) (message, rest string) {
	t.Helper()
	var data struct {
		TomarSpools struct {
			Results []struct{ Error map[string]any }
		}
	}
	if err := json.Unmarshal(answer.Data, &data); err != nil || len(data.TomarSpools.Results) != 1 {
		t.Fatalf("the answer is %s with the errors %v", answer.Data, answer.Errors)
	}
	fields := data.TomarSpools.Results[0].Error
	message, _ = fields["message"].(string)
	maps.DeleteFunc(fields, func(name string, value any) bool { return name == "message" || value == nil })
	encoded, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return message, string(encoded)
}

// take executes a mutation over a store that fails each take with err.
func take(t *testing.T, err error, mutation string) *graphql.Response {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	limits := lock.Limits{DefaultTTL: time.Hour, MaxTTL: time.Hour}
	locks := lock.NewService(refusingStore{err: err}, lock.Config{Limits: limits, Timeout: time.Second, Attempts: 1}, log)
	server := executor.New(graph.NewSchema(locks, nil, log))
	server.SetErrorPresenter(graph.Presenter(log))
	ctx := lock.WithCaller(graphql.StartOperationTrace(t.Context()), lock.Caller{Role: lock.RoleWorker})
	operation, refused := server.CreateOperationContext(ctx, &graphql.RawParams{
		Query: mutation, Variables: map[string]any{"input": map[string]any{
			"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)", "requestId": "0b7c2c5e-1b7e-4a53-9f0f-3f6b1d9e2a44",
		}},
	})
	if refused != nil {
		t.Fatal(refused)
	}
	responses, ctx := server.DispatchOperation(ctx, operation)
	return responses(ctx)
}
