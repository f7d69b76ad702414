package repository

import (
	"context"

	"spoollock/lock"
)

var historyScript = spoolScript("history")

// History implements [lock.Store].
func (r *Redis) History(ctx context.Context, tag lock.Tag) ([]lock.Event, error) {
	return runOne(ctx, r, historyScript, 0, tag, readArgs, historyAnswer)
}

func historyAnswer(_ lock.Tag, answer reply) ([]lock.Event, error) { return answer.events, nil }
