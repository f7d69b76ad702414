package repository

import (
	"context"
	"fmt"

	"spoollock/lock"
)

var takeScript = spoolScript("take")

// Take implements [lock.Store].
func (r *Redis) Take(ctx context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	return run(ctx, r, takeScript, r.replicas, cmds, takeArgs, takeAnswer)
}

func takeArgs(cmd lock.TakeCommand) (lock.Tag, []any) {
	expected := "---------------"
	if cmd.Expected != nil {
		expected = versionText(*cmd.Expected)
	}
	of := extras{Owner: string(cmd.Owner.ID), Name: cmd.Owner.Name, Note: cmd.Note}
	token := cmd.Token.Reveal()
	return cmd.Tag, []any{token, fmt.Sprintf("%s%s%015d%s%s%s", origin(cmd.OfClient), digest(token),
		cmd.TTL.Milliseconds(), flag(cmd.AtLimit), expected, of.json())}
}

func takeAnswer(cmd lock.TakeCommand, answer reply) (lock.Taken, error) {
	switch {
	case answer.decision == "ENDED":
		return lock.Taken{}, answer.expired(cmd.Tag)
	case answer.decision == "CONFLICT" && cmd.Expected != nil:
		return lock.Taken{}, &lock.VersionConflictError{
			Tag: cmd.Tag, Expected: *cmd.Expected, Actual: answer.spool.Version,
		}
	case answer.decision == "LIMIT" && cmd.AtLimit:
		return lock.Taken{}, &lock.AtLimitError{Version: answer.spool.Version}
	case answer.spool.Lock == nil:
		return lock.Taken{}, answer.unexpected()
	case answer.decision == "OCCUPIED":
		return lock.Taken{}, &lock.OccupiedError{Lock: *answer.spool.Lock}
	case answer.decision == "TAKEN", answer.decision == "REPLAYED":
		return lock.Taken{
			Lock: *answer.spool.Lock, Token: cmd.Token, Replayed: answer.decision == "REPLAYED",
			Fresh: answer.spool.Change == 1, // the first that was recorded
		}, nil
	default:
		return lock.Taken{}, answer.unexpected()
	}
}
