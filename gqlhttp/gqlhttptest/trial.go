// Package gqlhttptest has what tests of GraphQL over HTTP need: a schema of difficult
// operations, and a WebSocket's client.
package gqlhttptest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/gqlhttp/source"
)

// Trial is a schema with operations that do what a transport has to cope with.
type Trial struct {
	schema *ast.Schema

	Begun   chan string   // the fields that wait, when they begin to
	Release chan struct{} // closed: they need not wait any more
	Running atomic.Int64  // fields that wait
	Pulled  atomic.Int64  // responses of flood
	Feed    Feed          // of follows
	Made    atomic.Int64  // responses of follows

	// Refused is the error of the subscription refused.
	Refused error
}

const trialSDL = `
type Query {
  hello(to: String): String!
  "Waits for the release."
  slow: String!
  "Waits for the release even if the client is gone."
  stubborn: String!
  panics: String!
}
type Mutation {
  "Waits for the release."
  touch: String!
}
type Subscription {
  "The numbers below to, then the end."
  count(to: Int!): Int!
  "Cannot begin."
  refused: Int!
  "One number, and then a panic."
  breaks: Int!
  "Panics at the start."
  panics: Int!
  "One number, and then nothing until it is ended."
  hangs: Int!
  "64 KB each time, without an end."
  flood: String!
  "The events of the feed."
  follows(of: String, and: String): Int!
}`

// NewTrial returns a Trial.
func NewTrial() *Trial {
	return &Trial{
		schema: gqlparser.MustLoadSchema(&ast.Source{Input: trialSDL}),
		Begun:  make(chan string, 1000), Release: make(chan struct{}), Refused: errors.New("refused"),
	}
}

// Schema implements [graphql.ExecutableSchema].
func (s *Trial) Schema() *ast.Schema { return s.schema }

// Complexity implements [graphql.ExecutableSchema].
func (s *Trial) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

// wait waits for the release, and reports false if the operation is over before.
func (s *Trial) wait(ctx context.Context, field string, release <-chan struct{}) bool {
	s.Running.Add(1)
	defer s.Running.Add(-1)
	s.Begun <- field
	select {
	case <-release:
		return true
	case <-ctx.Done():
		return false
	}
}

// Exec implements [graphql.ExecutableSchema].
func (s *Trial) Exec(ctx context.Context) graphql.ResponseHandler {
	operation := graphql.GetOperationContext(ctx)
	field := operation.Operation.SelectionSet[0].(*ast.Field)
	responded := 0
	respond := func(value any) *graphql.Response {
		responded++
		data, err := json.Marshal(map[string]any{field.Name: value})
		if err != nil {
			panic(err)
		}
		return &graphql.Response{Data: data}
	}
	switch string(operation.Operation.Operation) + " " + field.Name {
	case "query hello":
		return graphql.OneShot(respond("world"))
	case "query slow", "mutation touch":
		return func(ctx context.Context) *graphql.Response {
			if responded > 0 || !s.wait(ctx, field.Name, s.Release) {
				return nil
			}
			return respond("done")
		}
	case "query stubborn":
		return func(ctx context.Context) *graphql.Response {
			s.wait(context.WithoutCancel(ctx), field.Name, s.Release)
			return respond("done")
		}
	case "subscription count":
		to, _ := field.ArgumentMap(operation.Variables)["to"].(int64)
		return func(context.Context) *graphql.Response {
			if responded == int(to) {
				return nil
			}
			return respond(responded)
		}
	case "subscription refused":
		graphql.AddError(ctx, s.Refused)
		return nil
	case "subscription breaks":
		return func(context.Context) *graphql.Response {
			if responded == 1 {
				panic("a trial of panics")
			}
			return respond(0)
		}
	case "subscription hangs":
		return func(ctx context.Context) *graphql.Response {
			if responded == 1 {
				s.wait(ctx, field.Name, nil)
				return nil
			}
			return respond(0)
		}
	case "subscription flood":
		return func(context.Context) *graphql.Response {
			s.Pulled.Add(1)
			return respond(strings.Repeat("x", 64<<10))
		}
	case "subscription follows":
		events := source.Follow(ctx, s.Feed.subscribe, func(e *Event) *Event { return e })
		return func(ctx context.Context) *graphql.Response {
			select {
			case event, ok := <-events:
				if !ok {
					return nil
				}
				s.Made.Add(1)
				if event.Before != nil {
					event.Before(ctx)
				}
				if ctx.Err() != nil {
					return nil
				}
				return respond(event.N)
			case <-ctx.Done():
				return nil
			}
		}
	default:
		panic("a trial of panics")
	}
}
