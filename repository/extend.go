package repository

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"spoollock/lock"
)

var extendScript = spoolScript("extend")

// Extend implements [lock.Store].
func (r *Redis) Extend(ctx context.Context, cmds []lock.ExtendCommand) []lock.Result[lock.Lock] {
	return run(ctx, r, extendScript, r.replicas, cmds, extendArgs, extendAnswer)
}

func extendArgs(cmd lock.ExtendCommand) (lock.Tag, []any) {
	token := cmd.Token.Reveal()
	return cmd.Tag, []any{token, fmt.Sprintf("%s%s%s%d,%d,%d", digest(token), digest(cmd.ID.Reveal()), origin(cmd.OfClient),
		cmd.By.Milliseconds(), cmd.MaxTTL.Milliseconds(), cmd.SinceFirst.Milliseconds())}
}

func extendAnswer(cmd lock.ExtendCommand, answer reply) (lock.Lock, error) {
	switch {
	case answer.decision == "ENDED":
		return lock.Lock{}, answer.expired(cmd.Tag)
	case answer.spool.Lock == nil:
		return lock.Lock{}, answer.unexpected()
	case answer.decision == "EXTENDED":
		extended := *answer.spool.Lock
		if answer.detail == "" {
			return extended, nil
		}
		gave, err := strconv.ParseInt(answer.detail, 10, 64)
		if err != nil {
			return lock.Lock{}, answer.unexpected()
		}
		setExpiry(&extended, answer.now, gave)
		return extended, nil
	case answer.decision == "FORGOTTEN":
		return lock.Lock{}, &lock.UnavailableError{Outcome: lock.OutcomeUnknown, Err: errForgotten}
	case answer.decision == "OCCUPIED":
		return lock.Lock{}, &lock.OccupiedError{Lock: *answer.spool.Lock}
	case answer.decision == "NO_EXPIRY":
		return lock.Lock{}, &lock.InvalidError{
			Field: lock.FieldExtension, Reason: lock.ReasonNoExpiry,
			Problem: "cannot be granted: the lock has no end, another program wrote it so",
		}
	case answer.decision == "TOO_LONG":
		allowed := max(0, int64((cmd.MaxTTL-answer.spool.Lock.Remaining)/time.Second))
		return lock.Lock{}, &lock.InvalidError{
			Field: lock.FieldExtension, Reason: lock.ReasonOutOfRange, Max: &allowed,
			Problem: fmt.Sprintf("must be at most %d seconds at this moment", allowed),
		}
	default:
		return lock.Lock{}, answer.unexpected()
	}
}
