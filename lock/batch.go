package lock

import (
	"context"
	"fmt"
)

// MaxBatch is the most spools that one request can be about.
const MaxBatch = 50

// one is the result of a single request.
func one[T any](results []Result[T]) (T, error) { return results[0].Value, results[0].Err }

// parsedAll are the commands of requests, each at its request's place, and the places of
// those that can be executed. Of another command is there what was parsed before its
// error.
type parsedAll[C any] struct {
	all    []C
	places []int
}

func (p parsedAll[C]) parsed() (cmds []C) {
	for _, at := range p.places {
		cmds = append(cmds, p.all[at])
	}
	return cmds
}

// admitted has each request let through before it is parsed.
func admitted[R, C any](ctx context.Context, s *Service, parse func(Caller, R) (C, error)) func(Caller, R) (C, error) {
	return func(caller Caller, req R) (cmd C, err error) {
		if err := s.config.Admit(ctx); err != nil {
			return cmd, err
		}
		return parse(caller, req)
	}
}

// parseAll parses each request of the caller; what cannot be parsed has its error
// among the results, which have a place for each request.
func parseAll[R, C, T any](ctx context.Context, reqs []R, parse func(Caller, R) (C, error)) (parsedAll[C], []Result[T]) {
	caller, _ := CallerOf(ctx)
	cmds := parsedAll[C]{all: make([]C, len(reqs))}
	results := make([]Result[T], len(reqs))
	for i, req := range reqs {
		if cmds.all[i], results[i].Err = parse(caller, req); results[i].Err == nil {
			cmds.places = append(cmds.places, i)
		}
	}
	return cmds, results
}

// checkBatch returns *InvalidError unless there are 1 to 50 requests, each about
// another spool.
func checkBatch[R any](s *Service, field Field, reqs []R, tag func(R) string) error {
	if len(reqs) < 1 || len(reqs) > MaxBatch {
		return bounded(field, ReasonOutOfRange, fmt.Sprintf("must be 1 to %d", MaxBatch), 1, MaxBatch)
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

// Result is what became of one of several commands. Value is meaningless where
// Err is not nil.
type Result[T any] struct {
	Value T
	Err   error
}
