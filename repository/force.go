package repository

import (
	"context"

	"spoollock/lock"
)

var forceScript = spoolScript("force")

// ForceRelease implements [lock.Store].
func (r *Redis) ForceRelease(ctx context.Context, cmd lock.ForceReleaseCommand) (lock.Forced, error) {
	return runOne(ctx, r, forceScript, 0, cmd, forceArgs, forceAnswer)
}

func forceArgs(cmd lock.ForceReleaseCommand) (lock.Tag, []any) {
	return cmd.Tag, []any{int64(cmd.Expected), cmd.ID.Reveal(), string(cmd.Actor), cmd.Reason}
}

func forceAnswer(cmd lock.ForceReleaseCommand, answer reply) (lock.Forced, error) {
	switch {
	case answer.decision == "ENDED":
		return lock.Forced{}, &lock.ExpiredError{Tag: cmd.Tag, Cause: answer.ended}
	case answer.decision == "CONFLICT":
		return lock.Forced{}, &lock.VersionConflictError{Tag: cmd.Tag, Expected: cmd.Expected, Actual: answer.spool.Version}
	case (answer.decision == "FORCED" || answer.decision == "REPLAYED") && answer.released != nil && answer.spool.Lock == nil:
		answer.released.Tag = cmd.Tag
		return lock.Forced{Spool: answer.spool, Released: *answer.released, Replayed: answer.decision == "REPLAYED"}, nil
	default:
		return lock.Forced{}, answer.unexpected()
	}
}
