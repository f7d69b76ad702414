package repository

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // tells ids apart, and keeps no secret
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"spoollock/lock"
)

// latest is the end of the year 9999, in ms: no time and no version is later, for the
// scripts and for what reads what they wrote.
const latest = 253402300799999

// line is a LINE of spool.lua: an event, and the state of the spool after it.
type line struct {
	kind     byte
	at       int64 // ms, like all times here
	version  lock.Version
	number   int64 // of the change
	expires  int64 // 0: never
	acquired int64 // 0: not known

	extrasText string // see extras
}

// extras are what a LINE says of the lock, and what its event adds. Names that are not
// here are another version's.
type extras struct {
	Owner string `json:"owner,omitempty"`
	Name  string `json:"name,omitempty"`
	Note  string `json:"note,omitempty"`

	By   string `json:"by,omitempty"`   // id of the release
	Done string `json:"done,omitempty"` // note of the release

	Held   lock.Version `json:"held,omitempty"` // version of the lock that was released by force
	Actor  string       `json:"actor,omitempty"`
	Reason string       `json:"reason,omitempty"`

	ID string `json:"id,omitempty"` // of a beat
}

// The bytes before the extras.
const lineHeader = 1 + 15 + 15 + 9 + 15 + 15

// parseLine reports false for a text that decides nothing: its kind, version or number is
// not as the scripts write it. A time that is not counts as not known.
func parseLine(text string) (l line, ok bool) {
	if len(text) < lineHeader || text[0] < 'A' || text[0] > 'Z' {
		return l, false
	}
	version, versionOK := parseDigits(text[16:31])
	number, numberOK := parseDigits(text[31:40])
	l = line{kind: text[0], version: lock.Version(version), number: number, extrasText: text[lineHeader:]}
	l.at, _ = parseDigits(text[1:16])
	l.expires, _ = parseDigits(text[40:55])
	l.acquired, _ = parseDigits(text[55:70])
	return l, versionOK && numberOK && version > 0
}

// extras decodes the extras, which costs more than the rest of the line. Those that are not as
// the scripts write them count as not known.
func (l line) extras() (decoded extras) {
	if json.Unmarshal([]byte(l.extrasText), &decoded) != nil {
		return extras{}
	}
	return decoded
}

// hasTimes reports whether the line, which was parsed of text, says what happened and when, and
// its times are as the scripts write them.
func (l line) hasTimes(text string) bool {
	_, known := events[l.kind]
	_, expiresOK := parseDigits(text[40:55])
	_, acquiredOK := parseDigits(text[55:70])
	return known && l.at > 0 && expiresOK && acquiredOK
}

// maxRawOwner is the most bytes of an owner that is read from a value: each of the first 256
// bytes can be a U+FFFD.
const maxRawOwner = 3 * 256

// isWithinBounds reports whether the texts of a lock are no longer than those that the scripts
// write.
func isWithinBounds(l lock.Lock) bool {
	return len(l.Owner.ID) <= maxRawOwner && utf8.RuneCountInString(l.Owner.Name) <= lock.MaxWorkerNameLength &&
		utf8.RuneCountInString(l.Note) <= lock.MaxNoteLength
}

// parseDigits accepts decimal digits and nothing else, up to [latest].
func parseDigits(text string) (int64, bool) {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > latest {
		return 0, false
	}
	return n, true
}

// lock is the lock that the line is of, without its tag; its version is the spool's.
func (l line) lock() lock.Lock { return l.lockWith(l.extras()) }

func (l line) lockWith(said extras) lock.Lock {
	held := lock.Lock{
		Owner: lock.Worker{ID: lock.WorkerID(said.Owner), Name: said.Name}, Note: said.Note, Version: l.version,
	}
	if held.Owner.ID == "" {
		held.Owner.ID = lock.UnknownWorker
	}
	if l.acquired > 0 {
		held.AcquiredAt = milliseconds(l.acquired)
	}
	return held
}

// versionText is how the scripts have a version.
func versionText(v lock.Version) string { return fmt.Sprintf("%015d", v) }

func milliseconds(n int64) time.Time { return time.UnixMilli(n).UTC() }

// setExpiry sets when a lock expires; 0: never.
func setExpiry(l *lock.Lock, now, expires int64) {
	if expires == 0 {
		return
	}
	l.ExpiresAt = milliseconds(expires)
	l.Remaining = time.Duration(min(max(0, expires-now), int64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

// events are what happened, by the kinds of lines. After the first ones the spool is held.
var events = map[byte]lock.EventType{
	'T': lock.EventTaken, 'M': lock.EventResumed, 'N': lock.EventExtended,
	'Y': lock.EventTakenExternally, 'Z': lock.EventExtendedExternally,
	'R': lock.EventReleased, 'E': lock.EventExpired, 'F': lock.EventForceReleased, 'X': lock.EventReleasedExternally,
}

// ends are how a lock or a token ended, by the kinds of lines and S.
var ends = map[string]lock.End{
	"":  lock.EndNotHeld,
	"R": lock.EndReleased,
	"E": lock.EndExpired,
	"F": lock.EndForceReleased,
	"S": lock.EndSuperseded,
	"X": lock.EndReleasedExternally,
}

// isHeld reports whether the spool is held after an event of the kind.
func isHeld(kind byte) bool { return bytes.IndexByte([]byte("TMNYZ"), kind) >= 0 }

// event is what the line says happened; false: another version knows what.
func (l line) event() (lock.Event, bool) {
	kind, known := events[l.kind]
	if !known || l.at == 0 {
		return lock.Event{}, false
	}
	said := l.extras()
	of := l.lockWith(said)
	e := lock.Event{
		Type: kind, Version: l.version, Number: l.number, At: milliseconds(l.at), Owner: of.Owner, Note: of.Note,
		Actor: lock.WorkerID(said.Actor), Reason: said.Reason,
	}
	if isHeld(l.kind) && l.expires > 0 {
		e.ExpiresAt = milliseconds(l.expires)
	}
	if said.Done != "" {
		e.Note = said.Done
	}
	return e, true
}

// json returns the extras as the scripts store them.
func (e extras) json() string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		panic(err) // texts and a number
	}
	return string(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

// added returns the extras as the scripts add them to others.
func (e extras) added() string {
	text := e.json()
	return "," + text[1:len(text)-1]
}

// digest is what the scripts keep of a token or an id.
func digest(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // see the import
	return string(sum[:10])
}

func hexDigest(text string) string { return hex.EncodeToString([]byte(digest(text))) }

// origin says whether an id is a client's request id, or made by the service.
func origin(ofClient bool) string {
	if ofClient {
		return "c"
	}
	return "s"
}
