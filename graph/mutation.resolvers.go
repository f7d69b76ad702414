package graph

import (
	"context"
	"spoollock/graph/generated"
	"spoollock/graph/model"
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
	released, err := r.locks.Release(ctx, releaseRequest(input))
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

// TomarSpools is the resolver for the tomarSpools field.
func (r *mutationResolver) TomarSpools(ctx context.Context, input model.TomarSpoolsInput) (*model.TomarSpoolsPayload, error) {
	results, err := r.locks.TakeAll(ctx, requests(input.Items, takeRequest))
	if err != nil {
		return nil, err
	}
	return r.takenAllModel(ctx, input.Items, results), nil
}

// ReleaseSpools is the resolver for the releaseSpools field.
func (r *mutationResolver) ReleaseSpools(ctx context.Context, input model.ReleaseSpoolsInput) (*model.ReleaseSpoolsPayload, error) {
	results, err := r.locks.ReleaseAll(ctx, requests(input.Items, releaseRequest))
	if err != nil {
		return nil, err
	}
	return r.releasedAllModel(ctx, input.Items, results), nil
}

// ExtendLocks is the resolver for the extendLocks field.
func (r *mutationResolver) ExtendLocks(ctx context.Context, input model.ExtendLocksInput) (*model.ExtendLocksPayload, error) {
	results, err := r.locks.ExtendAll(ctx, requests(input.Items, extendRequest))
	if err != nil {
		return nil, err
	}
	return r.extendedAllModel(ctx, input.Items, results), nil
}

// ResumeSpool is the resolver for the resumeSpool field.
func (r *mutationResolver) ResumeSpool(ctx context.Context, input model.ResumeSpoolInput) (*model.ResumeSpoolPayload, error) {
	taken, err := r.locks.Resume(ctx, resumeRequest(input))
	if err != nil {
		return nil, err
	}
	return resumedModel(taken), nil
}

// ForceReleaseSpool is the resolver for the forceReleaseSpool field.
func (r *mutationResolver) ForceReleaseSpool(ctx context.Context, input model.ForceReleaseSpoolInput) (*model.ForceReleaseSpoolPayload, error) {
	forced, err := r.locks.ForceRelease(ctx, forceReleaseRequest(input))
	if err != nil {
		return nil, err
	}
	return forceReleasedModel(forced), nil
}

// Mutation returns generated.MutationResolver implementation.
func (r *Resolver) Mutation() generated.MutationResolver { return &mutationResolver{r} }

type mutationResolver struct{ *Resolver }
