package graph

import (
	"context"

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
	settle(ctx, r.log, results)
	payload := &model.TomarSpoolsPayload{}
	for i, result := range results {
		m := &model.TomarSpoolResult{TagSpool: r.tag(items[i].TagSpool)}
		if m.Error = r.itemError(ctx, i, result.Err); m.Error != nil {
			payload.Failed++
		} else {
			taken := takenModel(result.Value)
			m.Spool, m.Lock, m.LockToken, m.Replayed = taken.Spool, taken.Lock, &taken.LockToken, &taken.Replayed
			payload.Taken++
		}
		payload.Results = append(payload.Results, m)
	}
	return payload
}

func (r *Resolver) releasedAllModel(ctx context.Context, items []*model.ReleaseSpoolInput, results []lock.Result[lock.Released]) *model.ReleaseSpoolsPayload {
	settle(ctx, r.log, results)
	payload := &model.ReleaseSpoolsPayload{}
	for i, result := range results {
		m := &model.ReleaseSpoolResult{TagSpool: r.tag(items[i].TagSpool)}
		if m.Error = r.itemError(ctx, i, result.Err); m.Error != nil {
			payload.Failed++
		} else {
			released := releasedModel(result.Value)
			m.Spool, m.Released, m.Outcome = released.Spool, &released.Released, &released.Outcome
			if released.Released {
				payload.Released++
			}
		}
		payload.Results = append(payload.Results, m)
	}
	return payload
}

func (r *Resolver) extendedAllModel(ctx context.Context, items []*model.ExtendLockInput, results []lock.Result[lock.Lock]) *model.ExtendLocksPayload {
	settle(ctx, r.log, results)
	payload := &model.ExtendLocksPayload{}
	for i, result := range results {
		m := &model.ExtendLockResult{TagSpool: r.tag(items[i].TagSpool)}
		if m.Error = r.itemError(ctx, i, result.Err); m.Error != nil {
			payload.Failed++
		} else {
			extended := extendedModel(result.Value)
			m.Spool, m.Lock = extended.Spool, extended.Lock
			payload.Extended++
		}
		payload.Results = append(payload.Results, m)
	}
	return payload
}

// itemError is the error of the item at the place; nil: it has none.
func (r *Resolver) itemError(ctx context.Context, place int, err error) *model.SpoolError {
	if err == nil {
		return nil
	}
	ctx = graphql.WithPathContext(ctx, graphql.NewPathWithField("results"))
	ctx = graphql.WithPathContext(ctx, graphql.NewPathWithIndex(place))
	return itemError(ctx, r.log, err)
}

// tag is the canonical tag. What is no tag is answered as it was sent, so that a
// person recognises the item, but no longer than a tag: it may be anything.
func (r *Resolver) tag(sent string) string {
	if tag, err := r.locks.Tags().Parse(sent); err == nil {
		return string(tag)
	}
	characters := []rune(sent)
	return string(characters[:min(len(characters), lock.MaxTagLength)])
}
