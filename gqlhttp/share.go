package gqlhttp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/gqlhttp/source"
)

// When so many bytes of data and of events, or so many responses, are kept to be shared, they
// become the older ones, and those that were the older ones are forgotten.
const (
	maxSharedBytes     = 4 << 20
	maxSharedResponses = 1024
)

// shareKey is equal for subscriptions that ask for the same, of callers who are answered the
// same.
type shareKey [sha256.Size]byte

// shareKeyOf reports false if the operation shares nothing.
func (h *Handler) shareKeyOf(ctx context.Context, operation *graphql.OperationContext) (key shareKey, shared bool) {
	if h.config.ShareKey == nil {
		return key, false
	}
	callers, shared := h.config.ShareKey(ctx, operation)
	if !shared {
		return key, false
	}
	text, err := json.Marshal([]any{operation.RawQuery, operation.OperationName, operation.Variables, callers})
	return sha256.Sum256(text), err == nil
}

// subscribe begins a subscription. The returned function waits for the next response, and
// returns nil at the end.
func (h *Handler) subscribe(ctx context.Context, operation *graphql.OperationContext) (
	next func() *graphql.Response, end func(),
) {
	key, shared := h.shareKeyOf(ctx, operation)
	if !shared {
		responses, ctx := h.exec.DispatchOperation(ctx, operation)
		return func() *graphql.Response { return responses(ctx) }, func() {}
	}
	listening, listener := source.Listen(ctx)
	responses, listening := h.exec.DispatchOperation(listening, operation)
	if !listener.HasSource() { // it is refused, or has a channel
		return func() *graphql.Response { return responses(listening) }, func() {}
	}
	return func() *graphql.Response {
		event, err := listener.Next(ctx)
		if err != nil {
			return nil
		}
		return h.shared.response(sharedEvent{key, event}, func() *graphql.Response {
			return h.respondTo(ctx, operation, event)
		})
	}, listener.Close
}

// respondTo executes a subscription for one event.
func (h *Handler) respondTo(ctx context.Context, operation *graphql.OperationContext, event any) (response *graphql.Response) {
	// Others get the response, too, and their subscriptions go on when this one ends.
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if value := recover(); value != nil {
			response = h.panicked(ctx, value)
		}
	}()
	responses, ctx := h.exec.DispatchOperation(source.WithEvent(ctx, event), operation)
	return responses(ctx)
}

// sharedEvent is an event as subscriptions with the key are told of it.
type sharedEvent struct {
	key   shareKey
	event any
}

// sharedResponses keeps the responses to the newest events, each made once. Nothing may change
// them.
type sharedResponses struct {
	mu           sync.Mutex
	newer, older map[sharedEvent]*sharedResponse
	newerBytes   int // of data, in newer
}

type sharedResponse struct {
	made     sync.Once
	response *graphql.Response
}

// response returns the response to an event. The first that asks makes it, and others wait
// for that.
func (s *sharedResponses) response(event sharedEvent, execute func() *graphql.Response) *graphql.Response {
	r := s.entry(event)
	r.made.Do(func() {
		r.response = execute()
		if r.response != nil {
			s.count(len(r.response.Data) + sizeOf(event.event))
		}
	})
	return r.response
}

// sizeOf is how many bytes an event keeps, which can be many times those of a response to it.
func sizeOf(event any) int {
	if sized, ok := event.(source.Sized); ok {
		return sized.Size()
	}
	return 0
}

func (s *sharedResponses) entry(event sharedEvent) *sharedResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.newer[event]; r != nil {
		return r
	}
	if r := s.older[event]; r != nil {
		return r
	}
	if s.newer == nil || len(s.newer) == maxSharedResponses {
		s.startAnew()
	}
	r := &sharedResponse{}
	s.newer[event] = r
	return r
}

func (s *sharedResponses) count(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newerBytes += bytes; s.newerBytes > maxSharedBytes {
		s.startAnew()
	}
}

// startAnew forgets the older responses.
func (s *sharedResponses) startAnew() {
	s.older, s.newer, s.newerBytes = s.newer, map[sharedEvent]*sharedResponse{}, 0
}
