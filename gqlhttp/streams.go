package gqlhttp

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// closeTimeout is how long a peer may take to answer a WebSocket's close.
const closeTimeout = 500 * time.Millisecond

// StreamCounts is what an operator asks of the streaming transports.
type StreamCounts struct {
	WebSockets    int // open now
	EventStreams  int // answers by Server-Sent Events, open now
	Subscriptions int // running now, of both
	Refused       int // WebSockets, operations and messages beyond a limit, since the start
}

// streams counts and bounds what is open, and ends it.
type streams struct {
	sockets, subscriptions *quota
	beforeInit             *quota // of the sockets, those that are not acknowledged
	eventStreams, refused  atomic.Int64

	// Their ends are the two steps of a shutdown: from the first on nothing begins and
	// subscriptions end, at the second everything is cut off.
	ending, cut context.Context
	end, cutOff context.CancelFunc

	mu   sync.Mutex // orders begin before end
	open sync.WaitGroup
}

func newStreams(limits StreamLimits) *streams {
	s := &streams{
		sockets:       newQuota(limits.Subscriptions, limits.PerNetwork, limits.PerCaller),
		subscriptions: newQuota(limits.Subscriptions, limits.PerNetwork, limits.PerCaller),
		beforeInit:    newQuota(limits.Subscriptions, limits.BeforeInit, 0),
	}
	s.ending, s.end = context.WithCancel(context.Background())
	s.cut, s.cutOff = context.WithCancel(context.Background())
	return s
}

// begin reports whether a stream may begin; it is over with open.Done.
func (s *streams) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Err() != nil {
		return false
	}
	s.open.Add(1)
	return true
}

// atEnd has f called when subscriptions are to end, and atCut when everything is,
// unless stop is called before.
func (s *streams) atEnd(f func()) (stop func() bool) { return context.AfterFunc(s.ending, f) }

func (s *streams) atCut(f func()) (stop func() bool) { return context.AfterFunc(s.cut, f) }

func (s *streams) shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	over := make(chan struct{})
	go func() {
		s.open.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		s.cutOff()
		return context.Cause(ctx)
	}
}

func (s *streams) counts() StreamCounts {
	return StreamCounts{
		WebSockets:    s.sockets.count(),
		EventStreams:  int(s.eventStreams.Load()),
		Subscriptions: s.subscriptions.count(),
		Refused:       int(s.refused.Load()),
	}
}

// enter takes a place of the quota, or reports false.
func (s *streams) enter(q *quota, key quotaKey) bool {
	if q.enter(key) {
		return true
	}
	s.refused.Add(1)
	return false
}

// place is what a socket takes of the quotas: of its network from the handshake on, and of
// its caller once that is known by the init.
type place struct {
	streams    *streams
	key        quotaKey
	beforeInit bool
}

// enterSocket returns a place, or nil.
func (s *streams) enterSocket(network string) *place {
	key := quotaKey{network: network}
	if !s.enter(s.sockets, key) {
		return nil
	}
	if !s.enter(s.beforeInit, key) {
		s.sockets.leave(key)
		return nil
	}
	return &place{streams: s, key: key, beforeInit: true}
}

// initialise makes the place the caller's, or reports false. It must be called once at most.
func (p *place) initialise(caller string) bool {
	if !p.streams.sockets.identify(caller) {
		p.streams.refused.Add(1)
		return false
	}
	p.streams.beforeInit.leave(p.key)
	p.key.caller, p.beforeInit = caller, false
	return true
}

func (p *place) leave() {
	if p.beforeInit {
		p.streams.beforeInit.leave(p.key)
	}
	p.streams.sockets.leave(p.key)
}

// The reasons of a refusal with Codes.RateLimited.
const (
	reasonSockets       = "WEBSOCKETS"
	reasonSubscriptions = "SUBSCRIPTIONS"
)

func (h *Handler) tooManyOpen(reason string) *Refusal {
	return &Refusal{
		Status: http.StatusTooManyRequests, Code: h.config.Codes.RateLimited, RetryAfterSeconds: 1,
		Message:    "Too many are open, here, of this address or of this caller.",
		Extensions: map[string]any{"reason": reason},
	}
}

func (h *Handler) shuttingDown() *Refusal {
	return &Refusal{
		Status: http.StatusServiceUnavailable, Code: h.config.Codes.Unavailable, RetryAfterSeconds: 1,
		Message:    "The service is shutting down.",
		Extensions: h.config.ShutdownExtensions,
	}
}

// runOperation carries an operation out. Each response is handed to send, which reports
// whether it was written; nothing is taken from the operation before. A response
// without data is the last one. runOperation reports whether the operation came to its end:
// false where ctx ended it, or a response could not be written.
func (h *Handler) runOperation(ctx context.Context, operation *graphql.OperationContext, send func(*graphql.Response) bool) (ended bool) {
	defer func() {
		if value := recover(); value != nil {
			ended = send(h.panicked(ctx, value))
		}
	}()
	if operation.Operation.Operation != ast.Subscription {
		return send(h.execute(ctx, operation))
	}
	next, end := h.subscribe(ctx, operation)
	defer end()
	for {
		response := next()
		if response == nil {
			return ctx.Err() == nil
		}
		if !send(response) {
			return false
		}
		if response.Data == nil {
			return true
		}
	}
}

// untilExpiry returns a context that is done when the caller expires.
func untilExpiry(ctx context.Context, caller Caller) (context.Context, context.CancelFunc) {
	if !caller.Expires.IsZero() {
		return context.WithDeadline(ctx, caller.Expires)
	}
	return context.WithCancel(ctx)
}
