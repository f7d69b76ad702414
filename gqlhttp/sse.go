package gqlhttp

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// typeEvents is the media type of Server-Sent Events.
const typeEvents = "text/event-stream"

// prefersEvents reports whether a POST is to be answered with events: a client that
// would rather have JSON gets that.
func prefersEvents(r *http.Request, accepted []mediaRange) bool {
	preferred, _ := negotiate(accepted, typeJSON, typeResponse, typeEvents)
	return r.Method == http.MethodPost && preferred == typeEvents
}

// serveEvents answers a POST with Server-Sent Events, one operation each, as the
// "distinct connections mode" of the graphql-sse protocol has it
// (https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md). What the
// transport refuses is answered in JSON; errors in the document are events.
func (h *Handler) serveEvents(ctx context.Context, w http.ResponseWriter, r *http.Request, caller Caller) {
	params, refused := h.readRequest(w, r)
	if refused != nil {
		h.refuse(w, typeJSON, refused)
		return
	}
	params.Headers = r.Header
	operation, response := h.prepare(ctx, params)
	if response != nil {
		if status := h.statusOf(typeJSON, response.Errors); status != http.StatusOK {
			writeResponse(w, typeJSON, status, response)
			return
		}
	}
	if !h.streams.begin() {
		h.refuse(w, typeJSON, h.shuttingDown())
		return
	}
	defer h.streams.open.Done()
	ctx, cancel := untilExpiry(ctx, caller)
	defer cancel()
	defer h.streams.atCut(cancel)()
	if response == nil && operation.Operation.Operation == ast.Subscription {
		key := quotaKey{h.config.Network(r), caller.QuotaKey}
		if !h.streams.enter(h.streams.subscriptions, key) {
			h.refuse(w, typeJSON, h.tooManyOpen(reasonSubscriptions))
			return
		}
		defer h.streams.subscriptions.leave(key)
		defer h.streams.atEnd(cancel)()
	}
	h.streams.eventStreams.Add(1)
	defer h.streams.eventStreams.Add(-1)
	events := h.startEvents(ctx, cancel, w, func() bool { return h.sameCaller(r.WithContext(ctx), r.Header, caller) })
	defer events.stop()
	if response != nil && events.next(response) || response == nil && h.runOperation(ctx, operation, events.next) {
		events.stop() // so that the end is the last that is said
		events.write("event: complete\ndata:\n\n")
	}
}

// events is an answer under way. Its writes may come from several goroutines.
type events struct {
	cancel  context.CancelFunc
	timeout time.Duration
	done    sync.WaitGroup

	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
}

// startEvents sends the headers. From then on, until stop, a comment is sent now and
// then, so that no proxy takes the stream for dead and a dead client is noticed. The stream
// ends when the caller is no longer the same.
func (h *Handler) startEvents(
	ctx context.Context, cancel context.CancelFunc, w http.ResponseWriter, sameCaller func() bool,
) *events {
	e := &events{cancel: cancel, timeout: h.config.StreamTimes.Write, w: w, control: http.NewResponseController(w)}
	header := w.Header()
	header.Set("Content-Type", typeEvents+"; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // or nginx keeps the events to itself
	const comment = ":\n\n"
	e.write(comment)
	e.done.Go(func() {
		ticker := time.NewTicker(h.config.StreamTimes.KeepAlive)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if !sameCaller() {
					cancel()
					return
				}
				e.write(comment)
			}
		}
	})
	return e
}

// stop ends the comments, because a write after the handler has returned would crash
// the process, and gives the server time to end the answer.
func (e *events) stop() {
	e.cancel()
	e.done.Wait()
	_ = e.control.SetWriteDeadline(time.Now().Add(e.timeout)) // else it is cut off, at worst
}

func (e *events) next(response *graphql.Response) bool {
	buffer := buffers.Get().(*bytes.Buffer) //nolint:errcheck // nothing else is in the pool
	defer buffers.Put(buffer)
	buffer.Reset()
	buffer.WriteString("event: next\ndata: ")
	encodeResponse(buffer, response)
	buffer.WriteString("\n\n")
	return e.write(buffer.String())
}

// write has a deadline of its own, because the server's is meant for one answer, not
// a stream. It reports false when the client is gone, or has not read for
// that long; the stream is over then.
func (e *events) write(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.control.SetWriteDeadline(time.Now().Add(e.timeout))
	if err == nil {
		_, err = e.w.Write([]byte(text))
	}
	if err == nil {
		err = e.control.Flush()
	}
	if err != nil {
		e.cancel()
	}
	return err == nil
}
