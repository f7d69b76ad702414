package repository

import (
	"context"

	"spoollock/lock"
)

var takeScript = spoolScript("take")

// Take implements [lock.Store].
func (r *Redis) Take(ctx context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	return run(ctx, r, takeScript, r.replicas, cmds, takeArgs, takeAnswer)
}

func takeArgs(cmd lock.TakeCommand) (lock.Tag, []any) {
	var expected any = ""
	if cmd.Expected != nil {
		expected = int64(*cmd.Expected)
	}
	return cmd.Tag, []any{cmd.Token.Reveal(), cmd.TTL.Milliseconds(), cmd.Owner.Name, cmd.Note, expected, flag(cmd.AtLimit)}
}

func takeAnswer(cmd lock.TakeCommand, answer reply) (lock.Taken, error) {
	switch {
	case answer.decision == "ENDED":
		return lock.Taken{}, &lock.ExpiredError{Tag: cmd.Tag, Cause: answer.ended}
	case answer.decision == "CONFLICT" && cmd.Expected != nil:
		return lock.Taken{}, &lock.VersionConflictError{
			Tag: cmd.Tag, Expected: *cmd.Expected, Actual: answer.spool.Version,
		}
	case answer.decision == "LIMIT" && cmd.AtLimit:
		return lock.Taken{}, lock.ErrAtLimit
	case answer.spool.Lock == nil:
		return lock.Taken{}, answer.unexpected()
	case answer.decision == "OCCUPIED":
		return lock.Taken{}, &lock.OccupiedError{Lock: *answer.spool.Lock}
	case answer.decision == "TAKEN", answer.decision == "REPLAYED":
		return lock.Taken{Lock: *answer.spool.Lock, Token: cmd.Token, Replayed: answer.decision == "REPLAYED"}, nil
	default:
		return lock.Taken{}, answer.unexpected()
	}
}
