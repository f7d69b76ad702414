package graph

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"spoollock/graph/model"
	"spoollock/lock"
)

func takeRequest(input model.TomarSpoolInput) lock.TakeRequest {
	request := lock.TakeRequest{
		Tag:             input.TagSpool,
		WorkerID:        textOrEmpty(input.WorkerID),
		WorkerName:      textOrEmpty(input.WorkerNombre),
		Note:            textOrEmpty(input.Note),
		ExpectedVersion: (*lock.Version)(input.ExpectedVersion),
		RequestID:       input.RequestID,
	}
	if input.TTLSeconds != nil {
		ttl := seconds(*input.TTLSeconds)
		request.TTL = &ttl
	}
	return request
}

func releaseRequest(input model.ReleaseSpoolInput) lock.ReleaseRequest {
	return lock.ReleaseRequest{Tag: input.TagSpool, Token: input.LockToken, Note: textOrEmpty(input.Note)}
}

func extendRequest(input model.ExtendLockInput) lock.ExtendRequest {
	return lock.ExtendRequest{
		Tag:       input.TagSpool,
		Token:     input.LockToken,
		By:        seconds(input.AdditionalSeconds),
		RequestID: input.RequestID,
	}
}

func resumeRequest(input model.ResumeSpoolInput) lock.ResumeRequest {
	return lock.ResumeRequest{Tag: input.TagSpool, RequestID: input.RequestID}
}

func forceReleaseRequest(input model.ForceReleaseSpoolInput) lock.ForceReleaseRequest {
	return lock.ForceReleaseRequest{
		Tag:             input.TagSpool,
		Reason:          input.Reason,
		ExpectedVersion: lock.Version(input.ExpectedVersion),
		RequestID:       input.RequestID,
	}
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// WholeSeconds are the seconds of d, rounded up, as an Int of GraphQL.
func WholeSeconds(d time.Duration) int { return int(min(math.Ceil(d.Seconds()), math.MaxInt32)) }

// textOrEmpty gives the empty text for one that was left out.
func textOrEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func takenModel(taken lock.Taken) *model.TomarSpoolPayload {
	held := lockModel(taken.Lock)
	return &model.TomarSpoolPayload{
		Lock:      held,
		Spool:     heldSpoolModel(held),
		LockToken: taken.Token.Reveal(),
		Replayed:  taken.Replayed,
	}
}

func releasedModel(released lock.Released) *model.ReleaseSpoolPayload {
	return &model.ReleaseSpoolPayload{
		Released: released.Outcome.Released(),
		Outcome:  released.Outcome,
		Spool:    spoolModel(released.Spool),
	}
}

func extendedModel(extended lock.Lock) *model.ExtendLockPayload {
	held := lockModel(extended)
	return &model.ExtendLockPayload{Lock: held, Spool: heldSpoolModel(held)}
}

func resumedModel(taken lock.Taken) *model.ResumeSpoolPayload {
	held := lockModel(taken.Lock)
	return &model.ResumeSpoolPayload{Lock: held, Spool: heldSpoolModel(held), LockToken: taken.Token.Reveal()}
}

func forceReleasedModel(forced lock.Forced) *model.ForceReleaseSpoolPayload {
	return &model.ForceReleaseSpoolPayload{Spool: spoolModel(forced.Spool), Released: lockModel(forced.Released)}
}

func limitsModel(limits lock.Limits) *model.LockLimits {
	return &model.LockLimits{
		DefaultTTLSeconds: int(limits.DefaultTTL / time.Second),
		MaxTTLSeconds:     int(limits.MaxTTL / time.Second),
		BatchSize:         lock.MaxBatch,
		MaxLocksPerWorker: limits.LocksPerWorker,
	}
}

// heldSpoolModel is the spool that a lock holds.
func heldSpoolModel(held *model.SpoolLock) *model.Spool {
	return &model.Spool{ID: spoolID(held.TagSpool), TagSpool: held.TagSpool, Version: held.Version, Lock: held}
}

func spoolModel(spool lock.Spool) *model.Spool {
	m := &model.Spool{
		ID:       spoolID(string(spool.Tag)),
		TagSpool: string(spool.Tag),
		Version:  int64(spool.Version),
	}
	if spool.Lock != nil {
		m.Lock = lockModel(*spool.Lock)
	}
	return m
}

func spoolID(tag string) string { return "spool:" + tag }

func lockModel(l lock.Lock) *model.SpoolLock {
	m := &model.SpoolLock{
		ID:        "lock:" + string(l.Tag) + "@" + strconv.FormatInt(int64(l.Version), 10),
		TagSpool:  string(l.Tag),
		OwnerID:   string(l.Owner.ID),
		OwnerName: textOrNil(l.Owner.Name),
		Note:      textOrNil(l.Note),
		Version:   int64(l.Version),
	}
	if !l.AcquiredAt.IsZero() {
		m.AcquiredAt = &l.AcquiredAt
	}
	if !l.ExpiresAt.IsZero() {
		remaining := WholeSeconds(l.Remaining)
		m.ExpiresAt, m.RemainingSeconds = &l.ExpiresAt, &remaining
	}
	return m
}

func historyModel(tag string, page lock.HistoryPage) *model.SpoolEventConnection {
	m := &model.SpoolEventConnection{
		Edges:    make([]*model.SpoolEventEdge, len(page.Events)),
		PageInfo: &model.PageInfo{HasNextPage: page.More},
	}
	for i, event := range page.Events {
		m.Edges[i] = &model.SpoolEventEdge{Cursor: event.Cursor().String(), Node: eventModel(tag, event)}
		m.PageInfo.EndCursor = &m.Edges[i].Cursor
	}
	return m
}

func eventModel(tag string, event lock.Event) *model.SpoolEvent {
	m := &model.SpoolEvent{
		ID:        fmt.Sprintf("event:%s@%d.%d", tag, event.Version, event.Number),
		Type:      event.Type,
		At:        event.At,
		OwnerID:   string(event.Owner.ID),
		OwnerName: textOrNil(event.Owner.Name),
		Version:   int64(event.Version),
		Note:      textOrNil(event.Note),
		Actor:     textOrNil(string(event.Actor)),
		Reason:    textOrNil(event.Reason),
	}
	if !event.ExpiresAt.IsZero() {
		m.ExpiresAt = &event.ExpiresAt
	}
	return m
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
