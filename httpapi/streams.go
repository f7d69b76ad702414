package httpapi

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"spoollock/graph"
	"spoollock/lock"
)

// StreamTimes are the patience of the streaming transports. A zero is the default.
type StreamTimes struct {
	Init      time.Duration // from a WebSocket's handshake to its connection_init; 3 s
	KeepAlive time.Duration // of silence, until something is sent to see if the peer lives; 12 s
	Write     time.Duration // for one message to be taken by the network; 10 s
}

// closeTimeout is how long a peer may take to answer a WebSocket's close.
const closeTimeout = 500 * time.Millisecond

func (t StreamTimes) withDefaults() StreamTimes {
	if t.Init == 0 {
		t.Init = 3 * time.Second
	}
	if t.KeepAlive == 0 {
		t.KeepAlive = 12 * time.Second
	}
	if t.Write == 0 {
		t.Write = 10 * time.Second
	}
	return t
}

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
	events, refused        atomic.Int64

	// Their ends are the two steps of a shutdown: from the first on nothing begins and
	// subscriptions end, at the second everything is cut off.
	ending, cut context.Context
	end, cutOff context.CancelFunc

	mu   sync.Mutex // orders begin before end
	open sync.WaitGroup
}

func newStreams(limits Limits) *streams {
	s := &streams{
		sockets:       newQuota(limits),
		subscriptions: newQuota(limits),
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
		EventStreams:  int(s.events.Load()),
		Subscriptions: s.subscriptions.count(),
		Refused:       int(s.refused.Load()),
	}
}

// enter takes a place of the quota, or says why there is none.
func (s *streams) enter(q *quota, who whose, reason string) *refusal {
	if q.enter(who) {
		return nil
	}
	s.refused.Add(1)
	return rateLimited(reason, "Too many are open, here, of this address or of this caller.")
}

func rateLimited(reason, message string) *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, code: graph.CodeRateLimited, message: message,
		extensions: map[string]any{"reason": reason, retryAfter: 1},
	}
}

func shuttingDown() *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, code: graph.CodeServiceUnavailable,
		message:    "The service is shutting down.",
		extensions: map[string]any{"retryable": true, "outcome": lock.NotApplied, retryAfter: 1},
	}
}

// streaming is what the streaming transports have in common.
type streaming struct {
	transport
	streams *streams
	times   StreamTimes
	callers *callers
}

// run carries an operation out. Each response is handed to send, which reports
// whether it was written; nothing is taken from the operation before. A response
// without data is the last one. run reports whether the operation came to its end:
// false where ctx ended it, or a response could not be written.
func (s streaming) run(
	ctx context.Context, exec graphql.GraphExecutor, operation *graphql.OperationContext, send func(*graphql.Response) bool,
) (ended bool) {
	defer func() {
		if value := recover(); value != nil {
			ended = send(panicked(ctx, exec, value))
		}
	}()
	if operation.Operation.Operation != ast.Subscription {
		return send(s.execute(ctx, exec, operation))
	}
	responses, ctx := exec.DispatchOperation(ctx, operation)
	for {
		response := responses(ctx)
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

// panicked makes a response of a panic; the presenter logs it.
func panicked(ctx context.Context, exec graphql.GraphExecutor, value any) *graphql.Response {
	return exec.DispatchError(ctx, gqlerror.List{gqlerror.Wrap(graph.Recover(ctx, value))})
}
