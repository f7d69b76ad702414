package graph

import (
	"context"
	"errors"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// Observe returns a middleware that calls observe for each root field of a query or
// mutation: its name in the schema, the code of its error or "OK", and how long it
// took.
func Observe(observe func(operation, outcome string, d time.Duration)) graphql.FieldMiddleware {
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		field := graphql.GetFieldContext(ctx)
		if field.Object != "Query" && field.Object != "Mutation" {
			return next(ctx)
		}
		begun := time.Now()
		value, err := next(ctx)
		observe(field.Field.Name, outcome(err), time.Since(begun))
		return value, err
	}
}

func outcome(err error) string {
	var (
		occupied *lock.OccupiedError
		conflict *lock.VersionConflictError
		expired  *lock.ExpiredError
		invalid  *lock.InvalidError
	)
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &occupied):
		return CodeSpoolOccupied
	case errors.As(err, &conflict):
		return CodeVersionConflict
	case errors.As(err, &expired):
		return CodeLockExpired
	case errors.As(err, &invalid):
		return CodeBadUserInput
	case lock.IsUnavailable(err):
		return CodeServiceUnavailable
	default:
		return CodeInternal
	}
}
