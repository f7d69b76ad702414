package graph

import (
	"context"
	"spoollock/graph/generated"
	"spoollock/graph/model"
	"spoollock/lock"
)

// TomarSpool is the resolver for the tomarSpool field.
func (r *mutationResolver) TomarSpool(ctx context.Context, input model.TomarSpoolInput) (*model.TomarSpoolPayload, error) {
	taken, err := r.locks.Take(ctx, takeRequest(input))
	if err != nil {
		return nil, err
	}
	return takenModel(taken), nil
}

// ReleaseSpool is the resolver for the releaseSpool field.
func (r *mutationResolver) ReleaseSpool(ctx context.Context, input model.ReleaseSpoolInput) (*model.ReleaseSpoolPayload, error) {
	released, err := r.locks.Release(ctx, lock.ReleaseRequest{Tag: input.TagSpool, Token: input.LockToken})
	if err != nil {
		return nil, err
	}
	return releasedModel(released), nil
}

// ExtendLock is the resolver for the extendLock field.
func (r *mutationResolver) ExtendLock(ctx context.Context, input model.ExtendLockInput) (*model.ExtendLockPayload, error) {
	extended, err := r.locks.Extend(ctx, extendRequest(input))
	if err != nil {
		return nil, err
	}
	return extendedModel(extended), nil
}

// Mutation returns generated.MutationResolver implementation.
func (r *Resolver) Mutation() generated.MutationResolver { return &mutationResolver{r} }

type mutationResolver struct{ *Resolver }
