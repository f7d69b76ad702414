package repository

import (
	"context"

	"spoollock/lock"
)

var resumeScript = spoolScript("resume")

// Resume implements [lock.Store].
func (r *Redis) Resume(ctx context.Context, cmd lock.ResumeCommand) (lock.Taken, error) {
	return runOne(ctx, r, resumeScript, r.replicas, cmd, resumeArgs, resumeAnswer)
}

func resumeArgs(cmd lock.ResumeCommand) (lock.Tag, []any) {
	return cmd.Tag, []any{
		cmd.Token.Reveal(), origin(cmd.OfClient) + digest(cmd.Token.Reveal()), string(cmd.Worker),
	}
}

func resumeAnswer(cmd lock.ResumeCommand, answer reply) (lock.Taken, error) {
	held := answer.spool.Lock
	switch {
	case answer.decision == "ENDED":
		return lock.Taken{}, answer.expired(cmd.Tag)
	case held == nil:
		return lock.Taken{}, answer.unexpected()
	case answer.decision == "OCCUPIED":
		return lock.Taken{}, &lock.OccupiedError{Lock: *held}
	case answer.decision == "RESUMED", answer.decision == "REPLAYED":
		return lock.Taken{Lock: *held, Token: cmd.Token, Replayed: answer.decision == "REPLAYED"}, nil
	default:
		return lock.Taken{}, answer.unexpected()
	}
}
