package graph_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/graph"
	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository"
	"spoollock/repository/redistest"
)

// Who hangs up says nothing about Redis, neither in the metrics nor in the log.
func TestCallerWhoHangsUp(t *testing.T) {
	t.Parallel()
	log := redistest.NewLog(t)
	store := redistest.Open(t, redisurl.EmbeddedText, log.Logger(), repository.Config{Timeout: time.Second})
	locks := lock.NewService(store, lock.Config{Timeout: time.Second, Attempts: 1}, log.Logger())
	ctx, hangUp := context.WithCancel(graphql.WithFieldContext(t.Context(), &graphql.FieldContext{
		Object: "Query", Field: graphql.CollectedField{Field: &ast.Field{Name: "spool", Alias: "spool"}},
	}))
	hangUp()
	var outcomes []string
	observe := graph.Observe(func(operation, outcome string, _ time.Duration) {
		outcomes = append(outcomes, operation+" "+outcome)
	})
	_, err := observe(ctx, func(ctx context.Context) (any, error) { return locks.Spool(ctx, "MK-1") })
	if !lock.IsUnavailable(err) || !slices.Equal(outcomes, []string{"spool CALLER_GONE"}) {
		t.Fatalf("it is counted as %v, the error is %v", outcomes, err)
	}
	_ = graph.Presenter(log.Logger())(ctx, err)
	if strings.Contains(log.String(), "redis did not serve") {
		t.Fatalf("Redis is blamed:\n%s", log)
	}
}
