package lock

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// OccupiedError says that the spool is held: the lock that was in the
// way, as the refusing step saw it.
type OccupiedError struct {
	Lock Lock
}

func (e *OccupiedError) Error() string {
	owner := string(e.Lock.Owner.ID)
	switch {
	case e.Lock.Owner.Name != "":
		owner = fmt.Sprintf("%s (%s)", e.Lock.Owner.Name, e.Lock.Owner.ID)
	case e.Lock.Owner.ID == UnknownWorker:
		owner = "somebody whom another program did not name"
	}
	if e.Lock.ExpiresAt.IsZero() {
		return fmt.Sprintf("spool %s is held by %s", e.Lock.Tag, owner)
	}
	return fmt.Sprintf("spool %s is held by %s until %s",
		e.Lock.Tag, owner, e.Lock.ExpiresAt.UTC().Format(time.RFC3339))
}

// VersionConflictError says that a free spool was not taken because its version
// is not the one the caller had seen.
type VersionConflictError struct {
	Tag      Tag
	Expected Version
	Actual   Version
}

func (e *VersionConflictError) Error() string {
	return fmt.Sprintf("spool %s has version %d, not %d", e.Tag, e.Actual, e.Expected)
}

// ExpiredError says that the lock a caller relies on has ended, and how.
type ExpiredError struct {
	Tag   Tag
	Cause End
}

func (e *ExpiredError) Error() string {
	switch e.Cause {
	case EndReleased:
		return fmt.Sprintf("the lock on spool %s was released", e.Tag)
	case EndExpired:
		return fmt.Sprintf("the lock on spool %s has expired", e.Tag)
	case EndForceReleased:
		return fmt.Sprintf("the lock on spool %s was released by force", e.Tag)
	case EndSuperseded:
		return fmt.Sprintf("the lock on spool %s was given another token", e.Tag)
	case EndReleasedExternally:
		return fmt.Sprintf("the lock on spool %s was released by another program", e.Tag)
	default:
		return fmt.Sprintf("nobody holds spool %s", e.Tag)
	}
}

// LimitError says that the worker, or a partner with all its workers, has as many locks as
// one may have. It is known approximately, see [Config.Held].
type LimitError struct {
	Limit   int
	Held    int  // with those that are being taken
	Partner bool // the limit is that of a partner
}

func (e *LimitError) Error() string {
	if e.Partner {
		return fmt.Sprintf("the partner's workers hold %d spools, of %d that they may hold together", e.Held, e.Limit)
	}
	return fmt.Sprintf("the worker holds %d spools, of %d that one may hold", e.Held, e.Limit)
}

// AtLimitError is how a [Store] refuses a take that is to get no further lock. [Service]
// knows why that is, and answers *LimitError or *RateLimitedError instead.
type AtLimitError struct {
	Version Version // of the spool, which is free; 0: nothing is remembered of it
}

func (e *AtLimitError) Error() string { return "the worker gets no further lock" }

// RateLimitedError says that a caller has asked for too many changes, or too much of
// another kind. Nothing was changed.
type RateLimitedError struct {
	Kind       string        // of what was asked for too often, for the message; empty: changes
	Reason     Reason        // ReasonIdentity or ReasonAddress
	RetryAfter time.Duration // until the next one is let through
}

func (e *RateLimitedError) Error() string {
	kind := cmp.Or(e.Kind, "changes")
	if e.Reason == ReasonIdentity {
		return "the caller has asked for too many " + kind
	}
	return "too many " + kind + " were asked for from the caller's address"
}

// Outcome says whether an operation that failed may have been applied.
type Outcome string

// The outcomes of a failed operation.
const (
	NotApplied     Outcome = "NOT_APPLIED" // certainly not applied
	OutcomeUnknown Outcome = "UNKNOWN"     // sent, and no answer seen
)

// UnavailableError says that the store could not be reached or gave no answer in
// time. The operation may be sent again.
//
// A [Store] returns it for one attempt, and only for trouble that may pass by
// itself; [Service] tries again and returns it for the operation as a whole.
type UnavailableError struct {
	Outcome    Outcome
	Overloaded bool  // too much waits for the store: another attempt at once would add to it
	Err        error // what the store met; never shown to a client
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("lock store unavailable (%s): %v", e.Outcome, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// IsUnavailable reports whether err says that the store could not be reached or
// gave no answer in time.
func IsUnavailable(err error) bool {
	var unavailable *UnavailableError
	return errors.As(err, &unavailable)
}

// WrongTypeError says that the key of the spool's lock is not a string: another program wrote
// it, and no operation can do anything with it.
type WrongTypeError struct {
	Tag   Tag
	LogID string // of the record of the log that speaks of it
}

func (e *WrongTypeError) Error() string {
	return fmt.Sprintf("spool %s: WRONGTYPE, the key of its lock is not a string", e.Tag)
}

// Field names an input of an operation.
type Field string

// The inputs that are checked.
const (
	FieldTag             Field = "tag"
	FieldWorkerID        Field = "worker id"
	FieldWorkerName      Field = "worker name"
	FieldNote            Field = "note"
	FieldTTL             Field = "time to live"
	FieldExtension       Field = "extension"
	FieldExpectedVersion Field = "expected version"
	FieldRequestID       Field = "request id"
	FieldToken           Field = "token"
	FieldItems           Field = "items" // of a batch
	FieldTags            Field = "tags"  // several in one input
	FieldOwner           Field = "owner id"
	FieldTagPrefix       Field = "tag prefix"
	FieldFirst           Field = "first" // the size of a page
	FieldAfter           Field = "after" // where a page begins
	FieldReason          Field = "reason"
)

// Reason says in a program's terms why something is refused.
type Reason string

// The reasons for too many changes.
const (
	ReasonIdentity Reason = "IDENTITY" // of all who show that they are the same
	ReasonAddress  Reason = "ADDRESS"  // of all who come from the same address
)

// The reasons for which an input is refused.
const (
	ReasonRequired         Reason = "REQUIRED"
	ReasonTooShort         Reason = "TOO_SHORT"
	ReasonTooLong          Reason = "TOO_LONG"
	ReasonOutOfRange       Reason = "OUT_OF_RANGE"
	ReasonInvalidCharacter Reason = "INVALID_CHARACTER"
	ReasonBlank            Reason = "BLANK"
	ReasonNotUUIDv4        Reason = "NOT_UUID_V4"
	ReasonNoExpiry         Reason = "NO_EXPIRY"
	ReasonDuplicate        Reason = "DUPLICATE"
	ReasonInvalidCursor    Reason = "INVALID_CURSOR"
	ReasonReserved         Reason = "RESERVED"
)

// InvalidError says that an input is not acceptable. Nothing was changed.
type InvalidError struct {
	Field  Field
	Reason Reason

	// Problem goes on a sentence that begins with the field's name:
	// "must have 1 to 64 characters".
	Problem string

	// Min and Max are the bounds, where there are any: characters for a text,
	// seconds for a duration.
	Min, Max *int64
}

func (e *InvalidError) Error() string { return string(e.Field) + " " + e.Problem }

// ErrUnauthenticated says that an operation is for authenticated callers.
var ErrUnauthenticated = errors.New("this needs a caller of whom it is known who they are")

// ForbiddenError says that the caller may not do this: it lacks the role, or is not the
// worker.
type ForbiddenError struct {
	Required Role     // that may; empty: the role is not why
	Owner    WorkerID // of the lock, as its token names it; empty: not known, or not why
	Problem  string   // a sentence, where both are empty
}

func (e *ForbiddenError) Error() string {
	switch {
	case e.Required != "":
		return "this needs the role " + string(e.Required)
	case e.Owner != "":
		return fmt.Sprintf("the lock is that of worker %s, and the caller may not act as that worker", e.Owner)
	default:
		return e.Problem
	}
}

func outsideBounds(field Field, reason Reason, problem string, minimum, maximum int64) *InvalidError {
	return &InvalidError{Field: field, Reason: reason, Problem: problem, Min: &minimum, Max: &maximum}
}

func invalidCharacter(field Field, problem string) *InvalidError {
	return &InvalidError{Field: field, Reason: ReasonInvalidCharacter, Problem: problem}
}

func missing(field Field) *InvalidError {
	return &InvalidError{Field: field, Reason: ReasonRequired, Problem: "is required"}
}
