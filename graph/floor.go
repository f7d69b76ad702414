package graph

import (
	"time"

	"spoollock/floor"
	"spoollock/graph/model"
)

func (r *Resolver) floorFilter(filter *model.SpoolLockFilter) (floor.Filter, error) {
	if filter == nil {
		return floor.Filter{}, nil
	}
	return floor.ParseFilter(r.locks.Tags(), floor.FilterRequest{
		OwnerID: filter.OwnerID, TagPrefix: filter.TagPrefix, Tags: filter.TagSpools,
	})
}

func floorUpdateModel(update *floor.Update) *model.FloorUpdate {
	m := &model.FloorUpdate{
		Snapshot: update.Snapshot,
		More:     update.More,
		Changed:  make([]*model.Spool, len(update.Changed)),
		Gone:     make([]string, len(update.Gone)),
		Stale:    update.Stale,
		AsOf:     update.AsOf,
	}
	for i, spool := range update.Changed {
		m.Changed[i] = spoolModel(spool)
	}
	for i, tag := range update.Gone {
		m.Gone[i] = string(tag)
	}
	if m.AsOf.IsZero() {
		m.AsOf = time.Unix(0, 0)
	}
	return m
}

func lockPageModel(page floor.Page) *model.SpoolLockConnection {
	m := &model.SpoolLockConnection{
		Edges:      make([]*model.SpoolLockEdge, len(page.Locks)),
		PageInfo:   &model.PageInfo{HasNextPage: page.More},
		TotalCount: page.Total,
		AsOf:       page.AsOf,
	}
	for i, l := range page.Locks {
		m.Edges[i] = &model.SpoolLockEdge{Cursor: string(l.Tag), Node: lockModel(l)}
		m.PageInfo.EndCursor = &m.Edges[i].Cursor
	}
	return m
}
