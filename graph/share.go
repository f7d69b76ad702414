package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/lock"
)

// ShareKey returns what a subscription's responses depend on, but for its document and
// variables: the caller's role. It reports false if the operation selects fields that are
// resolved for each caller, from Redis and within the caller's limits.
func ShareKey(ctx context.Context, operation *graphql.OperationContext) (key string, shared bool) {
	caller, ok := lock.CallerOf(ctx)
	if !ok || selectsHistory(operation.Operation.SelectionSet) {
		return "", false
	}
	for _, fragment := range operation.Doc.Fragments {
		if selectsHistory(fragment.SelectionSet) {
			return "", false
		}
	}
	return string(caller.Role), true
}

// selectsHistory reports whether Spool.history is selected, the only field below a
// subscription's own that asks the lock service. It does not follow fragments.
func selectsHistory(selections ast.SelectionSet) bool {
	for _, selection := range selections {
		switch selection := selection.(type) {
		case *ast.Field:
			if selection.Name == "history" || selectsHistory(selection.SelectionSet) {
				return true
			}
		case *ast.InlineFragment:
			if selectsHistory(selection.SelectionSet) {
				return true
			}
		}
	}
	return false
}
