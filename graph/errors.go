package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/google/uuid"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"spoollock/floor"
	"spoollock/graph/model"
	"spoollock/graph/scalar"
	"spoollock/lock"
)

// The codes of errors, in extensions.code.
const (
	CodeSpoolOccupied      = "SPOOL_OCCUPIED"
	CodeVersionConflict    = "VERSION_CONFLICT"
	CodeLockExpired        = "LOCK_EXPIRED"
	CodeLockLimitReached   = "LOCK_LIMIT_REACHED"
	CodeBadUserInput       = "BAD_USER_INPUT"
	CodeBadRequest         = "BAD_REQUEST"
	CodeQueryTooComplex    = "QUERY_TOO_COMPLEX"
	CodeUnauthenticated    = "UNAUTHENTICATED"
	CodeForbidden          = "FORBIDDEN"
	CodePersistedNotFound  = "PERSISTED_QUERY_NOT_FOUND"
	CodeRateLimited        = "RATE_LIMITED"
	CodeServiceUnavailable = "SERVICE_UNAVAILABLE"
	CodeInternal           = "INTERNAL_SERVER_ERROR"
)

// fieldNames are the schema's names of the inputs that package lock checks.
var fieldNames = map[lock.Field]string{
	lock.FieldTag:             "tagSpool",
	lock.FieldWorkerID:        "workerId",
	lock.FieldWorkerName:      "workerNombre",
	lock.FieldNote:            "note",
	lock.FieldTTL:             "ttlSeconds",
	lock.FieldExtension:       "additionalSeconds",
	lock.FieldExpectedVersion: "expectedVersion",
	lock.FieldRequestID:       "requestId",
	lock.FieldToken:           "lockToken",
	lock.FieldItems:           "items",
	lock.FieldTags:            "tagSpools",
	lock.FieldTagPrefix:       "tagPrefix",
	lock.FieldOwner:           "ownerId",
	lock.FieldFirst:           "first",
	lock.FieldAfter:           "after",
	lock.FieldReason:          "reason",
}

// Presenter turns every error into what a client sees: a sentence, a code and
// the facts that go with it. Trouble with Redis is logged as a warning; what no
// client can mend is logged under an id and masked.
func Presenter(log *slog.Logger) graphql.ErrorPresenterFunc {
	return func(ctx context.Context, err error) *gqlerror.Error {
		// The path of the field in the answer; the path of an input, which gqlgen's
		// errors can have, is none.
		presented := &gqlerror.Error{Path: graphql.GetPath(ctx)}
		var wrapped *gqlerror.Error
		if errors.As(err, &wrapped) {
			presented.Locations = wrapped.Locations
		}
		told, known := factsOf(err)
		var (
			unavailable *lock.UnavailableError
			wrongType   *scalar.TypeError
			panicked    *panicError
			reported    reportedError
		)
		switch {
		case errors.As(err, &panicked):
			told = logInternal(ctx, log, err)
		case known:
			// Why the floor is not live, the log has said.
			if errors.As(err, &unavailable) && !errors.Is(err, floor.ErrNotLive) && !errors.As(err, &reported) {
				logUnavailable(ctx, log, unavailable, 1)
			}
		case errors.As(err, &wrongType) && wrapped != nil:
			told = wrongTypeFacts(ctx, wrapped.Path, wrongType.Error())
		case wrapped != nil && wrapped.Extensions["code"] != nil && isVariablePath(wrapped.Path):
			told = wrongTypeFacts(ctx, wrapped.Path, "is missing, unknown, or not of the type that the schema asks for")
		case wrapped != nil && wrapped.Extensions["code"] != nil:
			presented.Message, presented.Extensions = documentError(wrapped)
			return presented
		case wrapped != nil && graphql.GetFieldContext(ctx) == nil:
			// Not from the execution: the executor could not make sense of the request.
			// Its message may quote the request, and with it a token.
			told = &facts{code: CodeBadRequest, message: "The request is not a GraphQL request that can be served here."}
		default:
			told = logInternal(ctx, log, err)
		}
		presented.Message, presented.Extensions = told.message, told.extensions()
		return presented
	}
}

// itemError is what a client sees of an error of one item of several, in the data: the
// facts that [Presenter] puts into extensions. reportItems has logged trouble with Redis.
func itemError(ctx context.Context, log *slog.Logger, err error) *model.SpoolError {
	told, known := factsOf(err)
	if !known {
		told = logInternal(ctx, log, err)
	}
	return told.spoolError()
}

// Recover makes an error of a panic, which [Presenter] logs with its stack.
func Recover(_ context.Context, value any) error {
	return &panicError{value: value, stack: debug.Stack()}
}

type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// knownError is an error whose facts have been looked up.
type knownError struct {
	error
	facts *facts
}

func (e *knownError) Unwrap() error { return e.error }

// factsOf returns the facts of an error of the domain, and false for any other.
func factsOf(err error) (told *facts, known bool) {
	if looked, ok := errors.AsType[*knownError](err); ok {
		return looked.facts, true
	}
	if limit, ok := errors.AsType[*lock.LimitError](err); ok {
		return &facts{
			code: CodeLockLimitReached, message: sentence(limit.Error()), limit: &limit.Limit, held: &limit.Held,
		}, true
	}
	if rateLimited, ok := errors.AsType[*lock.RateLimitedError](err); ok {
		return &facts{
			code: CodeRateLimited, message: sentence(rateLimited.Error()),
			reason: &rateLimited.Reason, retryAfterSeconds: new(WholeSeconds(rateLimited.RetryAfter)),
		}, true
	}
	if errors.Is(err, lock.ErrUnauthenticated) {
		return &facts{code: CodeUnauthenticated, message: sentence(lock.ErrUnauthenticated.Error())}, true
	}
	if forbidden, ok := errors.AsType[*lock.ForbiddenError](err); ok {
		told := &facts{code: CodeForbidden, message: sentence(forbidden.Error())}
		if forbidden.Required != "" {
			told.required = &forbidden.Required
		}
		if forbidden.Owner != "" {
			told.ownerID = &forbidden.Owner
		}
		return told, true
	}
	if occupied, ok := errors.AsType[*lock.OccupiedError](err); ok {
		return &facts{code: CodeSpoolOccupied, message: sentence(occupied.Error()), owner: lockModel(occupied.Lock)}, true
	}
	if conflict, ok := errors.AsType[*lock.VersionConflictError](err); ok {
		return &facts{
			code: CodeVersionConflict, message: sentence(conflict.Error()),
			tagSpool: &conflict.Tag, expected: &conflict.Expected, actual: &conflict.Actual,
		}, true
	}
	if expired, ok := errors.AsType[*lock.ExpiredError](err); ok {
		return &facts{
			code: CodeLockExpired, message: sentence(expired.Error()), tagSpool: &expired.Tag, cause: &expired.Cause,
		}, true
	}
	if invalid, ok := errors.AsType[*lock.InvalidError](err); ok {
		field := fieldNames[invalid.Field]
		return &facts{
			code: CodeBadUserInput, message: field + " " + invalid.Problem + ".",
			field: &field, reason: &invalid.Reason, minimum: invalid.Min, maximum: invalid.Max,
		}, true
	}
	if wrongType, ok := errors.AsType[*lock.WrongTypeError](err); ok {
		return internalFacts(wrongType.LogID), true
	}
	if unavailable, ok := errors.AsType[*lock.UnavailableError](err); ok {
		message := "Redis cannot be reached, accepts no changes, or did not answer in time. Try again."
		if errors.Is(err, floor.ErrNotLive) {
			message = "The floor is not known at the moment. Try again."
		}
		return &facts{code: CodeServiceUnavailable, message: message, outcome: &unavailable.Outcome}, true
	}
	return nil, false
}

// logInternal logs an error that no client can mend under an id, which is all that a
// client is told of it.
func logInternal(ctx context.Context, log *slog.Logger, err error) *facts {
	id := uuid.NewString()
	// gqlgen's wrapping adds a position in the document, which means nothing here.
	if wrapped := (*gqlerror.Error)(nil); errors.As(err, &wrapped) && wrapped.Err != nil {
		err = wrapped.Err
	}
	attributes := []any{"errorId", id, "path", graphql.GetPath(ctx).String(), "error", err}
	if panicked := (*panicError)(nil); errors.As(err, &panicked) {
		attributes = append(attributes, "stack", string(panicked.stack))
	}
	log.ErrorContext(ctx, "request failed", attributes...)
	return internalFacts(id)
}

// internalFacts are what a client is told of an error that the log has under the id.
func internalFacts(id string) *facts {
	return &facts{
		code:    CodeInternal,
		message: "Something went wrong on the server. Its log has the details under " + id + ".",
		errorID: &id,
	}
}

// sentence makes a sentence of an error's text.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(s[size:], ".") + "."
}
