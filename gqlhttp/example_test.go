package gqlhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/gqlhttp"
)

// counter is a schema written by hand. In a program, gqlgen generates it.
type counter struct {
	schema *ast.Schema
	count  atomic.Int64
}

func newCounter() *counter {
	return &counter{schema: gqlparser.MustLoadSchema(&ast.Source{Input: `
		type Query { count: Int! }
		type Mutation { add(n: Int!): Int! }
		type Subscription { counts: Int! }`})}
}

// Schema implements [graphql.ExecutableSchema].
func (c *counter) Schema() *ast.Schema { return c.schema }

// Complexity implements [graphql.ExecutableSchema]. Each field counts as one.
func (c *counter) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

// Exec implements [graphql.ExecutableSchema]. A subscription sends the count once, and
// goes on until it is ended.
func (c *counter) Exec(ctx context.Context) graphql.ResponseHandler {
	operation := graphql.GetOperationContext(ctx)
	field := operation.Operation.SelectionSet[0].(*ast.Field)
	if field.Name == "add" {
		n, err := graphql.UnmarshalInt64(field.ArgumentMap(operation.Variables)["n"])
		if err != nil {
			graphql.AddError(ctx, err)
			return nil
		}
		c.count.Add(n)
	}
	sent := false
	return func(ctx context.Context) *graphql.Response {
		if sent {
			if field.Name == "counts" {
				<-ctx.Done()
			}
			return nil
		}
		sent = true
		data, _ := json.Marshal(map[string]int64{field.Alias: c.count.Load()}) // cannot fail
		return &graphql.Response{Data: data}
	}
}

// A handler serves queries and mutations by POST and, on the same path, subscriptions
// over WebSocket and Server-Sent Events. Its callers are known by a header.
func Example() {
	handler := gqlhttp.New(gqlhttp.Config{
		Schema: newCounter(),
		Authenticate: func(_ *http.Request, header http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
			if header.Get("Authorization") != "Bearer secret" {
				return gqlhttp.Caller{}, &gqlhttp.Refusal{
					Status: http.StatusUnauthorized, Code: "UNAUTHENTICATED", Message: "Log in first.",
				}
			}
			return gqlhttp.Caller{Value: "ana", QuotaKey: "ana"}, nil
		},
		StreamLimits: gqlhttp.StreamLimits{PerCaller: 5},
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	defer handler.Shutdown(context.Background()) //nolint:errcheck // no stream is open

	for _, credential := range []string{"Bearer secret", ""} {
		request, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(`{"query": "mutation { add(n: 2) }"}`))
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", credential)
		response, err := server.Client().Do(request)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			log.Fatal(err)
		}
		_ = response.Body.Close()
		fmt.Println(response.StatusCode, string(body))
	}
	// Output:
	// 200 {"data":{"add":2}}
	// 401 {"errors":[{"message":"Log in first.","extensions":{"code":"UNAUTHENTICATED"}}]}
}
