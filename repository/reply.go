package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"time"

	"spoollock/lock"
)

// reply is what every script returns, see prologue.lua.
type reply struct {
	decision string
	spool    lock.Spool
	ended    lock.End
	events   []lock.Event // of a script that reads the history
	released *lock.Lock   // of a forced release, without its tag
}

// endsByLetter gives the letters of the companion's list of ended tokens their meaning.
// The empty one stands for a token of which nothing is remembered.
var endsByLetter = map[string]lock.End{
	"":  lock.EndNotHeld,
	"R": lock.EndReleased,
	"E": lock.EndExpired,
	"F": lock.EndForceReleased,
	"S": lock.EndSuperseded,
	"X": lock.EndReleasedExternally,
}

// noExpiry is PEXPIRETIME's answer for a key without a time to live.
const noExpiry = -1

// decode returns an error for anything but the ten values that prologue.lua
// promises, and events behind them.
func decode(tag lock.Tag, values []any) (reply, error) {
	if len(values) != 10 && len(values) != 11 {
		return reply{}, fmt.Errorf("decode script reply: %d values", len(values))
	}
	d := decoder{values: values}
	decision := d.text(0)
	now, version := d.number(1), d.number(2)
	value, held := d.optional(3)
	expires, acquired := d.number(4), d.number(5)
	name, note := d.text(6), d.text(7)
	ended, known := endsByLetter[d.text(8)]
	seq := d.number(9)
	switch {
	case d.err != nil:
		return reply{}, d.err
	case now <= 0, version < 0, version > int64(lock.MaxVersion), acquired < 0, seq < 0, !known,
		held && expires <= 0 && expires != noExpiry:
		return reply{}, fmt.Errorf("decode script reply: a value of %q is out of range", decision)
	}
	spool := lock.Spool{Tag: tag, Version: lock.Version(version), Change: seq}
	if held {
		spool.Lock = &lock.Lock{
			Tag:     tag,
			Owner:   lock.Worker{ID: lock.OwnerOf(value), Name: name},
			Note:    note,
			Version: spool.Version,
		}
		setTimes(spool.Lock, now, acquired, expires)
		spool.Fingerprint = fingerprint(value)
	}
	answer := reply{decision: decision, spool: spool, ended: ended}
	if len(values) == 11 {
		answer.events, answer.released, d.err = decodeEvents(values[10])
	}
	return answer, d.err
}

// seed makes fingerprints worthless outside this process.
var seed = maphash.MakeSeed()

// fingerprint is what can be kept of a lock's first [maxValue] bytes to tell it from
// another.
func fingerprint(value string) uint64 { return max(1, maphash.String(seed, value)) }

// setTimes sets the times of a lock, from milliseconds on Redis' clock.
func setTimes(l *lock.Lock, now, acquired, expires int64) {
	if acquired > 0 {
		l.AcquiredAt = time.UnixMilli(acquired).UTC()
	}
	if expires != noExpiry {
		l.ExpiresAt = time.UnixMilli(expires).UTC()
		remaining := min(max(0, expires-now), int64(math.MaxInt64/time.Millisecond))
		l.Remaining = time.Duration(remaining) * time.Millisecond
	}
}

// eventTypes are the types of events that the scripts write.
var eventTypes = map[lock.EventType]bool{
	lock.EventTaken: true, lock.EventExtended: true, lock.EventReleased: true, lock.EventExpired: true,
	lock.EventForceReleased: true, lock.EventResumed: true,
	lock.EventTakenExternally: true, lock.EventReleasedExternally: true,
}

// decodeEvents reads what record_event() in prologue.lua wrote. What it did not write is
// left out: it is for nobody to act upon, and the rest is still worth telling. released
// is the lock that the last event of the list ended by force, if it did.
func decodeEvents(value any) (events []lock.Event, released *lock.Lock, err error) {
	list, ok := value.([]any)
	if !ok {
		return nil, nil, fmt.Errorf("decode script reply: the history is a %T", value)
	}
	events = make([]lock.Event, 0, len(list))
	for _, element := range list {
		text, _ := element.(string)
		if event, lock, ok := decodeEvent(text); ok {
			events, released = append(events, event), lock
		}
	}
	return events, released, nil
}

// How many texts an event has, see prologue.lua and force.lua.
const (
	eventTexts       = 7
	forcedEventTexts = 13
)

func decodeEvent(text string) (event lock.Event, released *lock.Lock, ok bool) {
	d := decodeTexts(text, eventTexts, forcedEventTexts)
	kind := lock.EventType(d.text(0))
	version, at := d.digits(1), d.digits(2)
	owner, name, note := d.text(3), d.text(4), d.text(5)
	expires := d.digits(6)
	if d.err != nil || !eventTypes[kind] || version < 1 || version > int64(lock.MaxVersion) || at < 1 ||
		(kind == lock.EventForceReleased) != (len(d.values) == forcedEventTexts) {
		return event, nil, false
	}
	event = lock.Event{
		Type: kind, Version: lock.Version(version), At: time.UnixMilli(at).UTC(),
		Owner: lock.Worker{ID: lock.WorkerID(owner), Name: name}, Note: note,
	}
	if owner == "" {
		event.Owner.ID = lock.UnknownWorker
	}
	if expires > 0 {
		event.ExpiresAt = time.UnixMilli(expires).UTC()
	}
	if kind != lock.EventForceReleased {
		return event, nil, true
	}
	event.Actor, event.Reason = lock.WorkerID(d.text(7)), d.text(8)
	before, ended, acquired := d.digits(10), d.digits(11), d.digits(12)
	released = &lock.Lock{Owner: event.Owner, Note: note, Version: lock.Version(before)}
	setTimes(released, at, acquired, ended)
	return event, released, d.err == nil
}

// decodeTexts reads a JSON array of texts, of one of the lengths.
func decodeTexts(text string, lengths ...int) *decoder {
	var texts []string
	if err := json.Unmarshal([]byte(text), &texts); err != nil || !slices.Contains(lengths, len(texts)) {
		return &decoder{
			values: make([]any, slices.Max(lengths)),
			err:    errors.New("decode texts of redis: not an array of the length that the scripts write"),
		}
	}
	d := &decoder{}
	for _, t := range texts {
		d.values = append(d.values, t)
	}
	return d
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

// digits is a number that is written as a text.
func (d *decoder) digits(i int) int64 {
	n, err := strconv.ParseInt(d.text(i), 10, 64)
	d.check(i, err == nil)
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
