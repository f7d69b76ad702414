package repository

import (
	"cmp"
	"context"

	"spoollock/lock"
)

var releaseScript = spoolScript("release")

// releaseOutcomes says what a token that had ended before is told.
var releaseOutcomes = map[lock.End]lock.ReleaseOutcome{
	lock.EndReleased: lock.OutcomeAlreadyReleased,
	// Another program released it, by the same token.
	lock.EndReleasedExternally: lock.OutcomeAlreadyReleased,
	lock.EndExpired:            lock.OutcomeExpired,
	lock.EndForceReleased:      lock.OutcomeForceReleased,
	lock.EndSuperseded:         lock.OutcomeSuperseded,
}

// Release implements [lock.Store].
func (r *Redis) Release(ctx context.Context, cmds []lock.ReleaseCommand) []lock.Result[lock.Released] {
	return run(ctx, r, releaseScript, 0, cmds, releaseArgs, releaseAnswer)
}

func releaseArgs(cmd lock.ReleaseCommand) (lock.Tag, []any) {
	event := extras{By: hexDigest(cmd.ID.Reveal())[:12], Done: cmd.Note}
	token := cmd.Token.Reveal()
	return cmd.Tag, []any{token, digest(token) + flag(cmd.Bar) + event.added()}
}

func releaseAnswer(_ lock.ReleaseCommand, answer reply) (lock.Released, error) {
	released := lock.Released{Spool: answer.spool, Outcome: lock.OutcomeNotHeld}
	if answer.spool.Lock != nil {
		released.Outcome = lock.OutcomeNotOwner
	}
	switch answer.decision {
	case "RELEASED":
		released.Outcome = lock.OutcomeReleased
	case "ENDED":
		released.Outcome = cmp.Or(releaseOutcomes[answer.ended()], released.Outcome)
	case "UNKNOWN":
	default:
		return lock.Released{}, answer.unexpected()
	}
	return released, nil
}
