package redistest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"spoollock/testwait"
)

// slots is how many parts a Cluster's keys are in, see the Redis Cluster
// specification.
const slots = 1 << 14

// givesUp is after how long a replica that was asked to be a master no longer tries.
const givesUp = 5 * time.Second

// Cluster is a Redis Cluster of three masters with a replica each, each a
// redis-server process behind a [Proxy] of its own.
type Cluster struct {
	*network

	URL   string // of all nodes, as REDIS_URL has it
	Nodes []*Server
	ids   map[*Server]string
}

// StartCluster starts all of it with the options, and returns when it is right as
// [Cluster.AwaitOK] says. A master that does not answer for a second is taken for dead,
// and one that is alone for as long stops to serve. It skips the test as [Start] does.
func StartCluster(t testing.TB, options ...string) *Cluster {
	t.Helper()
	c := &Cluster{network: newNetwork(t), ids: map[*Server]string{}}
	var addrs []string
	for range 6 {
		node := c.listen()
		node.bus = listen(t)
		node.bus.network, node.bus.source = node.Proxy.network, node.source
		c.start(node, append([]string{
			"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", FreePort,
			"--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", node.Proxy.port(),
			"--cluster-announce-bus-port", node.bus.port(),
			// Replicas stay with their masters, and a master without slots remains one.
			"--cluster-allow-replica-migration", "no",
			"--repl-diskless-sync-delay", "0",
		}, options...)...)
		node.bus.start(node.busAddr)
		c.Nodes = append(c.Nodes, node)
		addrs = append(addrs, node.Proxy.addr())
	}
	c.URL = "redis+cluster://" + strings.Join(addrs, ",")
	c.form()
	c.AwaitOK()
	return c
}

// form makes a Cluster of the nodes: the first three get the slots, the others follow.
func (c *Cluster) form() {
	c.t.Helper()
	for i, node := range c.Nodes {
		c.ids[node] = c.members(node)[node].id
		c.must(node, "cluster", "set-config-epoch", i+1)
		if i < 3 {
			c.must(node, "cluster", "addslotsrange", i*slots/3, (i+1)*slots/3-1)
		}
		// All meet all, for gossip takes seconds.
		for _, other := range c.Nodes[:i] {
			c.must(node, "cluster", "meet", "127.0.0.1", other.Proxy.port(), other.bus.port())
		}
	}
	for i, node := range c.Nodes[3:] {
		testwait.Until(c.t, "a node knows its master", func() bool {
			return node.control.Do(context.Background(), "cluster", "replicate", c.ids[c.Nodes[i]]).Err() == nil
		})
	}
}

func (c *Cluster) must(node *Server, command ...any) {
	c.t.Helper()
	if err := node.control.Do(context.Background(), command...).Err(); err != nil {
		c.t.Fatal(fmt.Errorf("%v: %w", command, err))
	}
}

// member is what a node says of one, as CLUSTER NODES describes it.
type member struct {
	id, flags, master string
	epoch             int // of the election or the move by which it got its slots
	linked            bool
	slots             []string // ranges
}

// members are what the node says of all, by server; none where it does not answer.
func (c *Cluster) members(node *Server) map[*Server]member {
	members := map[*Server]member{}
	for line := range strings.Lines(node.control.ClusterNodes(context.Background()).Val()) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		addr, _, _ := strings.Cut(fields[1], "@")
		i := slices.IndexFunc(c.Nodes, func(s *Server) bool { return s.Proxy.addr() == addr })
		if i < 0 {
			continue
		}
		epoch, _ := strconv.Atoi(fields[6])
		members[c.Nodes[i]] = member{
			id: fields[0], flags: strings.TrimPrefix(fields[2], "myself,"), master: fields[3],
			epoch: epoch, linked: fields[7] == "connected", slots: fields[8:],
		}
	}
	return members
}

// owners are who serves each slot, of the nodes that answer. Where two say so, the one
// that got it later does.
func (c *Cluster) owners() [slots]*Server {
	var owners [slots]*Server
	var since [slots]int
	for _, node := range c.Nodes {
		m := c.members(node)[node]
		for _, r := range m.slots {
			first, last, isRange := strings.Cut(r, "-")
			if !isRange {
				last = first
			}
			from, err := strconv.Atoi(first)
			to, _ := strconv.Atoi(last)
			if err != nil {
				continue // a slot on the move is listed again, in brackets
			}
			for slot := from; slot <= to; slot++ {
				if owners[slot] == nil || m.epoch > since[slot] {
					owners[slot], since[slot] = node, m.epoch
				}
			}
		}
	}
	return owners
}

// Masters are the nodes that serve slots.
func (c *Cluster) Masters() []*Server {
	c.t.Helper()
	owners := c.owners()
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(node *Server) bool { return !slices.Contains(owners[:], node) })
}

// MasterOf is the node that serves the key. It waits while there is none.
func (c *Cluster) MasterOf(key string) *Server {
	c.t.Helper()
	return c.AwaitMaster(key, nil)
}

// AwaitMaster returns when another node than the one given serves the key.
func (c *Cluster) AwaitMaster(key string, not *Server) *Server {
	c.t.Helper()
	var master *Server
	testwait.Until(c.t, "there is a master of the key", func() bool {
		master = c.owners()[Slot(key)]
		return master != nil && master != not && serves(master)
	})
	return master
}

// serves reports whether the node finds the Cluster complete.
func serves(node *Server) bool {
	return strings.Contains(node.control.ClusterInfo(context.Background()).Val(), "cluster_state:ok")
}

// ReplicaOf is the replica of the master, nil where none answers.
func (c *Cluster) ReplicaOf(master *Server) *Server {
	for _, node := range c.Nodes {
		if c.members(node)[node].master == c.ids[master] {
			return node
		}
	}
	return nil
}

// Failover asks the master's replica to take its place, which loses nothing, and
// returns the replica when it has. All is right before, as [Cluster.AwaitOK] says: a
// replica that knows less than who votes is refused, and may not ask again for long.
func (c *Cluster) Failover(master *Server) *Server {
	c.t.Helper()
	c.AwaitOK()
	replica := c.ReplicaOf(master)
	if replica == nil {
		c.t.Fatal("the master has no replica")
	}
	var asked time.Time
	testwait.Until(c.t, "the replica is a master", func() bool {
		if time.Since(asked) > givesUp {
			replica.control.Do(context.Background(), "cluster", "failover")
			asked = time.Now()
		}
		return slices.Contains(c.Masters(), replica)
	})
	return replica
}

// MoveSlot moves the slot with its keys to the master given while clients go on, as
// redis-cli --cluster reshard does. All is right before, as [Cluster.AwaitOK] says: what
// a former master says late of an earlier move may undo this one.
func (c *Cluster) MoveSlot(slot int, to *Server) {
	c.t.Helper()
	c.AwaitOK()
	from := c.owners()[slot]
	if from == nil {
		c.t.Fatalf("nobody serves slot %d", slot)
	}
	if from == to {
		return
	}
	c.must(to, "cluster", "setslot", slot, "importing", c.ids[from])
	c.must(from, "cluster", "setslot", slot, "migrating", c.ids[to])
	host, port, _ := strings.Cut(to.Addr, ":")
	for {
		keys, err := from.control.ClusterGetKeysInSlot(context.Background(), slot, 100).Result()
		if err != nil {
			c.t.Fatal(fmt.Errorf("list the keys of slot %d: %w", slot, err))
		}
		if len(keys) == 0 {
			break
		}
		command := []any{"migrate", host, port, "", 0, 1000, "keys"}
		for _, key := range keys {
			command = append(command, key)
		}
		c.must(from, command...)
	}
	// Who gets the slot knows first, lest nobody has it for a moment.
	for _, node := range append([]*Server{to, from}, others(others(c.Masters(), to), from)...) {
		c.must(node, "cluster", "setslot", slot, "node", c.ids[to])
	}
}

// AwaitOK returns when all nodes run and can serve, see each other and the same
// owners of the slots and since when, and when three of them are replicas that have their masters'
// data.
func (c *Cluster) AwaitOK() {
	c.t.Helper()
	testwait.Until(c.t, "the Cluster is right", func() bool {
		var first string
		for i, node := range c.Nodes {
			members := c.members(node)
			view, replicas := "", 0
			for _, server := range c.Nodes {
				m := members[server]
				view += fmt.Sprintln(m.id, m.flags, m.master, m.epoch, m.slots)
				switch {
				case !m.linked || m.flags != "master" && m.flags != "slave":
					return false
				case m.flags == "slave":
					replicas++
				}
			}
			if i == 0 {
				first = view
			}
			if !serves(node) || view != first || replicas != len(c.Nodes)/2 || !c.current(node, members) {
				return false
			}
		}
		return true
	})
}

// current reports whether the node has its master's data, if it is a replica.
func (c *Cluster) current(node *Server, members map[*Server]member) bool {
	if members[node].flags == "master" {
		return true
	}
	return slices.ContainsFunc(c.Nodes, func(master *Server) bool {
		return c.ids[master] == members[node].master && node.follows(master)
	})
}

// Slot is the slot of the key, as the Redis Cluster specification has it: CRC16
// (XMODEM) of the key, or of what is in its first braces.
func Slot(key string) int {
	if _, rest, found := strings.Cut(key, "{"); found {
		if tag, _, found := strings.Cut(rest, "}"); found && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
