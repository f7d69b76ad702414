package gqlhttptest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// patience is a guard against hanging, never a measurement.
const patience = 60 * time.Second

// InitMessage is a connection_init without a payload.
const InitMessage = `{"type":"connection_init"}`

// Subscribe is the message that begins an operation.
func Subscribe(id, document string) string {
	return fmt.Sprintf(`{"type":"subscribe","id":%q,"payload":{"query":%q}}`, id, document)
}

// Socket is a client's end of a WebSocket. Its methods fail the test T.
type Socket struct {
	T    testing.TB
	Conn *websocket.Conn

	// Mask, if set, changes a message before it is compared.
	Mask func(message string) string
}

// Dial opens a WebSocket with the headers given as names and values. It is closed at the
// end of the test.
func Dial(t testing.TB, url string, headers ...string) (*Socket, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	options := &websocket.DialOptions{HTTPHeader: http.Header{}, Subprotocols: []string{"graphql-transport-ws"}}
	for i := 0; i < len(headers); i += 2 {
		switch headers[i] {
		case "Host":
			options.Host = headers[i+1]
		case "Sec-WebSocket-Protocol":
			options.Subprotocols = strings.Fields(headers[i+1])
		default:
			options.HTTPHeader.Set(headers[i], headers[i+1])
		}
	}
	conn, response, err := websocket.Dial(ctx, url, options)
	if err != nil {
		return nil, response, err
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &Socket{T: t, Conn: conn}, response, nil
}

// Write sends a message of the kind.
func (s *Socket) Write(kind websocket.MessageType, message string) {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), patience)
	defer cancel()
	if err := s.Conn.Write(ctx, kind, []byte(message)); err != nil {
		s.T.Fatal(err)
	}
}

// Send sends a message.
func (s *Socket) Send(message string) { s.T.Helper(); s.Write(websocket.MessageText, message) }

// Read returns the next message.
func (s *Socket) Read() (string, error) {
	ctx, cancel := context.WithTimeout(s.T.Context(), patience)
	defer cancel()
	_, text, err := s.Conn.Read(ctx)
	return string(text), err
}

// Want reads messages and compares them.
func (s *Socket) Want(messages ...string) {
	s.T.Helper()
	for _, want := range messages {
		got, err := s.Read()
		if s.Mask != nil {
			got = s.Mask(got)
		}
		if err != nil || got != want {
			s.T.Fatalf("the message is %s, %v, want %s", got, err, want)
		}
	}
}

// WantClose reads to the close.
func (s *Socket) WantClose(code websocket.StatusCode, reason string) {
	s.T.Helper()
	for {
		message, err := s.Read()
		if err == nil {
			s.T.Logf("before the close: %s", message)
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
			s.T.Fatalf("it ends with %v, want %d %s", err, code, reason)
		}
		return
	}
}

// Handshake opens a WebSocket at /graphql on a bare connection.
func Handshake(t testing.TB, conn net.Conn) {
	t.Helper()
	_, err := fmt.Fprint(conn, "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake is answered %v, %v", response, err)
	}
}
