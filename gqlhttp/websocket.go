package gqlhttp

import (
	"bufio"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// subprotocol is the one that is spoken, and no other
// (https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md).
const subprotocol = "graphql-transport-ws"

// The protocol's reasons to close a socket. Their texts never quote a message.
const (
	closeBadRequest   websocket.StatusCode = 4400
	closeUnauthorized websocket.StatusCode = 4401
	closeForbidden    websocket.StatusCode = 4403
	closeSubprotocol  websocket.StatusCode = 4406
	closeInitTimeout  websocket.StatusCode = 4408
	closeDuplicate    websocket.StatusCode = 4409
	closeTooMany      websocket.StatusCode = 4429
)

// IsHandshake reports whether a request is to open a WebSocket.
func IsHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

func hasToken(header []string, token string) bool {
	for element := range strings.SplitSeq(strings.Join(header, ","), ",") {
		if strings.EqualFold(strings.TrimSpace(element), token) {
			return true
		}
	}
	return false
}

// checkHandshake refuses what the WebSocket library would, because its text quotes the
// request.
func checkHandshake(r *http.Request) *Refusal {
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		refused := badRequest("The version of the WebSocket must be 13.")
		refused.Header = http.Header{"Sec-Websocket-Version": {"13"}}
		return refused
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) == 1 && r.ProtoAtLeast(1, 1) {
		if key, err := base64.StdEncoding.DecodeString(keys[0]); err == nil && len(key) == 16 {
			return nil
		}
	}
	return badRequest("The handshake of the WebSocket is not well-formed.")
}

// serveWebSocket serves operations over a WebSocket. It returns when the socket is
// closed and nothing of it runs any more. gqlgen's own transport never sends a close
// code of the protocol, sets no bound, and can be made to keep sockets for good.
func (h *Handler) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if refused := checkHandshake(r); refused != nil {
		h.refuse(w, typeJSON, refused)
		return
	}
	if !h.streams.begin() {
		h.refuse(w, typeJSON, h.shuttingDown())
		return
	}
	defer h.streams.open.Done()
	place := h.streams.enterSocket(h.config.Network(r))
	if place == nil {
		h.refuse(w, typeJSON, h.tooManyOpen(reasonSockets))
		return
	}
	defer place.leave()
	ctx, cut := context.WithCancel(r.Context())
	defer cut()
	s := &socket{
		Handler: h, handshake: r.WithContext(ctx), place: place, cutOff: cut,
		operations: map[string]*operation{}, authenticated: make(chan credential, 1),
	}
	raw := &rawConn{ResponseWriter: w}
	var err error
	s.conn, err = websocket.Accept(raw, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // origins are checked before
		OnPingReceived:     func(context.Context, []byte) bool { return !s.closing.Load() && s.admit() },
	})
	if err != nil {
		return // it is answered, or gone
	}
	defer h.streams.atCut(cut)()
	context.AfterFunc(ctx, func() { _ = raw.conn.Close() }) // what reads or writes ends with it
	s.serve(ctx)
}

// rawConn keeps hold of the connection below a WebSocket, which can be closed at
// once.
type rawConn struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements [http.Hijacker].
func (r *rawConn) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(r.ResponseWriter).Hijack()
	r.conn = conn
	return conn, buffers, err
}

// socket is one WebSocket. One goroutine reads, another one watches the time, and
// each operation has one; each writes what it has to say.
type socket struct {
	*Handler
	conn      *websocket.Conn
	handshake *http.Request
	place     *place // only the reader looks
	cutOff    context.CancelFunc

	acknowledged  atomic.Bool
	credential    credential      // once acknowledged; only the reader looks
	authenticated chan credential // for the watch
	heard         atomic.Bool     // a message since the watch last looked
	closing       atomic.Bool

	// The messages of the second that began at since. Only the reader looks.
	since    time.Time
	messages int

	mu         sync.Mutex
	operations map[string]*operation // by id, until the client is told of its end or ends it
	running    int                   // goroutines of operations
	draining   bool                  // no operation begins any more
	work       sync.WaitGroup        // operations
	background sync.WaitGroup        // the watch and the close
}

// credential is what the init held, and the caller that it stood for.
type credential struct {
	header http.Header
	caller Caller
}

// operation is one of a socket.
type operation struct{ cancel context.CancelFunc }

func (s *socket) serve(ctx context.Context) {
	defer func() {
		s.cutOff()
		s.work.Wait()
		s.background.Wait()
		_ = s.conn.CloseNow()
	}()
	s.conn.SetReadLimit(s.config.RequestLimits.BodyBytes)
	s.background.Go(func() { s.watch(ctx) })
	if s.conn.Subprotocol() != subprotocol {
		s.close(closeSubprotocol, "Subprotocol not acceptable")
	}
	for {
		kind, text, err := s.conn.Read(ctx)
		if err != nil {
			return
		}
		s.heard.Store(true)
		if s.closing.Load() || !s.admit() {
			continue // until the peer has answered the close
		}
		if kind != websocket.MessageText || !s.handle(ctx, text) {
			s.close(closeBadRequest, "Invalid message received")
		}
	}
}

// watch sees to what is due by time: the init, signs of life, the end of the credential,
// and the end.
func (s *socket) watch(ctx context.Context) {
	initialised := time.NewTimer(s.config.StreamTimes.Init)
	defer initialised.Stop()
	alive := time.NewTicker(s.config.StreamTimes.KeepAlive)
	defer alive.Stop()
	var current credential
	var expired <-chan time.Time
	pinged := false
	for {
		select {
		case <-ctx.Done():
			return
		case current = <-s.authenticated:
			if expires := current.caller.Expires; !expires.IsZero() {
				timer := time.NewTimer(time.Until(expires))
				defer timer.Stop()
				expired = timer.C
			}
		case <-expired:
			s.end()
		case <-s.streams.ending.Done():
			s.mu.Lock()
			s.draining = true
			s.mu.Unlock()
			s.work.Wait() // what was begun is answered
			s.close(websocket.StatusGoingAway, "Shutting down")
			return
		case <-initialised.C:
			if !s.acknowledged.Load() {
				s.close(closeInitTimeout, "Connection initialisation timeout")
			}
		case <-alive.C:
			if current.header != nil && !s.stillValid(current) {
				s.end()
			}
			switch {
			case s.heard.Swap(false):
				pinged = false
			case pinged:
				s.cutOff()
			default:
				pinged = s.write(ctx, []byte(`{"type":"ping"}`))
			}
		}
	}
}

// stillValid reports whether a credential stands for the same caller as it did.
func (s *socket) stillValid(c credential) bool { return s.sameCaller(s.handshake, c.header, c.caller) }

// end closes the socket because its credential has ended: standard clients come back, with
// another one.
func (s *socket) end() { s.close(closeForbidden, "Credential has ended") }

// close closes the socket by the book, and cuts it off if the peer does not join
// in. What runs goes on until then, but can say nothing any more.
func (s *socket) close(code websocket.StatusCode, reason string) {
	if s.closing.Swap(true) {
		return
	}
	s.background.Go(func() {
		defer time.AfterFunc(closeTimeout, s.cutOff).Stop()
		_ = s.conn.Close(code, reason) // an error says that the peer was faster, or is gone
		s.cutOff()
	})
}

// admit counts a message, and closes the socket if there are too many in a second.
func (s *socket) admit() bool {
	if now := time.Now(); now.Sub(s.since) >= time.Second {
		s.since, s.messages = now, 0
	}
	if s.messages++; s.messages <= s.config.StreamLimits.MessagesPerSecond {
		return true
	}
	s.tooMany("Too many messages")
	return false
}

func (s *socket) tooMany(reason string) {
	if !s.closing.Load() {
		s.streams.refused.Add(1)
	}
	s.close(closeTooMany, reason)
}
