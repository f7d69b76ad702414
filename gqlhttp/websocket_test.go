package gqlhttp_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/coder/websocket"
)

const initMessage = `{"type":"connection_init"}`

func subscribe(id int, document string) string {
	return fmt.Sprintf(`{"type":"subscribe","id":"%d","payload":{"query":%q}}`, id, document)
}

// ws is a client's end of a WebSocket.
type ws struct {
	t    *testing.T
	conn *websocket.Conn
}

// dial opens a WebSocket and sends messages.
func (a *api) dial(messages ...string) *ws {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, a.url, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = conn.CloseNow() })
	s := &ws{a.t, conn}
	for _, message := range messages {
		s.send(message)
	}
	return s
}

func (s *ws) trySend(message string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, []byte(message))
}

func (s *ws) send(message string) {
	s.t.Helper()
	if err := s.trySend(message); err != nil {
		s.t.Fatal(err)
	}
}

func (s *ws) read() (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	_, text, err := s.conn.Read(ctx)
	return string(text), err
}

// want reads to a message.
func (s *ws) want(want string) {
	s.t.Helper()
	for {
		switch got, err := s.read(); {
		case err != nil:
			s.t.Fatalf("it ends with %v before %s", err, want)
		case got == want:
			return
		}
	}
}

// wantClose reads to the close.
func (s *ws) wantClose(code websocket.StatusCode, reason string) {
	s.t.Helper()
	var err error
	for err == nil {
		_, err = s.read()
	}
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		s.t.Fatalf("it ends with %v, want %d %s", err, code, reason)
	}
}
