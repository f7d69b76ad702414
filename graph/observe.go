package graph

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// The outcomes that are no code of an error.
const (
	outcomeOK   = "OK"
	outcomeGone = "CALLER_GONE" // before Redis answered, which says nothing about Redis
)

// observation is where a root field says how it went.
type observation struct {
	observe func(operation, outcome string, d time.Duration)
	items   []error // of a field that has several, of each
}

type observationKey struct{}

var errPanicked = errors.New("a panic")

// Observe returns a middleware that calls observe for each root field of a query or
// mutation, and for each item of one that has several: the field's name in the
// schema, the code of the error ("OK" where there is none, "CALLER_GONE" where nobody
// waited for Redis), and how long the field took.
func Observe(observe func(operation, outcome string, d time.Duration)) graphql.RootFieldMiddleware {
	return func(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
		if name := graphql.GetRootFieldContext(ctx).Field.Name; strings.HasPrefix(name, "__") { // has no role
			begun := time.Now()
			defer func() { observe(name, outcomeOK, time.Since(begun)) }()
			return next(ctx)
		}
		return next(context.WithValue(ctx, observationKey{}, &observation{observe: observe}))
	}
}

// ObserveRefused calls observe as [Observe] does, once for each root field of an operation
// that is refused as a whole.
func ObserveRefused(ctx context.Context, operation *graphql.OperationContext, err error, observe func(operation, outcome string, d time.Duration)) {
	for _, field := range graphql.CollectFields(operation, operation.Operation.SelectionSet, []string{"Query", "Mutation"}) {
		observe(field.Name, outcome(ctx, err), 0)
	}
}

// observed resolves a root field, for [Observe].
func observed(ctx context.Context, next graphql.Resolver) (value any, err error) {
	o, ok := ctx.Value(observationKey{}).(*observation)
	if !ok {
		return next(ctx)
	}
	begun := time.Now()
	err = errPanicked
	defer func() {
		took, name := time.Since(begun), graphql.GetFieldContext(ctx).Field.Name
		if o.items == nil || err != nil {
			o.observe(name, outcome(ctx, err), took)
			return
		}
		for _, err := range o.items {
			o.observe(name, outcome(ctx, err), took)
		}
	}()
	value, err = next(ctx)
	if err != nil {
		if told, known := factsOf(err); known {
			err = &knownError{err, told}
		}
	}
	return value, err
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
	o, ok := ctx.Value(observationKey{}).(*observation)
	for _, result := range results {
		if errors.As(result.Err, &last) {
			unserved++
		}
		if ok {
			o.items = append(o.items, result.Err)
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
