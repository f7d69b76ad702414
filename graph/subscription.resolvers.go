package graph

import (
	"context"
	"spoollock/floor"
	"spoollock/gqlhttp/source"
	"spoollock/graph/generated"
	"spoollock/graph/model"
)

// FloorUpdates is the resolver for the floorUpdates field.
func (r *subscriptionResolver) FloorUpdates(ctx context.Context, filter *model.SpoolLockFilter) (<-chan *model.FloorUpdate, error) {
	parsed, err := r.floorFilter(filter)
	if err != nil {
		return nil, err
	}
	subscribe := func() source.Source[*floor.Update] { return r.floor.Subscribe(parsed) }
	return source.Follow(ctx, subscribe, floorUpdateModel), nil
}

// Subscription returns generated.SubscriptionResolver implementation.
func (r *Resolver) Subscription() generated.SubscriptionResolver { return &subscriptionResolver{r} }

type subscriptionResolver struct{ *Resolver }
