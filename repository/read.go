package repository

import (
	"context"

	"spoollock/lock"
)

var readScript = spoolScript("read")

// Read implements [lock.Store].
func (r *Redis) Read(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	return runRead(ctx, r, readScript, clientRead, tags, readArgs, readAnswer)
}

// ReadDue implements [floor.Source].
func (r *Redis) ReadDue(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	return runRead(ctx, r, readScript, expiryCheck, tags, readArgs, readAnswer)
}

// ReadScanned implements [floor.Source].
func (r *Redis) ReadScanned(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool] {
	return runRead(ctx, r, readScript, rebuildRead, tags, readArgs, readAnswer)
}

func readArgs(tag lock.Tag) (lock.Tag, []any) { return tag, nil }

func readAnswer(_ lock.Tag, answer reply) (lock.Spool, error) {
	if held := answer.spool.Lock != nil; held != (answer.decision == "HELD") || !held && answer.decision != "FREE" {
		return lock.Spool{}, answer.unexpected()
	}
	return answer.spool, nil
}
