package repository

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"spoollock/floor"
	"spoollock/lock"
)

var (
	beatScript = redis.NewScript(source("beat"))

	// embeddedBeat has no header, because the embedded Redis knows none.
	embeddedBeat = redis.NewScript(source("beat")[strings.Index(source("beat"), "\n")+1:])
)

var _ floor.Source = (*Redis)(nil)

// silence is how long the feed can carry nothing before it counts as cut: several
// beats.
const silence = 4 * time.Second

// beats are those that are under way.
type beats struct {
	mu       sync.Mutex
	underWay map[string]beat
}

// maxBeats is the most beats that are waited for. No more than a few are under way, unless there
// is no feed.
const maxBeats = 64

// beat is one that goes through each master, and what those told from which it is back.
type beat struct {
	masters int
	clocks  map[string]floor.Clock // by their addresses
}

// beatSeparator is between the id of a beat and the address of the master that sends it.
const beatSeparator = "@"

// Beat implements [floor.Source]. In a Cluster each master sends it, as each has a way
// of its own to the feed. A Redis that refuses changes refuses the beat.
func (r *Redis) Beat(ctx context.Context, id string) error {
	masters, err := r.masters(ctx)
	if err == nil {
		r.beats.begin(id, len(masters))
		var sending errgroup.Group
		for addr, node := range masters {
			sending.Go(func() error {
				return r.beatScript().Run(ctx, node, nil, r.channel, strconv.Quote(id+beatSeparator+addr)).Err()
			})
		}
		err = sending.Wait()
	}
	if err != nil {
		r.beats.forget(id)
		return fmt.Errorf("publish a beat: %w", withoutSecrets(err))
	}
	return nil
}

func (r *Redis) beatScript() *redis.Script {
	if r.embedded != nil {
		return embeddedBeat
	}
	return beatScript
}

func (b *beats) begin(id string, masters int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.underWay) == maxBeats {
		clear(b.underWay) // no feed brings them back
	}
	b.underWay[id] = beat{masters, map[string]floor.Clock{}}
}

func (b *beats) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.underWay, id)
}

// clear forgets all, which are not to be expected on a connection that is new.
func (b *beats) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.underWay)
}

// receive takes in what one master sent, and returns the whole beat if that was the last of it.
func (b *beats) receive(message floor.Message) (whole floor.Message, ok bool) {
	id, addr, _ := strings.Cut(message.Beat, beatSeparator)
	b.mu.Lock()
	defer b.mu.Unlock()
	one, own := b.underWay[id]
	if !own {
		return floor.Message{}, false // of another process
	}
	one.clocks[addr] = floor.Clock{At: message.At, Received: time.Now()}
	if len(one.clocks) < one.masters {
		return floor.Message{}, false
	}
	delete(b.underWay, id)
	return floor.Message{Beat: id, Clocks: one.clocks}, true
}

// Listen implements [floor.Source]. It holds a connection that is not of the pool.
// What is not a message of the scripts is counted, and otherwise ignored.
func (r *Redis) Listen(ctx context.Context, subscribed func(), knows func(lock.Spool) bool, heard func(floor.Message)) error {
	feed := r.client.Subscribe(ctx) // to nothing yet
	defer feed.Close()              //nolint:errcheck // it has nothing to say any more
	stop := context.AfterFunc(ctx, func() { _ = feed.Close() })
	defer stop()
	if err := feed.Subscribe(ctx, r.channel); err != nil {
		return fmt.Errorf("subscribe to the feed: %w", withoutSecrets(err))
	}
	confirmed := false
	for {
		received, err := feed.ReceiveTimeout(ctx, silence)
		if err != nil {
			return fmt.Errorf("listen to the feed: %w", withoutSecrets(err))
		}
		switch received := received.(type) {
		case *redis.Subscription:
			if confirmed {
				return errors.New("listen to the feed: the client connected again by itself")
			}
			confirmed = true
			r.beats.clear()
			subscribed()
		case *redis.Message:
			message, err := decodeMessage(received.Payload, r.tags, knows)
			if err != nil {
				r.foreignMessages.Add(1)
				continue
			}
			if message.Beat != "" {
				complete := false
				if message, complete = r.beats.receive(message); !complete {
					continue
				}
			}
			heard(message)
		}
	}
}

// maxMessage is the most bytes of a message: a LINE is part of a state, which has at most
// 8192.
const maxMessage = len(lockPrefix) + maxRawTag + 1 + 8192

// decodeMessage reads a MESSAGE of spool.lua, or of beat.lua; knows is as Listen has it. What
// is out of the bounds of what they write is another program's, and so is what is about a tag that
// no operation has: Redis may not be able to say that its spool is free.
func decodeMessage(payload string, tags lock.TagParser, knows func(lock.Spool) bool) (floor.Message, error) {
	if len(payload) > maxMessage {
		return floor.Message{}, errForeignMessage
	}
	key, text, _ := strings.Cut(payload, "\n")
	l, ok := parseLine(text)
	if l.kind == 'B' && key == "" && l.at > 0 {
		if id := l.extras().ID; id != "" {
			return floor.Message{Beat: id, At: milliseconds(l.at)}, nil
		}
	}
	raw, ofLock := strings.CutPrefix(key, lockPrefix)
	tag, err := tags.Parse(raw)
	if !ok || !l.hasTimes(text) || !ofLock || err != nil || string(tag) != raw {
		return floor.Message{}, errForeignMessage
	}
	spool := lock.Spool{Tag: tag, Version: l.version, Change: l.number}
	known := false
	if isHeld(l.kind) {
		held := lock.Lock{Version: l.version}
		setExpiry(&held, l.at, l.expires)
		spool.Lock = &held
		if known = knows(spool); !known {
			if held = l.lock(); !isWithinBounds(held) {
				return floor.Message{}, errForeignMessage
			}
			held.Tag = spool.Tag
			setExpiry(&held, l.at, l.expires)
		}
	}
	return floor.Message{At: milliseconds(l.at), Spool: spool, Known: known}, nil
}
