package repository

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"

	"spoollock/lock"
)

// reply is what every script returns, see look.lua.
type reply struct {
	decision string
	detail   string // what stands behind the decision: the kind of an end, or an expiry
	now      int64  // ms
	spool    lock.Spool
	line     string // of a lock; empty: the spool is free, and the line is among the older ones
	more     []any
}

// Redis' answers in the place of an expiry.
const (
	neverExpires = -1
	notThere     = -2
)

var errReply = errors.New("a script's reply is not as look.lua says")

// decode returns an error for anything but what look.lua promises.
func decode(tag lock.Tag, values any) (reply, error) {
	var r reply
	if list, ok := values.([]any); ok && len(list) > 0 {
		values, r.more = list[0], list[1:]
	}
	text, _ := values.(string)
	parts := strings.SplitN(text, " ", 3)
	if len(parts) != 3 {
		return r, errReply
	}
	r.decision, r.detail, _ = strings.Cut(parts[0], "-")
	now, nowOK := parseDigits(parts[1])
	var ok bool
	if r.spool, ok = decodeSpool(tag, now, parts[2]); !ok || !nowOK {
		return r, errReply
	}
	r.now = now
	if r.spool.Lock != nil {
		r.line = parts[2][strings.LastIndexByte(parts[2], '\n')+1:]
	}
	return r, nil
}

// decodeSpool decodes what look.lua calls the spool.
func decodeSpool(tag lock.Tag, now int64, text string) (spool lock.Spool, ok bool) {
	at := strings.LastIndexByte(text, '\n')
	if at < 15 {
		return spool, false
	}
	expires, err := strconv.ParseInt(text[:15], 10, 64)
	value, text := text[15:at], text[at+1:]
	spool.Tag = tag
	if expires == notThere && text == "" {
		return spool, err == nil // nothing is remembered of it
	}
	l, ok := parseLine(text)
	if !ok || err != nil || expires > latest {
		return spool, false
	}
	spool.Version, spool.Change = l.version, l.number
	if expires == notThere {
		return spool, true
	}
	held := l.lock()
	held.Tag, held.Owner.ID = tag, lock.OwnerOf(value)
	if expires != neverExpires {
		setExpiry(&held, now, expires)
	}
	spool.Lock, spool.Fingerprint = &held, fingerprint(value)
	return spool, true
}

// seed makes fingerprints worthless outside this process.
var seed = maphash.MakeSeed()

// fingerprint is what can be kept of a lock's first 641 bytes to tell it from
// another.
func fingerprint(value string) uint64 { return max(1, maphash.String(seed, value)) }

// ended is how a token ended, as far as it is known here.
func (r reply) ended() lock.End { return cmp.Or(ends[r.detail], lock.EndNotHeld) }

// unexpected is the error for a decision that the operation does not know, or
// that does not go with the rest of the reply.
func (r reply) unexpected() error {
	return fmt.Errorf("script decided %q, which does not fit its reply", r.decision)
}

// expired is the error of a decision ENDED.
func (r reply) expired(tag lock.Tag) error { return &lock.ExpiredError{Tag: tag, Cause: r.ended()} }
