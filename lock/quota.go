package lock

import (
	"context"
	"errors"
	"time"
)

// quota says which bounds a take has reached. At the bound on locks the worker gets no further
// lock; at that on fresh spools, none of a spool that was never seen.
type quota struct {
	locks *LimitError // the bound on locks is reached
	fresh error       // the bound on fresh spools is reached: *RateLimitedError

	tookFresh bool // the take counts as one of a fresh spool
}

// beginTake counts the take as under way until end, and says in cmd and q whether it is at a
// bound.
func (s *Service) beginTake(ctx context.Context, cmd *TakeCommand, q *quota) (end func()) {
	caller, _ := CallerOf(ctx)
	var endHolding func()
	var endFresh func(fresh bool)
	q.locks, endHolding = s.holdings.begin(caller, cmd.Owner.ID, cmd.Tag)
	endFresh, q.fresh = s.config.BeginFresh(ctx)
	cmd.AtLimit = q.locks != nil || q.fresh != nil
	return func() {
		endHolding()
		endFresh(q.tookFresh)
	}
}

// finishAtLimit finishes the takes that found a free spool and were to get no further lock. If
// only the bound on fresh spools is reached, and the answer of the store says that the spool is
// not fresh, it takes the spool after all.
func (s *Service) finishAtLimit(
	ctx context.Context, deadline time.Time, cmds []TakeCommand, quotas []quota, results []Result[Taken], lost []bool,
) {
	var known []int
	var again []TakeCommand
	for i := range cmds {
		atLimit := (*AtLimitError)(nil)
		if !errors.As(results[i].Err, &atLimit) {
			continue
		}
		switch q := quotas[i]; {
		case q.locks != nil:
			results[i].Err = q.locks
		case q.fresh == nil: // the store is broken
		case atLimit.Version == 0:
			results[i].Err = q.fresh
		default:
			cmds[i].AtLimit = false
			known, again = append(known, i), append(again, cmds[i])
		}
	}
	if len(again) == 0 {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	taken := make([]Result[Taken], len(again))
	lostAgain := try(ctx, s, again, taken, s.store.Take)
	for n, i := range known {
		results[i], lost[i] = taken[n], lostAgain[n]
	}
}

// countsAsFresh reports whether a take counts as one of a fresh spool. If its caller left
// before the answer, it does: the spool may be one, and is remembered though its lock is
// taken back.
func countsAsFresh(ctx context.Context, cmd TakeCommand, result Result[Taken], lost bool) bool {
	if result.Err == nil {
		return result.Value.Fresh && (lost || !result.Value.Replayed)
	}
	return lost && !cmd.AtLimit && errors.Is(ctx.Err(), context.Canceled)
}
