package repository

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var drawScript = redis.NewScript(source("rates"))

// Draw draws units from buckets that all processes share. Each gets perSecond units, and
// has room for most. It answers how many are left of each, below 0 where more were drawn
// than there were. An error may leave out some.
func (r *Redis) Draw(ctx context.Context, drawn map[string]int, perSecond, most int) (left map[string]int, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	pipe := r.client.Pipeline()
	answers := map[string]*redis.Cmd{}
	for bucket, units := range drawn {
		answers[bucket] = drawScript.Eval(ctx, pipe, []string{rateKey(bucket)}, units, perSecond, most)
	}
	_, err = pipe.Exec(ctx)
	left = map[string]int{}
	for bucket, answer := range answers {
		units, failed := answer.Int()
		if failed == nil {
			left[bucket] = units
		} else {
			err = failed
		}
	}
	if err != nil {
		return left, fmt.Errorf("draw on shared rates: %w", withoutSecrets(err))
	}
	return left, nil
}
