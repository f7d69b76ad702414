package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// ShareKey returns what a subscription's responses depend on besides its document and
// variables: the caller's role. No field that a subscription can select asks Redis, which would
// count towards one caller's limits.
func ShareKey(ctx context.Context, _ *graphql.OperationContext) (key string, shared bool) {
	caller, ok := lock.CallerOf(ctx)
	return string(caller.Role), ok
}
