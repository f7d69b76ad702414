package redistest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"spoollock/testwait"
)

// Sentinels are a master, two replicas, and three sentinels that watch over them,
// each a redis-server process behind a [Proxy] of its own.
type Sentinels struct {
	*network

	URL       string    // of the sentinels, as REDIS_URL has it
	Nodes     []*Server // have the data, and change their roles
	Sentinels []*Server
}

// masterName is what the sentinels call the master.
const masterName = "spools"

// StartSentinels starts all of it, the data servers with the options, and returns when
// it is right as [Sentinels.AwaitOK] says. A master that does not answer for a second is
// taken for dead. It skips the test as [Start] does.
func StartSentinels(t testing.TB, options ...string) *Sentinels {
	t.Helper()
	s := &Sentinels{network: newNetwork(t)}
	for range 3 {
		node := s.listen()
		all := []string{
			"--replica-announce-ip", "127.0.0.1", "--replica-announce-port", node.Proxy.port(),
			// A new replica is not to wait for others, nor the test for it.
			"--repl-diskless-sync-delay", "0",
		}
		if len(s.Nodes) > 0 {
			all = append(all, "--replicaof", "127.0.0.1", s.Nodes[0].Proxy.port())
		}
		s.start(node, append(all, options...)...)
		s.Nodes = append(s.Nodes, node)
	}
	var addrs []string
	for range 3 {
		sentinel := s.listen()
		sentinel.args = []string{"--sentinel"}
		sentinel.started = func() { hurry(sentinel) }
		s.start(sentinel,
			"--sentinel announce-ip", "127.0.0.1", "--sentinel announce-port", sentinel.Proxy.port(),
			"--sentinel monitor", masterName, "127.0.0.1", s.Nodes[0].Proxy.port(), "2",
			"--sentinel down-after-milliseconds", masterName, "1000",
			"--sentinel failover-timeout", masterName, "2000",
			"--sentinel parallel-syncs", masterName, "2",
		)
		s.Sentinels = append(s.Sentinels, sentinel)
		addrs = append(addrs, sentinel.Proxy.addr())
	}
	s.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + masterName
	s.AwaitOK()
	return s
}

// StartSentinel starts one sentinel, without a [Proxy], which watches what the options
// say. It skips the test as [Start] does.
func StartSentinel(t testing.TB, options ...string) *Server {
	t.Helper()
	s := &Server{t: t, args: []string{"--sentinel"}}
	s.start(options)
	return s
}

// hurry has the sentinel look and tell more often than by default, by which a server
// that comes back waits for its role for half a minute.
func hurry(sentinel *Server) {
	sentinel.t.Helper()
	err := sentinel.control.Do(context.Background(), "sentinel", "debug",
		"info-period", 200, "publish-period", 200, "ask-period", 200, "tilt-period", 1000).Err()
	if err != nil {
		sentinel.t.Fatal(err)
	}
}

// Master is the one that most sentinels announce.
func (s *Sentinels) Master() *Server {
	s.t.Helper()
	var master *Server
	testwait.Until(s.t, "most sentinels announce a master", func() bool {
		master = s.announced()
		return master != nil
	})
	return master
}

// announced is nil where most sentinels do not agree.
func (s *Sentinels) announced() *Server {
	votes := map[string]int{}
	for _, sentinel := range s.Sentinels {
		addr := redis.NewStringSliceCmd(context.Background(), "sentinel", "get-master-addr-by-name", masterName)
		if sentinel.control.Process(context.Background(), addr) == nil {
			votes[strings.Join(addr.Val(), ":")]++
		}
	}
	for _, node := range s.Nodes {
		if votes[node.Proxy.addr()] > len(s.Sentinels)/2 {
			return node
		}
	}
	return nil
}

// Replicas are the servers that are not the [Sentinels.Master].
func (s *Sentinels) Replicas() []*Server {
	s.t.Helper()
	return others(s.Nodes, s.Master())
}

// Failover asks the sentinels for another master, and returns it when it is there.
func (s *Sentinels) Failover() *Server {
	s.t.Helper()
	old := s.Master()
	testwait.Until(s.t, "a sentinel fails over", func() bool {
		// They refuse while another failover is under way.
		return slices.ContainsFunc(s.Sentinels, func(sentinel *Server) bool {
			return sentinel.control.Do(context.Background(), "sentinel", "failover", masterName).Err() == nil
		})
	})
	return s.AwaitMaster(old)
}

// AwaitMaster returns when most sentinels announce another master than the one given,
// and it accepts writes.
func (s *Sentinels) AwaitMaster(not *Server) *Server {
	s.t.Helper()
	var master *Server
	testwait.Until(s.t, "there is another master", func() bool {
		master = s.announced()
		return master != nil && master != not && master.acceptsWrites()
	})
	return master
}

// AwaitOK returns when all servers run, the replicas have their master's data, and
// each sentinel sees all of them.
func (s *Sentinels) AwaitOK() {
	s.t.Helper()
	testwait.Until(s.t, "master, replicas and sentinels are right", func() bool {
		master := s.announced()
		if master == nil || !master.acceptsWrites() {
			return false
		}
		for _, replica := range others(s.Nodes, master) {
			if !replica.follows(master) {
				return false
			}
		}
		return !slices.ContainsFunc(s.Sentinels, func(sentinel *Server) bool {
			return !sees(sentinel, "masters", "master", 1) || !sees(sentinel, "replicas", "slave", len(s.Nodes)-1) ||
				!sees(sentinel, "sentinels", "sentinel", len(s.Sentinels)-1)
		})
	})
}

// sees reports whether the sentinel knows so many servers of the kind, and each is
// just that, and not down besides.
func sees(sentinel *Server, kind, flags string, number int) bool {
	args := []any{"sentinel", kind}
	if kind != "masters" {
		args = append(args, masterName)
	}
	list := redis.NewMapStringStringSliceCmd(context.Background(), args...)
	_ = sentinel.control.Process(context.Background(), list)
	return len(list.Val()) == number && !slices.ContainsFunc(list.Val(), func(server map[string]string) bool {
		return server["flags"] != flags
	})
}
