package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// requires is the directive of that name: it lets only callers through whose role
// includes the one that a field asks for.
func requires(ctx context.Context, _ any, next graphql.Resolver, role lock.Role) (any, error) {
	caller, ok := lock.CallerOf(ctx)
	switch {
	case ok && caller.Role.Includes(role):
		return next(ctx)
	case caller.Known():
		return nil, &lock.ForbiddenError{Required: role}
	default:
		return nil, lock.ErrUnauthenticated
	}
}
