package graph

import (
	"context"
	"spoollock/graph/model"
)

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

// CheckLock is the resolver for the checkLock field.
func (r *queryResolver) CheckLock(ctx context.Context, input model.CheckLockInput) (*model.CheckLockPayload, error) {
	checked, err := r.locks.Check(ctx, input.TagSpool, input.LockToken)
	if err != nil {
		return nil, err
	}
	return &model.CheckLockPayload{Valid: checked.Valid, Spool: spoolModel(checked.Spool)}, nil
}
