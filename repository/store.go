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

	takeScript    = redis.NewScript(prologue + takeSource)
	releaseScript = redis.NewScript(prologue + releaseSource)
	extendScript  = redis.NewScript(prologue + extendSource)
	readScript    = redis.NewScript(prologue + readSource)
)

var _ lock.Store = (*Redis)(nil)

// Take implements [lock.Store].
func (r *Redis) Take(ctx context.Context, cmd lock.TakeCommand) (lock.Lock, bool, error) {
	var expected any = ""
	if cmd.Expected != nil {
		expected = int64(*cmd.Expected)
	}
	answer, err := r.run(ctx, takeScript, cmd.Tag,
		cmd.Token.Reveal(), cmd.TTL.Milliseconds(), cmd.Owner.Name, cmd.Note, expected)
	if err != nil {
		return lock.Lock{}, false, err
	}
	switch {
	case answer.decision == "ENDED":
		return lock.Lock{}, false, &lock.ExpiredError{Tag: cmd.Tag, Cause: answer.ended}
	case answer.decision == "CONFLICT" && cmd.Expected != nil:
		return lock.Lock{}, false, &lock.VersionConflictError{
			Tag: cmd.Tag, Expected: *cmd.Expected, Actual: answer.spool.Version,
		}
	case answer.spool.Lock == nil:
		return lock.Lock{}, false, answer.unexpected()
	case answer.decision == "OCCUPIED":
		return lock.Lock{}, false, &lock.OccupiedError{Lock: *answer.spool.Lock}
	case answer.decision == "TAKEN", answer.decision == "REPLAYED":
		return *answer.spool.Lock, answer.decision == "REPLAYED", nil
	default:
		return lock.Lock{}, false, answer.unexpected()
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
func (r *Redis) Release(ctx context.Context, cmd lock.ReleaseCommand) (lock.ReleaseOutcome, lock.Spool, error) {
	bar := "0"
	if cmd.Bar {
		bar = "1"
	}
	answer, err := r.run(ctx, releaseScript, cmd.Tag, cmd.Token.Reveal(), cmd.ID.Reveal(), bar)
	if err != nil {
		return "", lock.Spool{}, err
	}
	switch answer.decision {
	case "RELEASED":
		return lock.OutcomeReleased, answer.spool, nil
	case "ENDED":
		outcome, ok := releaseOutcomes[answer.ended]
		if !ok {
			return "", lock.Spool{}, answer.unexpected()
		}
		return outcome, answer.spool, nil
	case "UNKNOWN":
		if answer.spool.Lock != nil {
			return lock.OutcomeNotOwner, answer.spool, nil
		}
		return lock.OutcomeNotHeld, answer.spool, nil
	default:
		return "", lock.Spool{}, answer.unexpected()
	}
}

// Extend implements [lock.Store].
func (r *Redis) Extend(ctx context.Context, cmd lock.ExtendCommand) (lock.Lock, error) {
	answer, err := r.run(ctx, extendScript, cmd.Tag,
		cmd.Token.Reveal(), cmd.By.Milliseconds(), cmd.MaxTTL.Milliseconds(), cmd.ID.Reveal())
	if err != nil {
		return lock.Lock{}, err
	}
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

// Read implements [lock.Store].
func (r *Redis) Read(ctx context.Context, tag lock.Tag) (lock.Spool, error) {
	answer, err := r.run(ctx, readScript, tag)
	if err != nil {
		return lock.Spool{}, err
	}
	if held := answer.spool.Lock != nil; held != (answer.decision == "HELD") || !held && answer.decision != "FREE" {
		return lock.Spool{}, answer.unexpected()
	}
	return answer.spool, nil
}

// run executes one script. On a Redis that does not have it, after a restart or
// a failover, that costs a second round trip, which sends the source.
func (r *Redis) run(ctx context.Context, script *redis.Script, tag lock.Tag, args ...any) (reply, error) {
	keys := []string{lockKey(tag), companionKey(tag)}
	args = append([]any{r.memory.Milliseconds()}, args...)
	values, err := script.Run(ctx, r.client, keys, args...).Slice()
	if err != nil {
		return reply{}, classify(tag, err)
	}
	return decode(tag, values)
}
