package graph

import (
	"strings"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/floor"
	"spoollock/graph/generated"
	"spoollock/graph/model"
	"spoollock/lock"
)

// complexity says which fields are lists: what is selected in one counts as often as the
// list is asked for. What is beyond the bounds of a list is refused when it is executed, and
// counts for no more.
func complexity() (root generated.ComplexityRoot) {
	root.Query.Spools = func(children int, tags []string) int { return listFields(len(tags), lock.MaxBatch, children) }
	root.Mutation.TomarSpools = func(children int, input model.TomarSpoolsInput) int {
		return listFields(len(input.Items), lock.MaxBatch, children)
	}
	root.Mutation.ReleaseSpools = func(children int, input model.ReleaseSpoolsInput) int {
		return listFields(len(input.Items), lock.MaxBatch, children)
	}
	root.Mutation.ExtendLocks = func(children int, input model.ExtendLocksInput) int {
		return listFields(len(input.Items), lock.MaxBatch, children)
	}
	root.Query.SpoolLocks = func(children int, _ *model.SpoolLockFilter, first int, _ *string) int {
		return listFields(first, lock.MaxPage, children)
	}
	root.Spool.History = func(children, first int, _ *string) int { return listFields(first, lock.MaxPage, children) }
	root.FloorUpdate.Changed = func(children int) int { return 1 + floor.MaxUpdateSpools*children }
	return root
}

func listFields(length, maximum, children int) int { return 1 + clamp(length, maximum)*children }

// clamp brings a number that a client sent into 1 … maximum.
func clamp(n, maximum int) int { return max(1, min(n, maximum)) }

// Units says what a field asks of Redis: its own units, one for each command, and how many
// times these and those that are selected in it count. A root field that is not named
// here counts one; so does a page of the floor, though the process answers it from memory.
func Units(typeName, fieldName string, args map[string]any) (own, times int) {
	switch typeName {
	case "Query", "Mutation":
		if fieldName == "lockLimits" || strings.HasPrefix(fieldName, "__") {
			return 0, 1
		}
		return 1, spoolsIn(args)
	case "Spool":
		if fieldName == "history" {
			return 1, 1
		}
	}
	return 0, 1
}

// spoolsIn is how many spools the arguments of a root field are about.
func spoolsIn(args map[string]any) int {
	several, ok := args["tagSpools"]
	if !ok {
		input, _ := args["input"].(map[string]any)
		if several, ok = input["items"]; !ok {
			return 1
		}
	}
	return clamp(len(graphql.CoerceList(several)), lock.MaxBatch)
}
