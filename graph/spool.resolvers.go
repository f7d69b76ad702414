package graph

import (
	"context"
	"spoollock/graph/generated"
	"spoollock/graph/model"
)

// History is the resolver for the history field.
func (r *spoolResolver) History(ctx context.Context, obj *model.Spool, first int, after *string) (*model.SpoolEventConnection, error) {
	page, err := r.locks.History(ctx, obj.TagSpool, first, after)
	if err != nil {
		return nil, err
	}
	return historyModel(obj.TagSpool, page), nil
}

// Spool returns generated.SpoolResolver implementation.
func (r *Resolver) Spool() generated.SpoolResolver { return &spoolResolver{r} }

type spoolResolver struct{ *Resolver }
