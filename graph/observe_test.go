package graph_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/extension"

	"spoollock/graph"
	"spoollock/lock"
	"spoollock/repository/redistest"
)

// leftStore loses its caller while it reads.
type leftStore struct {
	lock.Store
	hangUp func()
}

func (s leftStore) Read(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	s.hangUp()
	failed := lock.Result[lock.Spool]{Err: &lock.UnavailableError{Outcome: lock.NotApplied, Err: ctx.Err()}}
	return slices.Repeat([]lock.Result[lock.Spool]{failed}, len(tags))
}

// observe executes a document of a viewer, and returns what is observed of it and the log.
func observe(t *testing.T, document string) (outcomes []string, log string) {
	t.Helper()
	recorded := redistest.NewLog(t)
	ctx, hangUp := context.WithCancel(graphql.StartOperationTrace(t.Context()))
	defer hangUp()
	locks := lock.NewService(leftStore{hangUp: hangUp}, lock.Config{Timeout: time.Second, Attempts: 1}, recorded.Logger())
	server := executor.New(graph.NewSchema(locks, nil, recorded.Logger()))
	server.Use(extension.Introspection{})
	server.SetErrorPresenter(graph.Presenter(recorded.Logger()))
	server.SetRecoverFunc(graph.Recover)
	server.AroundRootFields(graph.Observe(func(operation, outcome string, _ time.Duration) {
		outcomes = append(outcomes, operation+" "+outcome)
	}))
	ctx = lock.WithCaller(ctx, lock.Caller{Role: lock.RoleViewer})
	operation, refused := server.CreateOperationContext(ctx, &graphql.RawParams{Query: document})
	if refused != nil {
		t.Fatal(refused)
	}
	responses, ctx := server.DispatchOperation(ctx, operation)
	responses(ctx)
	return outcomes, recorded.String()
}

// Who hangs up says nothing about Redis, neither in the metrics nor in the log.
func TestCallerWhoHangsUp(t *testing.T) {
	t.Parallel()
	outcomes, log := observe(t, `{ spool(tagSpool: "MK-1") { id } }`)
	if !slices.Equal(outcomes, []string{"spool CALLER_GONE"}) {
		t.Fatalf("it is counted as %v", outcomes)
	}
	if strings.Contains(log, "redis did not serve") {
		t.Fatalf("Redis is blamed:\n%s", log)
	}
}

// Each root field is counted once under its name in the schema, whatever becomes of it.
func TestObservedOutcomes(t *testing.T) {
	t.Parallel()
	for document, want := range map[string][]string{
		`{ a: lockLimits { batchSize } }`:                                              {"lockLimits OK"},
		`{ __typename __type(name: "Spool") { name } }`:                                {"__type OK"},
		`{ spool(tagSpool: "") { id } }`:                                               {"spool BAD_USER_INPUT"},
		`{ spools(tagSpools: ["", "MK-1"]) { id } }`:                                   {"spools BAD_USER_INPUT", "spools CALLER_GONE"},
		`{ spools(tagSpools: []) { id } }`:                                             {"spools BAD_USER_INPUT"},
		`{ spoolLocks(first: 1) { totalCount } }`:                                      {"spoolLocks INTERNAL_SERVER_ERROR"}, // panics, without a view
		`mutation { releaseSpool(input: {tagSpool: "", lockToken: ""}) { released } }`: {"releaseSpool UNAUTHENTICATED"},
	} {
		if got, _ := observe(t, document); !slices.Equal(got, want) {
			t.Errorf("%s is counted as %v, want %v", document, got, want)
		}
	}
}
