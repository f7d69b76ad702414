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

// try runs one operation: attempts of op until one is answered, at most
// Config.Attempts of them, within Config.Timeout and ctx's own deadline. Each
// attempt gets an equal share of the time that is left, so that one silent
// connection does not use up all of it.
//
// Only an *UnavailableError is tried again. Where it stays at that, its outcome
// covers all attempts. lost says that some attempt may have been applied, or may
// yet be, without its answer having been seen; the answer that was seen in the
// end is as good as any.
func try[T any](ctx context.Context, s *Service, op func(context.Context) (T, error)) (result T, lost bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()

	left := s.config.Attempts
	var last *UnavailableError
	result, err = retry.DoWithData(func() (T, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
		left--
		last = nil
		result, err := op(ctx)
		if errors.As(err, &last) && last.Outcome == OutcomeUnknown {
			lost = true
		}
		return result, err
	},
		retry.Context(ctx),
		retry.Attempts(uint(s.config.Attempts)), //nolint:gosec // documented to be at least 1
		retry.Delay(firstPause),
		retry.MaxDelay(maxPause),
		retry.MaxJitter(maxJitter),
		retry.DelayType(retry.CombineDelay(retry.BackOffDelay, retry.RandomDelay)),
		retry.RetryIf(func(error) bool { return last != nil }),
		retry.LastErrorOnly(true),
	)
	if err != nil && ctx.Err() != nil && last == nil && errors.Is(err, context.Cause(ctx)) {
		// The caller was gone before the first attempt.
		last = &UnavailableError{Err: err}
	}
	if err == nil || last == nil {
		return result, lost, err
	}
	outcome := NotApplied
	if lost {
		outcome = OutcomeUnknown
	}
	return result, lost, &UnavailableError{Outcome: outcome, Err: last.Err}
}
