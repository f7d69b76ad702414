package repository

import (
	"context"
	"fmt"
	"time"

	"spoollock/lock"
)

var (
	takeScript    = spoolScript("take")
	releaseScript = spoolScript("release")
	extendScript  = spoolScript("extend")
	readScript    = spoolScript("read")
	historyScript = spoolScript("history")
	resumeScript  = spoolScript("resume")
	forceScript   = spoolScript("force")
	checkScript   = spoolScript("check")
)

var _ lock.Store = (*Redis)(nil)

// Take implements [lock.Store].
func (r *Redis) Take(ctx context.Context, cmds []lock.TakeCommand) []lock.Result[lock.Taken] {
	return run(ctx, r, takeScript, r.replicas, cmds, takeCall, takeAnswer)
}

func takeCall(cmd lock.TakeCommand) (lock.Tag, []any) {
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
	return run(ctx, r, releaseScript, 0, cmds, releaseCall, releaseAnswer)
}

func releaseCall(cmd lock.ReleaseCommand) (lock.Tag, []any) {
	return cmd.Tag, []any{cmd.Token.Reveal(), cmd.ID.Reveal(), flag(cmd.Bar)}
}

func releaseAnswer(_ lock.ReleaseCommand, answer reply) (lock.Released, error) {
	released := lock.Released{Spool: answer.spool}
	known := true
	switch answer.decision {
	case "RELEASED":
		released.Outcome = lock.OutcomeReleased
	case "ENDED":
		released.Outcome, known = releaseOutcomes[answer.ended]
	case "UNKNOWN":
		released.Outcome = lock.OutcomeNotHeld
		if answer.spool.Lock != nil {
			released.Outcome = lock.OutcomeNotOwner
		}
	default:
		known = false
	}
	if !known {
		return lock.Released{}, answer.unexpected()
	}
	return released, nil
}

// Extend implements [lock.Store].
func (r *Redis) Extend(ctx context.Context, cmds []lock.ExtendCommand) []lock.Result[lock.Lock] {
	return run(ctx, r, extendScript, r.replicas, cmds, extendCall, extendAnswer)
}

func extendCall(cmd lock.ExtendCommand) (lock.Tag, []any) {
	return cmd.Tag, []any{cmd.Token.Reveal(), cmd.By.Milliseconds(), cmd.MaxTTL.Milliseconds(), cmd.ID.Reveal()}
}

func extendAnswer(cmd lock.ExtendCommand, answer reply) (lock.Lock, error) {
	switch {
	case answer.decision == "ENDED":
		return lock.Lock{}, &lock.ExpiredError{Tag: cmd.Tag, Cause: answer.ended}
	case answer.spool.Lock == nil:
		return lock.Lock{}, answer.unexpected()
	case answer.decision == "EXTENDED":
		return *answer.spool.Lock, nil
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

// Resume implements [lock.Store].
func (r *Redis) Resume(ctx context.Context, cmd lock.ResumeCommand) (lock.Taken, error) {
	return runOne(ctx, r, resumeScript, r.replicas, cmd, resumeCall, resumeAnswer)
}

func resumeCall(cmd lock.ResumeCommand) (lock.Tag, []any) {
	return cmd.Tag, []any{string(cmd.Worker), cmd.Token.Reveal()}
}

func resumeAnswer(cmd lock.ResumeCommand, answer reply) (lock.Taken, error) {
	held := answer.spool.Lock
	switch {
	case answer.decision == "ENDED":
		return lock.Taken{}, &lock.ExpiredError{Tag: cmd.Tag, Cause: answer.ended}
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

// ForceRelease implements [lock.Store].
func (r *Redis) ForceRelease(ctx context.Context, cmd lock.ForceReleaseCommand) (lock.Forced, error) {
	return runOne(ctx, r, forceScript, 0, cmd, forceCall, forceAnswer)
}

func forceCall(cmd lock.ForceReleaseCommand) (lock.Tag, []any) {
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

// Check implements [lock.Store].
func (r *Redis) Check(ctx context.Context, cmd lock.CheckCommand) (lock.Checked, error) {
	return runOne(ctx, r, checkScript, 0, cmd, checkCall, checkAnswer)
}

func checkCall(cmd lock.CheckCommand) (lock.Tag, []any) { return cmd.Tag, []any{cmd.Token.Reveal()} }

func checkAnswer(_ lock.CheckCommand, answer reply) (lock.Checked, error) {
	valid := answer.decision == "HOLDS"
	if !valid && answer.decision != "HOLDS_NOT" || valid && answer.spool.Lock == nil {
		return lock.Checked{}, answer.unexpected()
	}
	return lock.Checked{Valid: valid, Spool: answer.spool}, nil
}

// Read implements [lock.Store].
func (r *Redis) Read(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	return run(ctx, r, readScript, 0, tags, readCall, readAnswer)
}

func readCall(tag lock.Tag) (lock.Tag, []any) { return tag, nil }

func readAnswer(_ lock.Tag, answer reply) (lock.Spool, error) {
	if held := answer.spool.Lock != nil; held != (answer.decision == "HELD") || !held && answer.decision != "FREE" {
		return lock.Spool{}, answer.unexpected()
	}
	return answer.spool, nil
}

// History implements [lock.Store].
func (r *Redis) History(ctx context.Context, tag lock.Tag) ([]lock.Event, error) {
	return runOne(ctx, r, historyScript, 0, tag, readCall, historyAnswer)
}

func historyAnswer(_ lock.Tag, answer reply) ([]lock.Event, error) { return answer.events, nil }
