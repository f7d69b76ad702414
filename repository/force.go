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
	event := extras{Actor: string(cmd.Actor), Reason: cmd.Reason}
	return cmd.Tag, []any{versionText(cmd.Expected), digest(cmd.ID.Reveal()), event.added()}
}

func forceAnswer(cmd lock.ForceReleaseCommand, answer reply) (lock.Forced, error) {
	switch answer.decision {
	case "ENDED":
		return lock.Forced{}, answer.expired(cmd.Tag)
	case "CONFLICT":
		return lock.Forced{}, &lock.VersionConflictError{Tag: cmd.Tag, Expected: cmd.Expected, Actual: answer.spool.Version}
	case "FORCED", "REPLAYED":
		return forced(cmd, answer)
	default:
		return lock.Forced{}, answer.unexpected()
	}
}

// forced is what the event of a forced release says of it: also of one that was applied
// before, and whatever happened to the spool since.
func forced(cmd lock.ForceReleaseCommand, answer reply) (lock.Forced, error) {
	if len(answer.more) == 0 {
		return lock.Forced{}, answer.unexpected()
	}
	text, _ := answer.more[0].(string)
	l, ok := parseLine(text)
	if !ok {
		return lock.Forced{}, answer.unexpected()
	}
	said := l.extras()
	released := l.lockWith(said)
	released.Tag, released.Version = cmd.Tag, said.Held
	if released.Version < 1 || released.Version > latest {
		released.Version = cmd.Expected
	}
	setExpiry(&released, l.at, l.expires)
	return lock.Forced{
		Spool:    lock.Spool{Tag: cmd.Tag, Version: l.version, Change: l.number},
		Released: released,
		Replayed: answer.decision == "REPLAYED",
	}, nil
}
