package graph

import (
	"context"
	"log/slog"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/graph/model"
	"spoollock/lock"
)

// requests makes a request of each item of a batch.
func requests[I, R any](items []*I, request func(I) R) []R {
	all := make([]R, len(items))
	for i, item := range items {
		all[i] = request(*item)
	}
	return all
}

func (r *Resolver) takenAllModel(ctx context.Context, items []*model.TomarSpoolInput, results []lock.Result[lock.Taken]) *model.TomarSpoolsPayload {
	payload := &model.TomarSpoolsPayload{}
	payload.Results, payload.Failed = itemModels(ctx, r.log, results, func(i int, value lock.Taken, err *model.SpoolError) *model.TomarSpoolResult {
		m := &model.TomarSpoolResult{TagSpool: r.itemTag(items[i].TagSpool), Error: err}
		if err == nil {
			taken := takenModel(value)
			m.Spool, m.Lock, m.LockToken, m.Replayed = taken.Spool, taken.Lock, &taken.LockToken, &taken.Replayed
			payload.Taken++
		}
		return m
	})
	return payload
}

func (r *Resolver) releasedAllModel(ctx context.Context, items []*model.ReleaseSpoolInput, results []lock.Result[lock.Released]) *model.ReleaseSpoolsPayload {
	payload := &model.ReleaseSpoolsPayload{}
	payload.Results, payload.Failed = itemModels(ctx, r.log, results, func(i int, value lock.Released, err *model.SpoolError) *model.ReleaseSpoolResult {
		m := &model.ReleaseSpoolResult{TagSpool: r.itemTag(items[i].TagSpool), Error: err}
		if err == nil {
			released := releasedModel(value)
			m.Spool, m.Released, m.Outcome = released.Spool, &released.Released, &released.Outcome
			if released.Released {
				payload.Released++
			}
		}
		return m
	})
	return payload
}

func (r *Resolver) extendedAllModel(ctx context.Context, items []*model.ExtendLockInput, results []lock.Result[lock.Lock]) *model.ExtendLocksPayload {
	payload := &model.ExtendLocksPayload{}
	payload.Results, payload.Failed = itemModels(ctx, r.log, results, func(i int, value lock.Lock, err *model.SpoolError) *model.ExtendLockResult {
		m := &model.ExtendLockResult{TagSpool: r.itemTag(items[i].TagSpool), Error: err}
		if err == nil {
			extended := extendedModel(value)
			m.Spool, m.Lock = extended.Spool, extended.Lock
			payload.Extended++
		}
		return m
	})
	return payload
}

// itemModels makes a model of the result of each item of a batch: of its value, or of its
// error. It returns them in the order of the items, and how many have an error.
func itemModels[T, M any](ctx context.Context, log *slog.Logger, results []lock.Result[T], itemModel func(i int, value T, err *model.SpoolError) M) (models []M, failed int) {
	reportItems(ctx, log, results)
	ctx = graphql.WithPathContext(ctx, graphql.NewPathWithField("results"))
	for i, result := range results {
		var itemErr *model.SpoolError
		if result.Err != nil {
			itemErr = itemError(graphql.WithPathContext(ctx, graphql.NewPathWithIndex(i)), log, result.Err)
			failed++
		}
		models = append(models, itemModel(i, result.Value, itemErr))
	}
	return models, failed
}

// itemTag is the canonical tag. What is no tag is answered as it was sent, so that a
// person recognises the item, but no longer than a tag: it may be anything.
func (r *Resolver) itemTag(sent string) string {
	if tag, err := r.locks.Tags().Parse(sent); err == nil {
		return string(tag)
	}
	characters := []rune(sent)
	return string(characters[:min(len(characters), lock.MaxTagLength)])
}
