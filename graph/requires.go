package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// requires returns the directive of that name: it lets only callers through whose role
// includes the one that a field asks for.
func requires(locks *lock.Service) func(context.Context, any, graphql.Resolver, lock.Role) (any, error) {
	return func(ctx context.Context, _ any, next graphql.Resolver, role lock.Role) (any, error) {
		if caller, ok := lock.CallerOf(ctx); !ok || !caller.Role.Includes(role) {
			return nil, locks.Refuse(ctx, graphql.GetFieldContext(ctx).Field.Name, role)
		}
		return next(ctx)
	}
}
