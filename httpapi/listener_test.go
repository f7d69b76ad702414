package httpapi_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"spoollock/httpapi"
)

func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "served")
	}))
	server.Listener = httpapi.LimitPerAddress(server.Listener, 3)
	server.Start()
	t.Cleanup(server.Close)
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	served := func(conn net.Conn) bool {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return false
		}
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}
	open := []net.Conn{dial(), dial(), dial()}
	for _, conn := range open {
		if !served(conn) {
			t.Fatal("a connection within the limit is not served")
		}
	}
	if served(dial()) {
		t.Fatal("a connection above the limit is served")
	}
	_ = open[0].Close()
	deadline := time.Now().Add(patience)
	for !served(dial()) {
		if time.Now().After(deadline) {
			t.Fatal("a connection that was closed still counts")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
