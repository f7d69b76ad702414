package lock

import (
	"context"
	"fmt"
)

// MaxBatch is the most spools that one request can be about.
const MaxBatch = 50

// Result is what became of one of several commands. Value is meaningless where
// Err is not nil.
type Result[T any] struct {
	Value T
	Err   error
}

// single is the result of an operation on one spool, which is a batch of one.
func single[T any](results []Result[T]) (T, error) { return results[0].Value, results[0].Err }

// parseBatch makes a command of each request. A request that is refused has its error
// among the results, and of its command there is what was parsed before the error.
func parseBatch[T, R, C any](ctx context.Context, reqs []R, parse func(context.Context, R) (C, error)) ([]C, []Result[T]) {
	cmds, results := make([]C, len(reqs)), make([]Result[T], len(reqs))
	for i, req := range reqs {
		cmds[i], results[i].Err = parse(ctx, req)
	}
	return cmds, results
}

// checkBatch returns *InvalidError unless there are 1 to 50 requests, each about
// another spool.
func checkBatch[R any](s *Service, field Field, reqs []R, tag func(R) string) error {
	if len(reqs) < 1 || len(reqs) > MaxBatch {
		return outsideBounds(field, ReasonOutOfRange, fmt.Sprintf("must be 1 to %d", MaxBatch), 1, MaxBatch)
	}
	seen := map[Tag]bool{}
	for _, req := range reqs {
		parsed, err := s.config.Tags.Parse(tag(req))
		if err != nil {
			continue // the request's own error, and no tag of a spool
		}
		if seen[parsed] {
			return &InvalidError{Field: field, Reason: ReasonDuplicate, Problem: "must not have a tag twice"}
		}
		seen[parsed] = true
	}
	return nil
}
