package gqlhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/99designs/gqlgen/graphql"
	"github.com/coder/websocket"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"
)

// message is one of the protocol.
type message struct {
	Type    string         `json:"type"`
	ID      string         `json:"id"`
	Payload jsontext.Value `json:"payload"`
}

// handle reports false for what is no message of a client.
func (s *socket) handle(ctx context.Context, text []byte) bool {
	var m message
	if !decode(text, &m) {
		return false
	}
	object := len(m.Payload) > 0 && m.Payload.Kind() == '{'
	objectOrNone := object || len(m.Payload) == 0 || m.Payload.Kind() == 'n'
	switch m.Type {
	case "connection_init":
		if s.acknowledged.Load() {
			s.close(closeTooMany, "Too many initialisation requests")
		} else if objectOrNone {
			s.initialise(ctx, m.Payload)
		}
		return objectOrNone
	case "ping":
		if object {
			s.write(ctx, append(append([]byte(`{"type":"pong","payload":`), m.Payload...), '}'))
		} else if objectOrNone {
			s.write(ctx, []byte(`{"type":"pong"}`))
		}
		return objectOrNone
	case "pong":
		return objectOrNone
	case "subscribe":
		var p parameters
		if m.ID == "" || !object || !decode(m.Payload, &p) {
			return false
		}
		params, refused := p.rawParams()
		if refused != nil {
			return false
		}
		s.subscribe(ctx, m.ID, params)
		return true
	case "complete":
		s.mu.Lock()
		defer s.mu.Unlock()
		if o := s.operations[m.ID]; o != nil {
			delete(s.operations, m.ID)
			o.cancel()
		}
		return m.ID != ""
	default:
		return false
	}
}

// initialise authenticates the caller of the socket.
func (s *socket) initialise(ctx context.Context, payload jsontext.Value) {
	header := http.Header{}
	var fields map[string]any
	_ = decode(payload, &fields) // anything else than an object has none
	for name, value := range fields {
		if text, ok := value.(string); ok {
			header.Add(name, text)
		}
	}
	caller, refused := s.config.Authenticate(s.handshake, header)
	switch {
	case refused != nil && refused.Status == http.StatusForbidden:
		s.close(closeForbidden, "Forbidden")
	case refused != nil && refused.Status == http.StatusServiceUnavailable:
		s.close(websocket.StatusTryAgainLater, "Try again later")
	case refused != nil:
		s.close(closeUnauthorized, "Unauthorized")
	case !s.place.initialise(caller.QuotaKey):
		// Not with 4429, after which clients of the protocol never come back.
		s.close(websocket.StatusTryAgainLater, "Too many WebSockets")
	default:
		s.credential = credential{header, caller}
		s.authenticated <- s.credential
		s.acknowledged.Store(true)
		s.write(ctx, []byte(`{"type":"connection_ack"}`))
	}
}

// subscribe begins an operation, of any kind.
func (s *socket) subscribe(ctx context.Context, id string, params *graphql.RawParams) {
	if !s.acknowledged.Load() {
		s.close(closeUnauthorized, "Unauthorized")
		return
	}
	if !s.stillValid(s.credential) {
		s.end()
		return
	}
	ctx, cancel := context.WithCancel(s.operationContext(ctx, s.credential.caller))
	o := &operation{cancel: cancel}
	if !s.admitOperation(id, o) {
		cancel()
		return
	}
	params.Headers = s.handshake.Header
	prepared, response := s.prepare(ctx, params)
	leave := func() {}
	if response == nil && prepared.Operation.Operation == ast.Subscription {
		key := s.place.key
		if !s.streams.enter(s.streams.subscriptions, key) {
			response = &graphql.Response{Errors: s.tooManyOpen(reasonSubscriptions).errors()}
		} else {
			stop := s.streams.atEnd(cancel)
			leave = func() { stop(); s.streams.subscriptions.leave(key) }
		}
	}
	respond := func(response *graphql.Response) bool { return s.respond(ctx, id, o, response) }
	go func() {
		defer s.finish(o)
		defer leave()
		if response != nil {
			respond(response)
		} else if s.runOperation(ctx, prepared, respond) && s.forget(id, o) {
			s.send(ctx, "complete", id, nil)
		}
	}()
}

// admitOperation registers an operation, if it may begin.
func (s *socket) admitOperation(id string, o *operation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining, s.streams.ending.Err() != nil: // the client sends it again elsewhere, after the close
		return false
	case s.operations[id] != nil:
		s.close(closeDuplicate, "Subscriber already exists")
		return false
	case s.running == s.config.StreamLimits.OperationsPerSocket:
		s.tooMany("Too many operations")
		return false
	}
	s.running++
	s.work.Add(1)
	s.operations[id] = o
	return true
}

func (s *socket) finish(o *operation) {
	o.cancel()
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.work.Done()
}

// forget reports whether the client has not been told of the operation's end, nor
// ended it. Its id is free from then on.
func (s *socket) forget(id string, o *operation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operations[id] != o {
		return false
	}
	delete(s.operations, id)
	return true
}

// respond sends one response. One without data is of an operation that was not
// executed: an error, after which the protocol allows no complete.
func (s *socket) respond(ctx context.Context, id string, o *operation, response *graphql.Response) bool {
	if response.Data == nil {
		return s.forget(id, o) && s.send(ctx, "error", id, func(b *bytes.Buffer) { encodeErrors(b, response.Errors) })
	}
	s.mu.Lock()
	wanted := s.operations[id] == o
	s.mu.Unlock()
	return wanted && s.send(ctx, "next", id, func(b *bytes.Buffer) { encodeResponse(b, response) })
}

// send writes a message of an operation.
func (s *socket) send(ctx context.Context, kind, id string, payload func(*bytes.Buffer)) bool {
	buffer := buffers.Get().(*bytes.Buffer) //nolint:errcheck // nothing else is in the pool
	defer buffers.Put(buffer)
	buffer.Reset()
	buffer.WriteString(`{"type":"` + kind + `","id":`)
	text, _ := json.Marshal(id) // a string can be encoded
	buffer.Write(text)
	if payload != nil {
		buffer.WriteString(`,"payload":`)
		payload(buffer)
	}
	buffer.WriteByte('}')
	return s.write(ctx, buffer.Bytes())
}

// write writes one message, and cuts the socket off if it is not taken in time.
func (s *socket) write(ctx context.Context, text []byte) bool {
	// An operation that ends must not take the socket with it, which a context that is
	// done in the middle of a write would.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.StreamTimes.Write)
	defer cancel()
	err := s.conn.Write(ctx, websocket.MessageText, text)
	if err != nil && !s.closing.Load() { // else the close has its own time
		s.cutOff()
	}
	return err == nil
}
