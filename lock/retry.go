package lock

import (
	"context"
	"errors"
	"time"

	"github.com/avast/retry-go/v4"
)

// The pause before the second attempt is firstPause, twice as long before each
// further one up to maxPause, and up to maxJitter longer, so that clients that
// failed together do not come back together.
const (
	firstPause = 25 * time.Millisecond
	maxPause   = 200 * time.Millisecond
	maxJitter  = 25 * time.Millisecond
)

// try runs an operation on the commands whose results have no error yet, and fills
// their results in: attempts of op until each command is answered, at most
// Config.Attempts of them, within Config.Timeout and ctx's own deadline. Each attempt
// gets an equal share of the time that is left, so that one silent connection does not
// use up all of it.
//
// Only what failed with an *UnavailableError is tried again, unless the store says that it
// is overloaded. Where it stays at that, its outcome covers all attempts.
//
// Of each command, lost says that some attempt may have been applied, or may yet be,
// without its answer having been seen. The answer that was seen in the end is as good
// as any.
func try[C, T any](ctx context.Context, s *Service, cmds []C, results []Result[T], op func(context.Context, []C) []Result[T]) (lost []bool) {
	deadline := time.Now().Add(s.config.Timeout)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	}
	lost = make([]bool, len(cmds))
	var pending []int // what has no answer yet
	for i, result := range results {
		if result.Err == nil {
			pending = append(pending, i)
		}
	}
	if len(pending) == 0 {
		return lost
	}
	if err := context.Cause(ctx); err != nil {
		for _, i := range pending {
			results[i].Err = &UnavailableError{Outcome: NotApplied, Err: err}
		}
		return lost
	}
	left := s.config.Attempts
	attempt := func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
		if left < s.config.Attempts {
			s.retries.Add(1)
		}
		left--
		batch := make([]C, len(pending))
		for n, i := range pending {
			batch[n] = cmds[i]
		}
		attempted := pending
		pending = nil
		var failed error
		for n, result := range op(ctx, batch) {
			i := attempted[n]
			results[i] = result
			if last := (*UnavailableError)(nil); errors.As(result.Err, &last) {
				lost[i] = lost[i] || last.Outcome == OutcomeUnknown
				if !last.Overloaded {
					pending, failed = append(pending, i), last
				}
			}
		}
		return failed
	}
	// Nearly always one attempt is enough, and needs nothing else.
	if failed := attempt(); failed != nil && left > 0 {
		retrying, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		_ = retry.Do(func() error { // what failed is among the results
			if first := failed; first != nil {
				failed = nil
				return first
			}
			return attempt()
		}, retryOptions(retrying, s.config.Attempts)...)
	}
	for i := range results {
		if last := (*UnavailableError)(nil); lost[i] && errors.As(results[i].Err, &last) {
			results[i].Err = &UnavailableError{Outcome: OutcomeUnknown, Overloaded: last.Overloaded, Err: last.Err}
		}
	}
	return lost
}

func retryOptions(ctx context.Context, attempts int) []retry.Option {
	return []retry.Option{
		retry.Context(ctx),
		retry.Attempts(uint(attempts)), //nolint:gosec // documented to be at least 1
		retry.Delay(firstPause),
		retry.MaxDelay(maxPause),
		retry.MaxJitter(maxJitter),
		retry.DelayType(retry.CombineDelay(retry.BackOffDelay, retry.RandomDelay)),
		retry.LastErrorOnly(true),
	}
}

// tryOne is [try] for an operation that the store does for one spool at a time.
func tryOne[C, T any](ctx context.Context, s *Service, cmd C, op func(context.Context, C) (T, error)) Result[T] {
	results := make([]Result[T], 1)
	try(ctx, s, []C{cmd}, results, func(ctx context.Context, cmds []C) []Result[T] {
		value, err := op(ctx, cmds[0])
		return []Result[T]{{Value: value, Err: err}}
	})
	return results[0]
}
