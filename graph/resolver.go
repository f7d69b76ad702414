package graph

import (
	"log/slog"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/floor"
	"spoollock/graph/generated"
	"spoollock/lock"
)

// Resolver answers the fields of the schema from the lock service and the view of
// the floor. What happens to one item of several is an error in the data, so it is
// logged from here.
type Resolver struct {
	locks *lock.Service
	floor *floor.View
	log   *slog.Logger
}

// NewSchema returns the executable schema over locks and the view of them.
func NewSchema(locks *lock.Service, view *floor.View, log *slog.Logger) graphql.ExecutableSchema {
	return generated.NewExecutableSchema(generated.Config{
		Resolvers:  &Resolver{locks: locks, floor: view, log: log},
		Directives: generated.DirectiveRoot{Requires: requireRole(locks)},
		Complexity: complexity(),
	})
}
