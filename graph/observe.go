package graph

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// The outcomes that are no code of an error.
const (
	outcomeOK   = "OK"
	outcomeGone = "CALLER_GONE" // before Redis answered, which says nothing about Redis
)

// itemErrorsKey is where the context of a root field has the errors of its items, if it
// has several.
type itemErrorsKey struct{}

var errPanicked = errors.New("a panic")

// Observe returns a middleware that calls observe for each root field of a query or
// mutation, and for each item of one that has several: the field's name in the
// schema, the code of the error ("OK" where there is none, "CALLER_GONE" where nobody
// waited for Redis), and how long the field took.
func Observe(observe func(operation, outcome string, d time.Duration)) graphql.FieldMiddleware {
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		field := graphql.GetFieldContext(ctx)
		if field.Object != "Query" && field.Object != "Mutation" {
			return next(ctx)
		}
		begun := time.Now()
		var items []error
		err := errPanicked
		defer func() {
			took := time.Since(begun)
			if items == nil || err != nil {
				items = []error{err}
			}
			for _, err := range items {
				observe(field.Field.Name, outcome(ctx, err), took)
			}
		}()
		var value any
		value, err = next(context.WithValue(ctx, itemErrorsKey{}, &items))
		return value, err
	}
}

func outcome(ctx context.Context, err error) string {
	if err == nil {
		return outcomeOK
	}
	if lock.IsUnavailable(err) && callerGone(ctx) {
		return outcomeGone
	}
	if told, known := factsOf(err); known {
		return told.code
	}
	return CodeInternal
}

func callerGone(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// reportItems says what became of the items of a field: to [Observe] of each, and to the
// log, once, how many of them Redis did not serve.
func reportItems[T any](ctx context.Context, log *slog.Logger, results []lock.Result[T]) {
	var unserved int
	var last *lock.UnavailableError
	items, observed := ctx.Value(itemErrorsKey{}).(*[]error)
	for _, result := range results {
		if errors.As(result.Err, &last) {
			unserved++
		}
		if observed {
			*items = append(*items, result.Err)
		}
	}
	if unserved > 0 {
		logUnavailable(ctx, log, last, unserved)
	}
}

// reportedError is an error of an item that went through reportItems.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }

func logUnavailable(ctx context.Context, log *slog.Logger, err *lock.UnavailableError, items int) {
	if !callerGone(ctx) {
		log.WarnContext(ctx, "redis did not serve an operation",
			"path", graphql.GetPath(ctx).String(), "items", items, "outcome", err.Outcome, "error", err.Err)
	}
}
