package graph

import (
	"spoollock/graph/generated"
	"spoollock/graph/model"
	"spoollock/lock"
)

// lookupCost is what a question of its own to Redis counts for, in fields.
const lookupCost = 20

// complexity says what the fields count for that are more than themselves and what
// is selected in them: a list counts for as many as it is asked for. What is beyond
// the bounds of a list is refused when it is executed, and counts for no more.
func complexity() (root generated.ComplexityRoot) {
	root.Query.Spools = func(children int, tags []string) int { return batchCost(len(tags), children) }
	root.Mutation.TomarSpools = func(children int, input model.TomarSpoolsInput) int {
		return batchCost(len(input.Items), children)
	}
	root.Mutation.ReleaseSpools = func(children int, input model.ReleaseSpoolsInput) int {
		return batchCost(len(input.Items), children)
	}
	root.Mutation.ExtendLocks = func(children int, input model.ExtendLocksInput) int {
		return batchCost(len(input.Items), children)
	}
	root.Spool.History = func(children, first int, _ *string) int {
		return lookupCost + clamp(first, lock.MaxPage)*children
	}
	return root
}

func batchCost(items, children int) int { return 1 + clamp(items, lock.MaxBatch)*children }

// clamp brings a number that a client sent into 1 … maximum.
func clamp(n, maximum int) int { return max(1, min(n, maximum)) }
