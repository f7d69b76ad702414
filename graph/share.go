package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// ShareKey returns what a subscription's responses depend on, but for its document and
// variables: the caller's role. No field that a subscription can select asks Redis, which
// would be within each caller's own limits.
func ShareKey(ctx context.Context, _ *graphql.OperationContext) (key string, shared bool) {
	caller, ok := lock.CallerOf(ctx)
	return string(caller.Role), ok
}
