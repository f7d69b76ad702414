package repository

import (
	"context"

	"spoollock/lock"
)

var readScript = spoolScript("read")

// Read implements [lock.Store].
func (r *Redis) Read(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	return run(ctx, r, readScript, 0, tags, readArgs, readAnswer)
}

// ReadDue implements [floor.Source].
func (r *Redis) ReadDue(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	return r.Read(ctx, tags)
}

// ReadScanned implements [floor.Source].
func (r *Redis) ReadScanned(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	return r.Read(ctx, tags)
}

func readArgs(tag lock.Tag) (lock.Tag, []any) { return tag, nil }

func readAnswer(_ lock.Tag, answer reply) (lock.Spool, error) {
	if held := answer.spool.Lock != nil; held != (answer.decision == "HELD") || !held && answer.decision != "FREE" {
		return lock.Spool{}, answer.unexpected()
	}
	return answer.spool, nil
}
