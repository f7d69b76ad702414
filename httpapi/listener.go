package httpapi

import (
	"net"
	"sync"
)

// LimitPerAddress closes a connection at once if its address has as many open as
// it may have, at least 1.
func LimitPerAddress(listener net.Listener, most int) net.Listener {
	return &limitedListener{Listener: listener, most: most, open: map[string]int{}}
}

type limitedListener struct {
	net.Listener
	most int

	mu   sync.Mutex
	open map[string]int
}

// Accept implements [net.Listener].
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address, _, err := net.SplitHostPort(conn.RemoteAddr().String())
		if err != nil || !l.enter(address) {
			_ = conn.Close()
			continue
		}
		return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(address) })}, nil
	}
}

func (l *limitedListener) enter(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[address] == l.most {
		return false
	}
	l.open[address]++
	return true
}

func (l *limitedListener) leave(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[address]--; l.open[address] == 0 {
		delete(l.open, address)
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

// CloseWrite lets net/http half-close, as it does after an early refusal.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
