package graph

import (
	"context"
	"spoollock/graph/generated"
	"spoollock/graph/model"
)

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
