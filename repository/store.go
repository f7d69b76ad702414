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
	reply, err := r.run(ctx, takeScript, cmd.Tag,
		cmd.Token.Reveal(), cmd.TTL.Milliseconds(), cmd.Owner.Name, cmd.Note, expected)
	if err != nil {
		return lock.Lock{}, false, err
	}
	switch {
	case reply.decision == "ENDED":
		return lock.Lock{}, false, &lock.ExpiredError{Tag: cmd.Tag, Cause: reply.ended}
	case reply.decision == "CONFLICT" && cmd.Expected != nil:
		return lock.Lock{}, false, &lock.VersionConflictError{
			Tag: cmd.Tag, Expected: *cmd.Expected, Actual: reply.spool.Version,
		}
	case reply.spool.Lock == nil:
		return lock.Lock{}, false, reply.unexpected()
	case reply.decision == "OCCUPIED":
		return lock.Lock{}, false, &lock.OccupiedError{Lock: *reply.spool.Lock}
	case reply.decision == "TAKEN", reply.decision == "REPLAYED":
		return *reply.spool.Lock, reply.decision == "REPLAYED", nil
	default:
		return lock.Lock{}, false, reply.unexpected()
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
	reply, err := r.run(ctx, releaseScript, cmd.Tag, cmd.Token.Reveal(), cmd.ID.Reveal(), bar)
	if err != nil {
		return "", lock.Spool{}, err
	}
	switch reply.decision {
	case "RELEASED":
		return lock.OutcomeReleased, reply.spool, nil
	case "ENDED":
		return releaseOutcomes[reply.ended], reply.spool, nil
	case "UNKNOWN":
		if reply.spool.Lock != nil {
			return lock.OutcomeNotOwner, reply.spool, nil
		}
		return lock.OutcomeNotHeld, reply.spool, nil
	default:
		return "", lock.Spool{}, reply.unexpected()
	}
}

// Extend implements [lock.Store].
func (r *Redis) Extend(ctx context.Context, cmd lock.ExtendCommand) (lock.Lock, error) {
	reply, err := r.run(ctx, extendScript, cmd.Tag,
		cmd.Token.Reveal(), cmd.By.Milliseconds(), cmd.MaxTTL.Milliseconds(), cmd.ID.Reveal())
	if err != nil {
		return lock.Lock{}, err
	}
	switch {
	case reply.decision == "ENDED":
		return lock.Lock{}, &lock.ExpiredError{Tag: cmd.Tag, Cause: reply.ended}
	case reply.spool.Lock == nil:
		return lock.Lock{}, reply.unexpected()
	case reply.decision == "EXTENDED":
		return *reply.spool.Lock, nil
	case reply.decision == "OCCUPIED":
		return lock.Lock{}, &lock.OccupiedError{Lock: *reply.spool.Lock}
	case reply.decision == "NO_EXPIRY":
		return lock.Lock{}, &lock.InvalidError{
			Field: lock.FieldExtension, Reason: lock.ReasonNoExpiry,
			Problem: "cannot be granted: the lock has no end, another program wrote it so",
		}
	case reply.decision == "TOO_LONG":
		allowed := max(0, int64((cmd.MaxTTL-reply.spool.Lock.Remaining)/time.Second))
		return lock.Lock{}, &lock.InvalidError{
			Field: lock.FieldExtension, Reason: lock.ReasonOutOfRange, Max: &allowed,
			Problem: fmt.Sprintf("must be at most %d seconds at this moment", allowed),
		}
	default:
		return lock.Lock{}, reply.unexpected()
	}
}

// Read implements [lock.Store].
func (r *Redis) Read(ctx context.Context, tag lock.Tag) (lock.Spool, error) {
	reply, err := r.run(ctx, readScript, tag)
	if err != nil {
		return lock.Spool{}, err
	}
	return reply.spool, nil
}

// run executes one script. On a Redis that does not have it, after a restart or
// a failover, that costs a second round trip, which sends the source.
func (r *Redis) run(ctx context.Context, script *redis.Script, tag lock.Tag, args ...any) (reply, error) {
	keys := []string{lockKey(tag), companionKey(tag)}
	args = append([]any{r.memory.Milliseconds()}, args...)
	values, err := script.Run(ctx, r.client, keys, args...).Slice()
	if err != nil {
		return reply{}, classify(fmt.Errorf("spool %s: %w", tag, err))
	}
	return decode(tag, values)
}
