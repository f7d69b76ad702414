package graph

import (
	"context"
	"log/slog"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// requires returns the directive of that name: it lets only callers through whose role
// includes the one that a field asks for. Of others the log has a record, like those of
// what callers change; so that nobody floods it, they are counted like changes.
func requires(locks *lock.Service, log *slog.Logger) func(context.Context, any, graphql.Resolver, lock.Role) (any, error) {
	return func(ctx context.Context, _ any, next graphql.Resolver, role lock.Role) (any, error) {
		caller, ok := lock.CallerOf(ctx)
		if ok && caller.Role.Includes(role) {
			return next(ctx)
		}
		if err := locks.Admit(ctx); err != nil {
			return nil, err
		}
		err, code := lock.ErrUnauthenticated, CodeUnauthenticated
		if caller.Known() {
			err, code = &lock.ForbiddenError{Required: role}, CodeForbidden
		}
		log.WarnContext(ctx, "audit", "action", "CALL", "outcome", code, "field", graphql.GetFieldContext(ctx).Field.Name,
			"caller", caller.Worker.ID, "role", caller.Role, "address", caller.Address)
		return nil, err
	}
}
