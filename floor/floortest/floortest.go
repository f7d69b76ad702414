// Package floortest follows the floor of a running service as a client does, over a
// WebSocket and by the rule of the schema, and reads from Redis what is true.
package floortest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
)

// Held is a lock as a client shows it.
type Held struct {
	OwnerID   string
	Version   int64
	ExpiresAt string // as the schema writes it; empty: never
}

// Update is one message of the subscription.
type Update struct {
	Snapshot, More, Stale bool
	AsOf                  time.Time
	Gone                  []string
	Changed               []struct {
		TagSpool string
		Version  int64
		Lock     *struct {
			OwnerID   string
			ExpiresAt *string
		}
	}
}

// document selects what a board shows.
const document = `subscription{floorUpdates{snapshot more stale asOf gone changed{tagSpool version lock{ownerId ownerName note expiresAt}}}}`

// The messages of graphql-transport-ws that come and go.
const (
	initialise  = `{"type":"connection_init"}`
	acknowledge = `{"type":"connection_ack"}`
	subscribe   = `{"type":"subscribe","id":"1","payload":{"query":"` + document + `"}}`
	next        = `{"type":"next","id":"1",`
	ping        = `{"type":"ping"}`
	pong        = `{"type":"pong"}`
)

// maxMessage is the most bytes of a message: several times those of 500 spools.
const maxMessage = 16 << 20

// Client is a subscriber of the whole floor. Its methods are for one goroutine at a
// time.
type Client struct {
	conn   *websocket.Conn
	buffer bytes.Buffer
	held   map[string]Held
}

// Dial subscribes at the service's URL. The client is to be closed.
func Dial(ctx context.Context, url string) (*Client, error) {
	conn, _, err := websocket.Dial(ctx, url+"/graphql", &websocket.DialOptions{
		Subprotocols: []string{"graphql-transport-ws"},
	})
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	conn.SetReadLimit(maxMessage)
	c := &Client{conn: conn, held: map[string]Held{}}
	if err := c.begin(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) begin(ctx context.Context) error {
	if err := c.write(ctx, initialise); err != nil {
		return err
	}
	if text, err := c.read(ctx); err != nil || string(text) != acknowledge {
		return fmt.Errorf("the init is answered %q: %w", text, err)
	}
	return c.write(ctx, subscribe)
}

// Close cuts the connection.
func (c *Client) Close() { _ = c.conn.CloseNow() }

func (c *Client) write(ctx context.Context, message string) error {
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (c *Client) read(ctx context.Context) ([]byte, error) {
	_, message, err := c.conn.Reader(ctx)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	c.buffer.Reset()
	if _, err := c.buffer.ReadFrom(message); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return c.buffer.Bytes(), nil
}

// Receive returns the next message of the subscription as it came, valid until the
// next call. It answers the service's pings, and fails when the subscription or the
// connection ends.
func (c *Client) Receive(ctx context.Context) ([]byte, error) {
	for {
		text, err := c.read(ctx)
		switch {
		case err != nil:
			return nil, err
		case bytes.HasPrefix(text, []byte(next)):
			return text, nil
		case string(text) != ping:
			return nil, fmt.Errorf("the subscription ends with %s", text)
		}
		if err := c.write(ctx, pong); err != nil {
			return nil, err
		}
	}
}

// Apply takes in a message that was received, by the rule of the schema.
func (c *Client) Apply(text []byte) (Update, error) {
	var message struct {
		Payload struct {
			Data struct{ FloorUpdates *Update }
		}
	}
	if err := json.Unmarshal(text, &message); err != nil || message.Payload.Data.FloorUpdates == nil {
		return Update{}, errors.Join(fmt.Errorf("the message is %s", text), err)
	}
	update := *message.Payload.Data.FloorUpdates
	if update.Snapshot {
		clear(c.held)
	}
	for _, spool := range update.Changed {
		if spool.Lock == nil {
			continue // it is in Gone, too
		}
		held := Held{OwnerID: spool.Lock.OwnerID, Version: spool.Version}
		if spool.Lock.ExpiresAt != nil {
			held.ExpiresAt = *spool.Lock.ExpiresAt
		}
		if had, ok := c.held[spool.TagSpool]; !ok || !held.older(had) {
			c.held[spool.TagSpool] = held
		}
	}
	for _, tag := range update.Gone {
		delete(c.held, tag)
	}
	return update, nil
}

// older reports whether h is to be ignored beside what is known.
func (h Held) older(known Held) bool {
	if h.Version != known.Version {
		return h.Version < known.Version
	}
	// Texts of one form and length: they sort as their times do.
	return h.ExpiresAt != "" && (known.ExpiresAt == "" || h.ExpiresAt < known.ExpiresAt)
}

// Next receives the next message and takes it in.
func (c *Client) Next(ctx context.Context) (Update, error) {
	text, err := c.Receive(ctx)
	if err != nil {
		return Update{}, err
	}
	return c.Apply(text)
}

// Held is the client's set of spools, by tag. It changes with the next message.
func (c *Client) Held() map[string]Held { return c.held }

// lockPrefix is what the keys of locks begin with.
const lockPrefix = "spool_lock:"

// Truth reads from Redis which spools are held whose tags begin with the prefix. It
// runs no script, so nothing is recorded by it. What changes meanwhile may be missed.
func Truth(ctx context.Context, client *redis.Client, prefix string) (map[string]Held, error) {
	truth := map[string]Held{}
	for cursor := uint64(0); ; {
		keys, next, err := client.Scan(ctx, cursor, lockPrefix+prefix+"*", 1000).Result()
		if err != nil {
			return nil, fmt.Errorf("scan the locks: %w", err)
		}
		if err := readLocks(ctx, client, keys, truth); err != nil {
			return nil, err
		}
		if cursor = next; cursor == 0 {
			return truth, nil
		}
	}
}

func readLocks(ctx context.Context, client *redis.Client, keys []string, truth map[string]Held) error {
	if len(keys) == 0 {
		return nil
	}
	pipe := client.Pipeline()
	values := make([]*redis.StringCmd, len(keys))
	expiries := make([]*redis.Cmd, len(keys))
	states := make([]*redis.StringCmd, len(keys))
	for i, key := range keys {
		values[i] = pipe.Get(ctx, key)
		expiries[i] = pipe.Do(ctx, "PEXPIRETIME", key)
		states[i] = pipe.Get(ctx, "spool_state2:{"+key+"}")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read the locks: %w", err)
	}
	for i, key := range keys {
		expires, err := expiries[i].Int64()
		if values[i].Err() != nil || err != nil || expires < -1 {
			continue // it has gone
		}
		var held Held
		held.OwnerID, _, _ = strings.Cut(values[i].Val(), ":")
		held.Version = version(states[i].Val())
		if expires >= 0 {
			held.ExpiresAt = time.UnixMilli(expires).UTC().Format("2006-01-02T15:04:05.000Z")
		}
		truth[strings.TrimPrefix(key, lockPrefix)] = held
	}
	return nil
}

// Kinds reads from Redis what happened to a spool, newest first, as the kinds of LINEs of
// repository/spool.lua. It runs no script, so nothing is recorded by it.
func Kinds(ctx context.Context, client *redis.Client, tag string) (string, error) {
	key := lockPrefix + tag
	state, err := client.Get(ctx, "spool_state2:{"+key+"}").Result()
	if err != nil {
		return "", fmt.Errorf("read the state: %w", err)
	}
	history, err := client.Get(ctx, "spool_history2:{"+key+"}").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read the history: %w", err)
	}
	parts := strings.SplitN(state, "\n", 3) // EXPIRES and mark, LINE, and the rest
	if len(parts) < 3 || len(parts[2]) < countsSize {
		return "", fmt.Errorf("the state is %q", state)
	}
	rest, line := parts[2][countsSize:], ""
	if !strings.HasPrefix(state, free) { // else LINE is among the older ones, too
		line = parts[1]
		rest = rest[blockSize+(int(rest[blockSize-2]-'A')+int(rest[blockSize-1]-'A'))*extensionSize:]
	}
	older, _, _ := strings.Cut(rest, "\n\n")
	var kinds []byte
	for line := range strings.FieldsFuncSeq(history+older+"\n"+line, func(r rune) bool { return r == '\n' }) {
		kinds = append(kinds, line[0])
	}
	slices.Reverse(kinds)
	return string(kinds), nil
}

// The bytes of the counts of a STATE, of a block without extensions, and of an extension.
const (
	countsSize    = 13
	blockSize     = 28
	extensionSize = 40
)

// free is how the state of a free spool begins.
const free = "-00000000000002\n"

// version is what a STATE of repository/spool.lua says; 0: no script has seen the spool.
func version(state string) int64 {
	if len(state) < 15 {
		return 0
	}
	_, line, _ := strings.Cut(state[15:], "\n")
	if len(line) < 31 {
		return 0
	}
	n, _ := strconv.ParseInt(line[16:31], 10, 64)
	return n
}
