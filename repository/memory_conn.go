package repository

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memoryConn is one end of a connection within this process. What is written waits for its
// reader in a buffer without a bound, so that a write never waits: one of net.Pipe waits for
// its reader, and two ends that both write wait for ever.
type memoryConn struct{ in, out *memoryBuffer }

var _ net.Conn = (*memoryConn)(nil)

func newMemoryConns() (one, other *memoryConn) {
	to, from := newMemoryBuffer(), newMemoryBuffer()
	return &memoryConn{in: from, out: to}, &memoryConn{in: to, out: from}
}

// Read implements [net.Conn]. What was written before the other end closed is read.
func (c *memoryConn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write implements [net.Conn].
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close implements [net.Conn].
func (c *memoryConn) Close() error {
	c.in.closeReader()
	c.out.closeWriter()
	return nil
}

// LocalAddr implements [net.Conn].
func (*memoryConn) LocalAddr() net.Addr { return memoryAddr{} }

// RemoteAddr implements [net.Conn].
func (*memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

// SetDeadline implements [net.Conn].
func (c *memoryConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements [net.Conn].
func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(t)
	return nil
}

// SetWriteDeadline implements [net.Conn]. No write waits.
func (*memoryConn) SetWriteDeadline(time.Time) error { return nil }

type memoryAddr struct{}

// Network implements [net.Addr].
func (memoryAddr) Network() string { return "memory" }

// String implements [net.Addr].
func (memoryAddr) String() string { return embeddedAddr }

// memoryBuffer is one direction of a connection.
type memoryBuffer struct {
	mu       sync.Mutex
	changed  sync.Cond
	data     bytes.Buffer
	deadline time.Time // of reads; zero: none

	readerClosed, writerClosed bool
}

func newMemoryBuffer() *memoryBuffer {
	b := &memoryBuffer{}
	b.changed.L = &b.mu
	return b
}

func (b *memoryBuffer) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		expired := !b.deadline.IsZero() && !time.Now().Before(b.deadline)
		switch {
		case b.readerClosed:
			return 0, net.ErrClosed
		case expired:
			return 0, os.ErrDeadlineExceeded
		case b.data.Len() > 0, len(p) == 0:
			return b.data.Read(p)
		case b.writerClosed:
			return 0, io.EOF
		}
		b.wait()
	}
}

// wait waits until something changes, or the deadline is over.
func (b *memoryBuffer) wait() {
	if !b.deadline.IsZero() {
		defer time.AfterFunc(time.Until(b.deadline), b.wake).Stop()
	}
	b.changed.Wait()
}

func (b *memoryBuffer) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed.Broadcast()
}

func (b *memoryBuffer) write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.writerClosed:
		return 0, net.ErrClosed
	case b.readerClosed:
		return 0, io.ErrClosedPipe
	}
	defer b.changed.Broadcast()
	return b.data.Write(p)
}

func (b *memoryBuffer) setDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline = t
	b.changed.Broadcast()
}

func (b *memoryBuffer) closeReader() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readerClosed, b.data = true, bytes.Buffer{}
	b.changed.Broadcast()
}

func (b *memoryBuffer) closeWriter() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writerClosed = true
	b.changed.Broadcast()
}
