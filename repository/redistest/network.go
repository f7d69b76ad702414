package redistest

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// network is what the servers of [Sentinels] and of a [Cluster] reach each other by.
// Each connects from a loopback address of its own (bind-source-addr), and all know
// it by the address of a [Proxy] in front of it, which thus tells servers from
// clients.
type network struct {
	t       testing.TB
	servers int

	mu      sync.Mutex
	changed sync.Cond
	islands map[string]int    // by the address that a server connects from; 0 is the mainland
	last    int               // island
	conns   map[net.Conn]bool // true for those that are never answered
	over    bool
}

func newNetwork(t testing.TB) *network {
	n := &network{t: t, islands: map[string]int{}, conns: map[net.Conn]bool{}}
	n.changed.L = &n.mu
	return n
}

// Isolate parts the servers from all others, though not from each other, as a cable
// does that is pulled: what they send does not arrive, nobody is told, and a new
// connection is not answered. Clients notice nothing, so that an isolated master goes
// on acknowledging.
func (n *network) Isolate(servers ...*Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	n.move(servers, n.last)
}

// Rejoin undoes [network.Isolate]. What was sent meanwhile on a connection that both
// sides kept arrives, late.
func (n *network) Rejoin(servers ...*Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.move(servers, 0)
}

func (n *network) move(servers []*Server, island int) {
	for _, s := range servers {
		n.islands[s.source] = island
	}
	for conn, unanswered := range n.conns {
		if unanswered {
			_ = conn.Close() // it is tried anew
		}
	}
	n.changed.Broadcast()
}

// listen returns a server that is yet to start, behind a proxy.
func (n *network) listen() *Server {
	n.t.Helper()
	n.servers++
	s := &Server{t: n.t, Proxy: listen(n.t), source: fmt.Sprintf("127.0.0.%d", 1+n.servers)}
	s.Proxy.network, s.Proxy.source = n, s.source
	return s
}

func (n *network) start(s *Server, options ...string) {
	n.t.Helper()
	s.start(append([]string{"--bind-source-addr", s.source}, options...))
	s.Proxy.start(s.Addr)
}

// relay carries what the server that connects from an address, and the one behind the
// proxy, say to each other.
func (n *network) relay(client net.Conn, from string, proxy *Proxy) {
	defer client.Close() //nolint:errcheck // it may be closed already
	if n.add(client, from, proxy.source) {
		_, _ = io.Copy(io.Discard, client)
		n.forget(client)
		return
	}
	defer n.forget(client)
	server, err := net.Dial("tcp", proxy.target)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // it may be closed already
	n.add(server, "", "")
	defer n.forget(server)
	var answers sync.WaitGroup
	answers.Go(func() { n.carry(client, server, from, proxy.source) })
	n.carry(server, client, from, proxy.source)
	answers.Wait()
}

// carry copies one way, until either side ends.
func (n *network) carry(to, from net.Conn, a, b string) {
	buffer := make([]byte, 64<<10)
	for {
		size, err := from.Read(buffer)
		n.pass(a, b) // the end of a connection, too
		if err == nil {
			_, err = to.Write(buffer[:size])
		}
		if err != nil {
			_, _ = to.Close(), from.Close()
			return
		}
	}
}

// pass returns when what is on its way between the two addresses arrives.
func (n *network) pass(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.parted(a, b) && !n.over {
		n.changed.Wait()
	}
}

func (n *network) parted(a, b string) bool { return n.islands[a] != n.islands[b] }

// add reports whether the connection is never to be answered.
func (n *network) add(conn net.Conn, a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		_ = conn.Close()
	}
	n.conns[conn] = n.parted(a, b)
	return n.conns[conn]
}

func (n *network) forget(conn net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, conn)
}

// end ends all connections, and lets go of all that waits.
func (n *network) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	for conn := range n.conns {
		_ = conn.Close()
	}
	n.changed.Broadcast()
}
