// Package graph is the GraphQL API of the lock service: thin resolvers, the mapping between
// the domain and the schema, and the one place that gives errors their codes. It decides
// nothing that is about a lock.
//
// # Files
//
// The schema is in schema. Its operations are the fields of query.graphqls,
// mutation.graphqls and subscription.graphqls; the types of an operation are in the file
// that is called as in package lock (take, release, extend, resume, force, check, history).
// From the schema and gqlgen.yml, "go generate ./..." writes the packages generated and
// model, which no one edits, and adds a method for each new operation to the file
// *.resolvers.go of its root type.
//
// On its way, a take passes:
//
//   - roles.go: the directive @requires refuses a caller without the role;
//   - mutation.resolvers.go: TomarSpool asks [lock.Service.Take];
//   - mapping.go: takeRequest makes its request of the input, and takenModel the payload of
//     its answer; batch.go does so for the items of a batch;
//   - errors.go: factsOf makes the code and the facts of an error of the domain; facts.go
//     writes them into the extensions or, for an item of a batch, into a SpoolError;
//     request_errors.go is for documents and variables that were not executed;
//   - observe.go: what became of it, for the metrics and the log.
//
// # How to add a field
//
// Add it, with its description, to its type in the schema, and generate. Read a field of an
// input in mapping.go where the request is made; set a field of an answer where its model is
// made. Write the schema as served anew: UPDATE_GOLDEN=true with TestSchemaAsServed.
//
// docs/DEVELOPING.md has the lists of files for an operation, an error code and a stored field.
package graph
