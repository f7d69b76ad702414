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
)

// Addresses knows the clients by their addresses, and bounds what one of them may
// have open at a time: connections, and of what a trusted proxy forwards, requests.
type Addresses struct {
	most    int
	proxies []netip.Prefix

	mu   sync.Mutex
	open map[netip.Addr]int
	full map[netip.Addr]bool // had more than they may have, and still have any
}

// NewAddresses allows most, at least 1, at a time. The proxies are trusted: the client
// address that they forward is believed.
func NewAddresses(most int, proxies []netip.Prefix) *Addresses {
	return &Addresses{most: most, proxies: proxies, open: map[netip.Addr]int{}, full: map[netip.Addr]bool{}}
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
		if entered, _ := a.enter(client); !entered {
			tooManyRequests.ServeHTTP(w, r)
			return
		}
		defer a.leave(client)
		r = r.Clone(r.Context())
		r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
		next.ServeHTTP(w, r)
	})
}

var tooManyRequests = &gqlhttp.Refusal{
	Status: http.StatusTooManyRequests, Code: graph.CodeRateLimited, RetryAfterSeconds: 1,
	Message:    "Too many requests of this address are under way.",
	Extensions: map[string]any{"reason": "CONCURRENT_REQUESTS"},
}

// forwarded returns the client that a trusted proxy forwarded the request for: the last
// address of X-Forwarded-For that is not such a proxy's itself, because what stands
// before it may be made up.
func (a *Addresses) forwarded(r *http.Request) (client netip.Addr, ok bool) {
	if len(a.proxies) == 0 {
		return netip.Addr{}, false
	}
	proxy, ok := addressOf(r.RemoteAddr)
	if !ok || !a.trusts(proxy) {
		return netip.Addr{}, false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop = strings.TrimSpace(hop)
		client, err := netip.ParseAddr(hop)
		if withPort, portErr := netip.ParseAddrPort(hop); portErr == nil { // as some proxies write it
			client, err = withPort.Addr(), nil
		}
		if err != nil {
			return netip.Addr{}, false
		}
		if client = client.Unmap().WithZone(""); !a.trusts(client) {
			return client, true
		}
	}
	return netip.Addr{}, false
}

func (a *Addresses) trusts(address netip.Addr) bool {
	return slices.ContainsFunc(a.proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// enter reports false for one too many, and whether it is the first of those since the
// address had none open.
func (a *Addresses) enter(address netip.Addr) (entered, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[address] == a.most {
		first = !a.full[address]
		a.full[address] = true
		return false, first
	}
	a.open[address]++
	return true, false
}

func (a *Addresses) leave(address netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[address]--; a.open[address] == 0 {
		delete(a.open, address)
		delete(a.full, address)
	}
}

func addressOf(hostPort string) (netip.Addr, bool) {
	parsed, err := netip.ParseAddrPort(hostPort)
	return parsed.Addr().Unmap().WithZone(""), err == nil
}

// network is what the streams of one client are counted by.
func network(r *http.Request) string {
	address, _ := addressOf(r.RemoteAddr)
	return address.String()
}

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
		address, ok := addressOf(conn.RemoteAddr().String())
		if ok && l.addresses.trusts(address) {
			return conn, nil
		}
		entered, first := false, false
		if ok {
			entered, first = l.addresses.enter(address)
		}
		if first {
			l.log.Warn("an address has as many connections as it may have, and more are closed",
				"address", address, "limit", l.addresses.most)
		}
		if !entered {
			_ = conn.Close()
			continue
		}
		return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.addresses.leave(address) })}, nil
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
