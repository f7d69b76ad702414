package repository

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMemoryConn(t *testing.T) {
	t.Parallel()
	one, other := newMemoryConns()
	large := strings.Repeat("x", 10<<20)
	for _, conn := range []*memoryConn{one, other} { // neither write waits for a reader
		if n, err := conn.Write([]byte(large)); n != len(large) || err != nil {
			t.Fatalf("%d bytes were written, %v", n, err)
		}
	}
	got := make([]byte, len(large))
	if _, err := io.ReadFull(one, got); err != nil || string(got) != large {
		t.Fatalf("%.20q was read, %v", got, err)
	}

	read := func(conn net.Conn) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			ended <- err
		}()
		return ended
	}
	for name, deadline := range map[string]time.Time{"over": time.Unix(1, 0), "to come": time.Now().Add(10 * time.Millisecond)} {
		waits := read(one) // whether it waits before or after the deadline is set
		if err := one.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		err := <-waits
		if timeout := net.Error(nil); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("with a deadline that is %s, a read ends with %v", name, err)
		}
		if err := one.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}

	waits := read(one)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read ends with %v at a close", err)
	}
	if _, err := one.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after a close: %v", err)
	}
	if _, err := other.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write to an end that is closed: %v", err)
	}
	if left, err := io.ReadAll(other); err != nil || string(left) != large {
		t.Errorf("%d bytes are read after a close, %v", len(left), err)
	}
}
