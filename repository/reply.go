package repository

import (
	"fmt"
	"math"
	"time"

	"spoollock/lock"
)

// reply is what every script returns, see prologue.lua.
type reply struct {
	decision string
	spool    lock.Spool
	ended    lock.End
}

// ends gives the letters of the companion's list of ended tokens their meaning.
// The empty one stands for a token of which nothing is remembered.
var ends = map[string]lock.End{
	"":  lock.EndNotHeld,
	"R": lock.EndReleased,
	"E": lock.EndExpired,
	"F": lock.EndForceReleased,
	"S": lock.EndSuperseded,
	"X": lock.EndReleasedExternally,
}

// noExpiry is PEXPIRETIME's answer for a key without a time to live.
const noExpiry = -1

// decode returns an error for anything but the nine values that prologue.lua
// promises.
func decode(tag lock.Tag, values []any) (reply, error) {
	if len(values) != 9 {
		return reply{}, fmt.Errorf("decode script reply: %d values", len(values))
	}
	d := decoder{values: values}
	decision := d.text(0)
	now, version := d.number(1), d.number(2)
	value, held := d.optional(3)
	expires, acquired := d.number(4), d.number(5)
	name, note := d.text(6), d.text(7)
	ended, known := ends[d.text(8)]
	switch {
	case d.err != nil:
		return reply{}, d.err
	case now <= 0, version < 0, version > int64(lock.MaxVersion), acquired < 0, !known,
		held && expires <= 0 && expires != noExpiry:
		return reply{}, fmt.Errorf("decode script reply: a value of %q is out of range", decision)
	}
	spool := lock.Spool{Tag: tag, Version: lock.Version(version)}
	if held {
		spool.Lock = &lock.Lock{
			Tag:     tag,
			Owner:   lock.Worker{ID: lock.OwnerOf(value), Name: name},
			Note:    note,
			Version: spool.Version,
		}
		if acquired > 0 {
			spool.Lock.AcquiredAt = time.UnixMilli(acquired).UTC()
		}
		if expires != noExpiry {
			spool.Lock.ExpiresAt = time.UnixMilli(expires).UTC()
			remaining := min(max(0, expires-now), int64(math.MaxInt64/time.Millisecond))
			spool.Lock.Remaining = time.Duration(remaining) * time.Millisecond
		}
	}
	return reply{decision: decision, spool: spool, ended: ended}, nil
}

// unexpected is the error for a decision that the operation does not know, or
// that does not go with the rest of the reply.
func (r reply) unexpected() error {
	return fmt.Errorf("script decided %q, which does not fit its reply", r.decision)
}

// decoder remembers the first value that has another type than expected. It
// names the type and not the value, which may be a secret.
type decoder struct {
	values []any
	err    error
}

func (d *decoder) text(i int) string {
	s, ok := d.values[i].(string)
	d.check(i, ok)
	return s
}

func (d *decoder) number(i int) int64 {
	n, ok := d.values[i].(int64)
	d.check(i, ok)
	return n
}

func (d *decoder) optional(i int) (string, bool) {
	if d.values[i] == nil {
		return "", false
	}
	return d.text(i), true
}

func (d *decoder) check(i int, ok bool) {
	if !ok && d.err == nil {
		d.err = fmt.Errorf("decode script reply: value %d is a %T", i+1, d.values[i])
	}
}
