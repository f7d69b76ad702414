package lock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxEvents is how many events of a spool are kept, the newest.
const MaxEvents = 100

// EventType says what happened to a spool.
type EventType string

// The types of events. What another program did is known by looking at what it
// left behind: its take and release are external, an expiry is an expiry.
const (
	EventTaken              EventType = "TAKEN"
	EventExtended           EventType = "EXTENDED" // consecutive ones are one event, the last
	EventReleased           EventType = "RELEASED"
	EventExpired            EventType = "EXPIRED"
	EventForceReleased      EventType = "FORCE_RELEASED"
	EventResumed            EventType = "RESUMED" // its holder got another token
	EventTakenExternally    EventType = "TAKEN_EXTERNALLY"
	EventReleasedExternally EventType = "RELEASED_EXTERNALLY"
	EventExtendedExternally EventType = "EXTENDED_EXTERNALLY" // another program changed the expiry
)

// Event is one change of a spool.
type Event struct {
	Type EventType

	// Version is the spool's after the event, and Number that of the change. Together they
	// identify the event: an extension has the version of its lock.
	Version Version
	Number  int64

	// At is when it happened; when it was noticed, if another program did it.
	At time.Time

	// Owner and Note are those of the lock that began, was extended, or ended. A release that
	// has a note of its own has that.
	Owner Worker
	Note  string

	// ExpiresAt is when the lock ends; zero where it has ended or never does.
	ExpiresAt time.Time

	// Actor is who released the spool by force, and Reason why; empty for other types.
	Actor  WorkerID
	Reason string
}

// Cursor is the place of an event in the history of its spool.
type Cursor struct {
	version Version
	number  int64
}

// Cursor is the event's place.
func (e Event) Cursor() Cursor { return Cursor{e.Version, e.Number} }

// older reports whether the event is older than the place c. An extension has the
// version of the take before it.
func (c Cursor) older(e Event) bool {
	if e.Version != c.version {
		return e.Version < c.version
	}
	return e.Number < c.number
}

// String is the text that [ParseCursor] reads.
func (c Cursor) String() string { return fmt.Sprintf("%d.%d", c.version, c.number) }

// ParseCursor returns *InvalidError for [FieldAfter] unless s is a cursor's text.
func ParseCursor(s string) (Cursor, error) {
	versionText, numberText, _ := strings.Cut(s, ".")
	version, _ := strconv.ParseInt(versionText, 10, 64)
	number, _ := strconv.ParseInt(numberText, 10, 64)
	c := Cursor{Version(version), number}
	if version < 1 || c.version > MaxVersion || number < 0 || c.String() != s {
		return Cursor{}, &InvalidError{
			Field: FieldAfter, Reason: ReasonInvalidCursor, Problem: "must be a cursor that this list gave",
		}
	}
	return c, nil
}

// Page sizes of every list.
const (
	MinPage = 1
	MaxPage = 100
)

// CheckPage returns *InvalidError for [FieldFirst] unless first is 1 to 100.
func CheckPage(first int) error {
	if MinPage <= first && first <= MaxPage {
		return nil
	}
	return outsideBounds(FieldFirst, ReasonOutOfRange, fmt.Sprintf("must be %d to %d", MinPage, MaxPage), MinPage, MaxPage)
}

// HistoryCommand asks a [Store] what happened to a spool.
type HistoryCommand struct {
	Tag    Tag
	Newest int // how many events are asked for, from the newest; 1 to [MaxEvents]
}

// HistoryPage is a part of a spool's history, newest first.
type HistoryPage struct {
	Events []Event
	More   bool // older events follow
}

// pageOf cuts a page out of a whole history: the first events that are older than
// after, from the newest where after is nil.
func pageOf(events []Event, first int, after *Cursor) HistoryPage {
	start := 0
	for after != nil && start < len(events) && !after.older(events[start]) {
		start++
	}
	end := min(start+first, len(events))
	return HistoryPage{Events: events[start:end], More: end < len(events)}
}

// History answers what happened to a spool, newest first: the first events after
// the cursor, from the newest where after is nil. It returns *InvalidError or
// *UnavailableError.
func (s *Service) History(ctx context.Context, tag string, first int, after *string) (HistoryPage, error) {
	parsed, err := s.config.Tags.Parse(tag)
	if err != nil {
		return HistoryPage{}, err
	}
	if err := CheckPage(first); err != nil {
		return HistoryPage{}, err
	}
	var cursor *Cursor
	if after != nil {
		c, err := ParseCursor(*after)
		if err != nil {
			return HistoryPage{}, err
		}
		cursor = &c
	}
	cmd := HistoryCommand{Tag: parsed, Newest: MaxEvents}
	if cursor == nil {
		cmd.Newest = min(first+1, MaxEvents) // to know whether there are more
	}
	result := notApplied(tryOne(ctx, s, cmd, s.store.History))
	return pageOf(result.Value, first, cursor), result.Err
}
