package repository

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

var (
	//go:embed prologue.lua
	prologue string
	//go:embed take.lua
	takeSource string
	//go:embed release.lua
	releaseSource string
	//go:embed extend.lua
	extendSource string
	//go:embed read.lua
	readSource string
	//go:embed history.lua
	historySource string
	//go:embed resume.lua
	resumeSource string
	//go:embed force.lua
	forceSource string
	//go:embed check.lua
	checkSource string

	takeScript    = redis.NewScript(prologue + takeSource)
	releaseScript = redis.NewScript(prologue + releaseSource)
	extendScript  = redis.NewScript(prologue + extendSource)
	readScript    = redis.NewScript(prologue + readSource)
	historyScript = redis.NewScript(prologue + historySource)
	resumeScript  = redis.NewScript(prologue + resumeSource)
	forceScript   = redis.NewScript(prologue + forceSource)
	checkScript   = redis.NewScript(prologue + checkSource)
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

// flag is how the scripts are told yes or no.
func flag(yes bool) string {
	if yes {
		return "1"
	}
	return "0"
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

// runOne is [run] for one command.
func runOne[C, T any](ctx context.Context, r *Redis, script *redis.Script, replicas int, cmd C,
	arguments func(C) (lock.Tag, []any), answer func(C, reply) (T, error),
) (T, error) {
	result := run(ctx, r, script, replicas, []C{cmd}, arguments, answer)[0]
	return result.Value, result.Err
}

// run executes one script for each command, all in one round trip, in a Cluster in
// one to each master that has any of the keys. On a Redis that does not have the
// script, after a restart or a failover, that costs a second one, which sends the
// source. What the script did is to be on so many replicas as well.
func run[C, T any](ctx context.Context, r *Redis, script *redis.Script, replicas int, cmds []C,
	arguments func(C) (lock.Tag, []any), answer func(C, reply) (T, error),
) []lock.Result[T] {
	calls := make([]*call, len(cmds))
	for i, cmd := range cmds {
		tag, args := arguments(cmd)
		calls[i] = &call{tag: tag, args: append([]any{r.memory.Milliseconds(), r.channel}, args...)}
	}
	r.ask(ctx, calls, script, replicas)
	results := make([]lock.Result[T], len(cmds))
	for i, cmd := range cmds {
		// The value counts even beside an error: to go-redis, a connection that broke
		// after this answer is an error of all.
		values, _ := calls[i].answer.Val().([]any)
		if values == nil {
			_, err := calls[i].answer.Slice()
			results[i].Err = classify(calls[i].tag, err)
			continue
		}
		reply, err := decode(calls[i].tag, values)
		if err != nil {
			results[i].Err = err
			continue
		}
		r.saw(reply.spool)
		results[i].Value, results[i].Err = answer(cmd, reply)
		if err := calls[i].unconfirmed; results[i].Err == nil && err != nil {
			results[i].Err = &lock.UnavailableError{
				Outcome: lock.OutcomeUnknown, Err: fmt.Errorf("spool %s: %w", calls[i].tag, err),
			}
		}
	}
	return results
}
