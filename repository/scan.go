package repository

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"spoollock/floor"
	"spoollock/lock"
)

var scanScript = redis.NewScript(spoolText("scan"))

// scanCount is about how many keys Redis looks at in one step of a scan, which holds up
// others.
const scanCount = 256

// Scan implements [floor.Source]. In a Cluster it goes through one master after the
// other. What moves to another one meanwhile may be left out; the view asks for what it
// misses.
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
	for cursor := "0"; ; {
		reply, err := scanScript.Run(ctx, node, nil, cursor, lockPrefix+"*", scanCount).Slice()
		if err != nil {
			return 0, fmt.Errorf("scan the locks: %w", withoutSecrets(err))
		}
		next, part, more, err := r.decodeScan(reply)
		if err != nil {
			return 0, err
		}
		if err := found(part); err != nil {
			return 0, err
		}
		unlistable += more
		if cursor = next; cursor == "0" {
			return unlistable, nil
		}
	}
}

// maxRawTag is the most bytes of a tag that is not canonical and shown all the same:
// messages and answers are bounded.
const maxRawTag = 256

// decodeScan decodes what scan.lua returns. A lock whose tag is empty or too long to be shown
// is only counted, as unlistable.
func (r *Redis) decodeScan(reply []any) (next string, part []floor.Found, unlistable int64, err error) {
	if len(reply) < 2 || len(reply)%3 != 2 {
		return "", nil, 0, errReply
	}
	next, nextOK := reply[0].(string)
	now, nowOK := reply[1].(int64)
	if !nextOK || !nowOK {
		return "", nil, 0, errReply
	}
	part = make([]floor.Found, 0, len(reply)/3)
	for ; len(reply) > 2; reply = reply[3:] {
		key, keyOK := reply[2].(string)
		value, valueOK := reply[3].(string)
		expires, expiresOK := reply[4].(int64)
		if !keyOK || !valueOK || !expiresOK {
			return "", nil, 0, errReply
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
			f.ExpiresAt = milliseconds(expires)
			f.Remaining = max(0, f.ExpiresAt.Sub(milliseconds(now)))
		}
		part = append(part, f)
	}
	return next, part, unlistable, nil
}
