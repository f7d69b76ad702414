package graph

import (
	"context"
	"spoollock/graph/generated"
	"spoollock/graph/model"
	"spoollock/lock"
)

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

// FloorUpdates is the resolver for the floorUpdates field.
func (r *subscriptionResolver) FloorUpdates(ctx context.Context, filter *model.SpoolLockFilter) (<-chan *model.FloorUpdate, error) {
	parsed, err := r.floorFilter(filter)
	if err != nil {
		return nil, err
	}
	updates := make(chan *model.FloorUpdate) // no queue: what is not taken is merged
	go sendUpdates(ctx, r.floor.Subscribe(parsed), updates)
	return updates, nil
}

// Subscription returns generated.SubscriptionResolver implementation.
func (r *Resolver) Subscription() generated.SubscriptionResolver { return &subscriptionResolver{r} }

type subscriptionResolver struct{ *Resolver }
