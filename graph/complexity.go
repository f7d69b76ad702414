package graph

import (
	"spoollock/graph/generated"
	"spoollock/graph/model"
	"spoollock/lock"
)

// lookupCost is what a question of its own to Redis counts for, in fields.
const lookupCost = 20

// floorCost is what the spools of a message of the floor count for: as many as leave
// room for all fields of a spool and its lock, and none for its history, which would
// be a question for each spool of each message.
const floorCost = 250

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
	root.Query.SpoolLocks = func(children int, _ *model.SpoolLockFilter, first int, _ *string) int {
		return 1 + clamp(first, lock.MaxPage)*children
	}
	root.FloorUpdate.Changed = func(children int) int { return 1 + floorCost*children }
	root.Spool.History = func(children, first int, _ *string) int {
		return lookupCost + clamp(first, lock.MaxPage)*children
	}
	return root
}

func batchCost(items, children int) int { return 1 + clamp(items, lock.MaxBatch)*children }

// clamp brings a number that a client sent into 1 … maximum.
func clamp(n, maximum int) int { return max(1, min(n, maximum)) }
