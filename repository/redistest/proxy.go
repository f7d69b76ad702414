package redistest

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between the service and a Redis, on a loopback port of its own,
// and loses what it is told to lose. What servers of [Sentinels] or of a [Cluster] say
// to each other is no matter of the methods here.
type Proxy struct {
	URL string

	target   string
	listener net.Listener
	network  *network // of the server behind it, if it is one of several
	source   string   // the address that this server connects from
	dropped  atomic.Int64

	mu        sync.Mutex
	conns     map[net.Conn]bool
	cut       bool
	delay     time.Duration
	dropReply func(request []byte) bool
	seen      []byte // the newest requests
	done      sync.WaitGroup
}

// seenMost bounds what a proxy remembers in bytes, for it may run for hours.
const seenMost = 1 << 20

// ReplyPart is the most bytes of a reply that a [Proxy] passes on at once.
const ReplyPart = 1 << 10

// StartProxy starts a proxy to the server at target, and stops it when the test
// ends. dropReply is asked for each reply of the server, and of a long one for each
// part of at most [ReplyPart] bytes, with the request that it answers; true drops it
// and closes the connection, after the server has done what it was asked. Where it is
// nil, none is dropped.
func StartProxy(t testing.TB, target string, dropReply func(request []byte) bool) *Proxy {
	t.Helper()
	p := listen(t)
	p.dropReply = dropReply
	p.start(target)
	return p
}

// listen makes a proxy whose clients wait until [Proxy.start] says for what.
func listen(t testing.TB) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{URL: "redis://" + listener.Addr().String(), listener: listener, conns: map[net.Conn]bool{}}
	t.Cleanup(p.stop)
	return p
}

func (p *Proxy) start(target string) {
	p.target = target
	p.done.Go(p.accept)
}

func (p *Proxy) addr() string { return p.listener.Addr().String() }

func (p *Proxy) port() string {
	_, port, _ := strings.Cut(p.addr(), ":")
	return port
}

// Dropped is how many replies were dropped.
func (p *Proxy) Dropped() int { return int(p.dropped.Load()) }

// DropReplies has the proxy ask another function, as [StartProxy] describes it.
func (p *Proxy) DropReplies(dropReply func(request []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropReply = dropReply
}

// Delay has each request reach the server later by as much, 0 being the default.
func (p *Proxy) Delay(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

func (p *Proxy) see(request []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) > seenMost {
		p.seen = p.seen[:0]
	}
	p.seen = append(p.seen, request...)
}

// Seen reports whether a request with the text in it was passed on lately, or is being
// delayed.
func (p *Proxy) Seen(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Contains(p.seen, []byte(text))
}

// Cut cuts all connections of clients, and each new one, until [Proxy.Mend].
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// Lead has new connections lead to another server; those that are there stay.
func (p *Proxy) Lead(to *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = to.Addr
}

// Mend lets connections through again.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

func (p *Proxy) stop() {
	_ = p.listener.Close()
	p.Cut()
	if p.network != nil {
		p.network.end()
	}
	p.done.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if from, _, _ := net.SplitHostPort(client.RemoteAddr().String()); p.network != nil && from != "127.0.0.1" {
			p.done.Go(func() { p.network.relay(client, from, p) })
			continue
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		cut := p.cut
		if !cut {
			p.conns[client], p.conns[server] = true, true
		}
		p.mu.Unlock()
		if cut {
			_, _ = client.Close(), server.Close()
			continue
		}
		p.done.Go(func() { p.serve(client, server) })
	}
}

// serve copies both ways until either side ends. A connection of the service has
// one request under way at a time, so the last one read is what a reply answers.
func (p *Proxy) serve(client, server net.Conn) {
	defer p.forget(client, server)
	var mu sync.Mutex
	var request []byte
	var requests sync.WaitGroup
	requests.Go(func() {
		defer server.Close() //nolint:errcheck // it may be closed already
		buffer := make([]byte, 64<<10)
		for {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			request = append(request[:0], buffer[:n]...)
			mu.Unlock()
			p.mu.Lock()
			delay := p.delay
			p.mu.Unlock()
			if delay > 0 {
				p.see(buffer[:n])
				time.Sleep(delay)
			}
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
			if delay == 0 {
				p.see(buffer[:n])
			}
		}
	})
	buffer := make([]byte, ReplyPart)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			break
		}
		mu.Lock()
		answered := slices.Clone(request)
		mu.Unlock()
		p.mu.Lock()
		dropReply := p.dropReply
		p.mu.Unlock()
		if dropReply != nil && dropReply(answered) {
			p.dropped.Add(1)
			break
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			break
		}
	}
	_, _ = client.Close(), server.Close()
	requests.Wait()
}

func (p *Proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(p.conns, conn)
	}
}
