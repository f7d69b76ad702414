package httpapi

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"spoollock/gqlhttp"
	"spoollock/graph"
	"spoollock/lock"
)

// Addresses knows the clients by their addresses, and bounds what one of them may
// have open at a time: connections, and of what a trusted proxy forwards, requests.
type Addresses struct {
	most    int
	proxies []netip.Prefix

	mu   sync.Mutex
	open map[string]int  // by [lock.Address.Network]
	full map[string]bool // had more than they may have, and still have any
}

// NewAddresses allows most, at least 1, at a time. The proxies are trusted: the client
// address that they forward is believed.
func NewAddresses(most int, proxies []netip.Prefix) *Addresses {
	return &Addresses{most: most, proxies: proxies, open: map[string]int{}, full: map[string]bool{}}
}

// Listener closes a connection at once if its address has as many open as it may
// have, and says so in the log once until the address has none. A trusted proxy may
// have any number.
func (a *Addresses) Listener(listener net.Listener, log *slog.Logger) net.Listener {
	return &limitedListener{Listener: listener, addresses: a, log: log}
}

// Handler hands the client's address to next as the request's RemoteAddr, also
// where a trusted proxy forwarded the request. One too many of those is answered
// 429.
func (a *Addresses) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, ok := a.forwarded(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		network := client.Network()
		if entered, _ := a.enter(network); !entered {
			tooManyRequests.ServeHTTP(w, r)
			return
		}
		defer a.leave(network)
		r = r.Clone(r.Context())
		r.RemoteAddr = net.JoinHostPort(client.String(), "0")
		next.ServeHTTP(w, r)
	})
}

var tooManyRequests = &gqlhttp.Refusal{
	Status: http.StatusTooManyRequests, Code: graph.CodeRateLimited, RetryAfterSeconds: 1,
	Message:    "Too many requests of this address are under way.",
	Extensions: map[string]any{"reason": "CONCURRENT_REQUESTS"},
}

// forwarded returns the client of a request by a trusted proxy: the last address of
// X-Forwarded-For that is not such a proxy's itself, because what stands before it may be
// made up. If all are, it is the first one, and without any the proxy. A client whose
// address cannot be read is unknown: all of these count as one.
func (a *Addresses) forwarded(r *http.Request) (client lock.Address, ok bool) {
	if len(a.proxies) == 0 {
		return lock.Address{}, false
	}
	client = lock.ParseAddress(r.RemoteAddr)
	if !client.In(a.proxies) {
		return lock.Address{}, false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if strings.TrimSpace(hop) == "" {
			continue
		}
		if client = lock.ParseAddress(hop); !client.In(a.proxies) {
			break
		}
	}
	return client, true
}

// enter reports false for one too many, and whether it is the first of those since the
// network had none open.
func (a *Addresses) enter(network string) (entered, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[network] == a.most {
		first = !a.full[network]
		a.full[network] = true
		return false, first
	}
	a.open[network]++
	return true, false
}

func (a *Addresses) leave(network string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[network]--; a.open[network] == 0 {
		delete(a.open, network)
		delete(a.full, network)
	}
}

// network is what the streams of one client are counted by.
func network(r *http.Request) string { return lock.ParseAddress(r.RemoteAddr).Network() }

type limitedListener struct {
	net.Listener
	addresses *Addresses
	log       *slog.Logger
}

// Accept implements [net.Listener].
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := lock.ParseAddress(conn.RemoteAddr().String())
		if address.In(l.addresses.proxies) {
			return conn, nil
		}
		network := address.Network()
		entered, first := l.addresses.enter(network)
		if first {
			l.log.Warn("an address has as many connections as it may have, and more are closed",
				"address", network, "limit", l.addresses.most)
		}
		if !entered {
			_ = conn.Close()
			continue
		}
		return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.addresses.leave(network) })}, nil
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
