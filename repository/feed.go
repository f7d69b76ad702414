package repository

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"spoollock/floor"
	"spoollock/lock"
)

var beatScript = redis.NewScript(source("beat"))

var _ floor.Source = (*Redis)(nil)

// silence is how long the feed can carry nothing before it counts as cut: several
// beats.
const silence = 4 * time.Second

// beats are those that are under way: how many masters' are still to come back, and
// the earliest time that one of them told.
type beats struct {
	mu       sync.Mutex
	underWay map[string]beat
}

type beat struct {
	left int
	at   time.Time
}

// Beat implements [floor.Source]. In a Cluster each master sends it, as each has a way
// of its own to the feed.
func (r *Redis) Beat(ctx context.Context, id string) error {
	masters, err := r.masters(ctx)
	if err == nil {
		r.beats.begin(id, len(masters))
		var sending errgroup.Group
		for _, node := range masters {
			sending.Go(func() error { return beatScript.Run(ctx, node, nil, r.channel, strconv.Quote(id)).Err() })
		}
		err = sending.Wait()
	}
	if err != nil {
		r.beats.forget(id)
		return fmt.Errorf("publish a beat: %w", withoutAddress(err))
	}
	return nil
}

func (b *beats) begin(id string, masters int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.underWay[id] = beat{left: masters}
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

// receive takes in what one master sent, and reports whether that was the last of the
// beat.
func (b *beats) receive(message floor.Message) (floor.Message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one, own := b.underWay[message.Beat]
	if !own {
		return message, false // of another process
	}
	one.left--
	if one.at.IsZero() || message.At.Before(one.at) {
		one.at = message.At
	}
	b.underWay[message.Beat] = one
	if one.left > 0 {
		return message, false
	}
	delete(b.underWay, message.Beat)
	message.At = one.at
	return message, true
}

// Listen implements [floor.Source]. It holds a connection that is not of the pool.
// What is not a message of the scripts is counted, and otherwise ignored.
func (r *Redis) Listen(ctx context.Context, subscribed func(), knows func(lock.Spool) bool, heard func(floor.Message)) error {
	feed := r.client.Subscribe(ctx) // to nothing yet
	defer feed.Close()              //nolint:errcheck // it has nothing to say any more
	stop := context.AfterFunc(ctx, func() { _ = feed.Close() })
	defer stop()
	if err := feed.Subscribe(ctx, r.channel); err != nil {
		return fmt.Errorf("subscribe to the feed: %w", withoutAddress(err))
	}
	confirmed := false
	for {
		received, err := feed.ReceiveTimeout(ctx, silence)
		if err != nil {
			return fmt.Errorf("listen to the feed: %w", withoutAddress(err))
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
			message, err := decodeMessage(received.Payload, knows)
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

// decodeMessage reads a MESSAGE of spool.lua, or of beat.lua; knows is as Listen has it.
func decodeMessage(payload string, knows func(lock.Spool) bool) (floor.Message, error) {
	key, text, _ := strings.Cut(payload, "\n")
	l, ok := parseLine(text)
	if l.kind == 'B' && key == "" && l.at > 0 {
		if id := l.extras().ID; id != "" {
			return floor.Message{Beat: id, At: milliseconds(l.at)}, nil
		}
	}
	tag, ofLock := strings.CutPrefix(key, lockPrefix)
	if _, known := events[l.kind]; !ok || !known || l.at == 0 || !ofLock || tag == "" || len(tag) > maxRawTag || !utf8.ValidString(tag) {
		return floor.Message{}, errForeignMessage
	}
	spool := lock.Spool{Tag: lock.Tag(tag), Version: l.version, Change: l.number}
	known := false
	if isHeld(l.kind) {
		held := lock.Lock{Version: l.version}
		setExpiry(&held, l.at, l.expires)
		spool.Lock = &held
		if known = knows(spool); !known {
			held = l.lock()
			held.Tag = spool.Tag
			setExpiry(&held, l.at, l.expires)
		}
	}
	return floor.Message{At: milliseconds(l.at), Spool: spool, Known: known}, nil
}

// scanCount is about how many keys Redis looks at in one step of a scan.
const scanCount = 1000

// Scan implements [floor.Source]. In a Cluster it goes through one master after the
// other; what moves to another one meanwhile may be left out, so that whoever misses
// something has to ask for it.
func (r *Redis) Scan(ctx context.Context, found func([]floor.Found) error) error {
	var one sync.Mutex
	all := int64(0)
	err := r.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		one.Lock()
		defer one.Unlock()
		unlistable, err := r.scan(ctx, node, found)
		all += unlistable
		return err
	})
	if err == nil {
		r.unlistableTags.Store(all)
	}
	return err
}

func (r *Redis) scan(ctx context.Context, node *redis.Client, found func([]floor.Found) error) (unlistable int64, err error) {
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, lockPrefix+"*", scanCount).Result()
		if err != nil {
			return 0, fmt.Errorf("scan the locks: %w", withoutAddress(err))
		}
		part, more, err := r.readLocks(ctx, node, keys)
		if err != nil {
			return 0, fmt.Errorf("look at the locks: %w", withoutAddress(err))
		}
		if err := found(part); err != nil {
			return 0, err
		}
		unlistable += more
		if cursor = next; cursor == 0 {
			return unlistable, nil
		}
	}
}

// maxRawTag is the most bytes of a tag that is not canonical and shown all the same:
// messages and answers are bounded.
const maxRawTag = 256

// readLocks reads the keys of locks, without the scripts. One that has gone is left
// out, and so is one that is no text, as nobody can hold it; one whose tag is empty or
// too long to be shown is only counted, as unlistable.
func (r *Redis) readLocks(ctx context.Context, node *redis.Client, keys []string) (part []floor.Found, unlistable int64, err error) {
	if len(keys) == 0 {
		return nil, 0, nil
	}
	pipe := node.Pipeline()
	values := make([]*redis.StringCmd, len(keys))
	expiries := make([]*redis.Cmd, len(keys))
	for i, key := range keys {
		values[i] = pipe.GetRange(ctx, key, 0, maxValue-1)
		expiries[i] = pipe.Do(ctx, "PEXPIRETIME", key) // its own method overflows
	}
	clock := pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil && !isAnswer(err) {
		return nil, 0, err
	}
	now, err := clock.Result()
	if err != nil {
		return nil, 0, err
	}
	part = make([]floor.Found, 0, len(keys))
	for i, key := range keys {
		value, err := values[i].Result()
		expires, expiryErr := expiries[i].Int64()
		if err != nil || expiryErr != nil || expires < neverExpires {
			continue
		}
		f := floor.Found{
			Tag: lock.Tag(strings.TrimPrefix(key, lockPrefix)), Owner: lock.OwnerOf(value), Fingerprint: fingerprint(value),
		}
		if f.Tag == "" || len(f.Tag) > maxRawTag {
			unlistable++
			continue
		}
		if canonical, err := r.tags.Parse(string(f.Tag)); err != nil || canonical != f.Tag {
			f.Foreign, f.Tag = true, lock.Tag(strings.ToValidUTF8(string(f.Tag), string(utf8.RuneError)))
		}
		if expires != neverExpires {
			f.ExpiresAt = time.UnixMilli(min(expires, latest)).UTC()
			f.Remaining = max(0, f.ExpiresAt.Sub(now))
		}
		part = append(part, f)
	}
	return part, unlistable, nil
}
