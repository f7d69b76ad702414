// Package graph is the GraphQL face of the lock service: thin resolvers, the
// mapping between the domain and the schema, and the one place where errors get
// their codes.
package graph

import (
	"github.com/99designs/gqlgen/graphql"

	"spoollock/graph/generated"
	"spoollock/lock"
)

// Resolver answers the root fields of the schema from the lock service.
type Resolver struct{ locks *lock.Service }

// NewSchema returns the executable schema over locks.
func NewSchema(locks *lock.Service) graphql.ExecutableSchema {
	return generated.NewExecutableSchema(generated.Config{Resolvers: &Resolver{locks: locks}})
}
