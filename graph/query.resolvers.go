package graph

import (
	"context"
	"spoollock/graph/generated"
	"spoollock/graph/model"
	"spoollock/lock"

	"github.com/99designs/gqlgen/graphql"
)

// SpoolLock is the resolver for the spoolLock field.
func (r *queryResolver) SpoolLock(ctx context.Context, tagSpool string) (*model.SpoolLock, error) {
	spool, err := r.locks.Spool(ctx, tagSpool)
	if err != nil || spool.Lock == nil {
		return nil, err
	}
	return lockModel(*spool.Lock), nil
}

// Spool is the resolver for the spool field.
func (r *queryResolver) Spool(ctx context.Context, tagSpool string) (*model.Spool, error) {
	spool, err := r.locks.Spool(ctx, tagSpool)
	if err != nil {
		return nil, err
	}
	return spoolModel(spool), nil
}

// Spools is the resolver for the spools field.
func (r *queryResolver) Spools(ctx context.Context, tagSpools []string) ([]*model.Spool, error) {
	results, err := r.locks.Spools(ctx, tagSpools)
	if err != nil {
		return nil, err
	}
	reportItems(ctx, r.log, results)
	spools := make([]*model.Spool, len(results))
	for i, result := range results {
		if result.Err != nil {
			place := graphql.WithPathContext(ctx, graphql.NewPathWithIndex(i))
			graphql.AddError(place, graphql.AddFieldLocationToError(place, reportedError{result.Err}))
			continue
		}
		spools[i] = spoolModel(result.Value)
	}
	return spools, nil
}

// LockLimits is the resolver for the lockLimits field.
func (r *queryResolver) LockLimits(ctx context.Context) (*model.LockLimits, error) {
	return limitsModel(r.locks.Limits()), nil
}

// CheckLock is the resolver for the checkLock field.
func (r *queryResolver) CheckLock(ctx context.Context, input model.CheckLockInput) (*model.CheckLockPayload, error) {
	checked, err := r.locks.Check(ctx, input.TagSpool, input.LockToken)
	if err != nil {
		return nil, err
	}
	return &model.CheckLockPayload{Valid: checked.Valid, Spool: spoolModel(checked.Spool)}, nil
}

// SpoolLocks is the resolver for the spoolLocks field.
func (r *queryResolver) SpoolLocks(ctx context.Context, filter *model.SpoolLockFilter, first int, after *string) (*model.SpoolLockConnection, error) {
	parsed, err := r.floorFilter(filter)
	if err != nil {
		return nil, err
	}
	page, err := r.floor.List(parsed, first, lock.Tag(textOrEmpty(after)))
	if err != nil {
		return nil, err
	}
	return lockPageModel(page), nil
}

// Query returns generated.QueryResolver implementation.
func (r *Resolver) Query() generated.QueryResolver { return &queryResolver{r} }

type queryResolver struct{ *Resolver }
