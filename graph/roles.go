package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// requireRole returns the directive @requires: it lets a caller through if its role
// includes the one that the field asks for. Every root field has it, and no other, so that
// it is also where a root field is observed.
func requireRole(locks *lock.Service) func(context.Context, any, graphql.Resolver, lock.Role) (any, error) {
	return func(ctx context.Context, _ any, next graphql.Resolver, role lock.Role) (any, error) {
		return observed(ctx, func(ctx context.Context) (any, error) {
			if caller, ok := lock.CallerOf(ctx); !ok || !caller.Role.Includes(role) {
				return nil, locks.Refuse(ctx, graphql.GetFieldContext(ctx).Field.Name, role)
			}
			return next(ctx)
		})
	}
}
