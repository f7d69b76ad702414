package graph_test

import (
	"context"
	"testing"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"spoollock/graph"
	"spoollock/graph/generated"
	"spoollock/lock"
)

// Subscriptions share by role, but for those that ask Redis for each caller.
func TestShareKey(t *testing.T) {
	t.Parallel()
	schema := generated.NewExecutableSchema(generated.Config{}).Schema()
	as := func(role lock.Role, document string) (string, bool) {
		parsed, errs := gqlparser.LoadQueryWithRules(schema, document, rules.NewDefaultRules())
		if errs != nil {
			t.Fatal(errs)
		}
		ctx := context.Background()
		if role != "" {
			ctx = lock.WithCaller(ctx, lock.Caller{Role: role, Worker: lock.Worker{ID: "93"}})
		}
		return graph.ShareKey(ctx, &graphql.OperationContext{Doc: parsed, Operation: parsed.Operations[0]})
	}
	const plain = "subscription{floorUpdates{asOf changed{tagSpool lock{ownerId}}}}"
	viewer, shared := as(lock.RoleViewer, plain)
	if worker, also := as(lock.RoleWorker, plain); !shared || !also || viewer == worker {
		t.Errorf("a viewer has the key %q, %v, a worker %q, %v", viewer, shared, worker, also)
	}
	if _, shared := as("", plain); shared {
		t.Error("without a caller it is shared")
	}
	for _, document := range []string{
		"subscription{floorUpdates{changed{h:history(first:1){edges{cursor}}}}}",
		"subscription{floorUpdates{changed{...on Spool{history(first:1){edges{cursor}}}}}}",
		"subscription{floorUpdates{...F}} fragment F on FloorUpdate{changed{history(first:1){edges{cursor}}}}",
	} {
		if _, shared := as(lock.RoleViewer, document); shared {
			t.Errorf("%s is shared", document)
		}
	}
}
