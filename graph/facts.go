package graph

import (
	"time"

	"spoollock/graph/model"
	"spoollock/graph/scalar"
	"spoollock/lock"
)

// facts are what a client is told of an error: in the extensions of an operation's error,
// and in the SpoolError of an item of a batch. A fact that a code does not have is nil.
type facts struct {
	code    string
	message string // a sentence

	owner             *model.SpoolLock // the lock in the way
	tagSpool          *lock.Tag
	expected, actual  *lock.Version
	cause             *lock.End
	field             *string
	reason            *lock.Reason
	minimum, maximum  *int64
	limit, held       *int
	required          *lock.Role
	ownerID           *lock.WorkerID // of the lock that is another's
	outcome           *lock.Outcome
	retryAfterSeconds *int
	errorID           *string
}

// extensions returns the facts as the extensions of an error. The facts of a lock in the
// way are all there, null where they are not known.
func (f *facts) extensions() map[string]any {
	extensions := make(map[string]any, 9) // as many as a lock in the way has
	extensions["code"] = f.code
	if f.code == CodeServiceUnavailable {
		extensions["retryable"] = true
	}
	if f.owner != nil {
		extensions["tagSpool"] = f.owner.TagSpool
		extensions["ownerId"] = f.owner.OwnerID
		extensions["ownerName"] = f.owner.OwnerName
		extensions["note"] = f.owner.Note
		extensions["version"] = f.owner.Version
		extensions["acquiredAt"] = dateTime(f.owner.AcquiredAt)
		extensions["expiresAt"] = dateTime(f.owner.ExpiresAt)
		extensions["remainingSeconds"] = f.owner.RemainingSeconds
	}
	put(extensions, "tagSpool", f.tagSpool)
	put(extensions, "expected", f.expected)
	put(extensions, "actual", f.actual)
	put(extensions, "cause", f.cause)
	put(extensions, "field", f.field)
	put(extensions, "reason", f.reason)
	put(extensions, "minimum", f.minimum)
	put(extensions, "maximum", f.maximum)
	put(extensions, "limit", f.limit)
	put(extensions, "held", f.held)
	put(extensions, "required", f.required)
	put(extensions, "ownerId", f.ownerID)
	put(extensions, "outcome", f.outcome)
	put(extensions, "retryAfterSeconds", f.retryAfterSeconds)
	put(extensions, "errorId", f.errorID)
	return extensions
}

// put adds a fact, unless it is nil.
func put[T any](extensions map[string]any, name string, fact *T) {
	if fact != nil {
		extensions[name] = *fact
	}
}

// dateTime returns t as a DateTime, nil if t is nil.
func dateTime(t *time.Time) *string {
	if t == nil {
		return nil
	}
	return new(scalar.FormatDateTime(*t))
}

// spoolError returns the facts as the error of an item of a batch.
func (f *facts) spoolError() *model.SpoolError {
	return &model.SpoolError{
		Code:              f.code,
		Message:           f.message,
		Retryable:         f.code == CodeServiceUnavailable || f.code == CodeRateLimited,
		Owner:             f.owner,
		Cause:             f.cause,
		Expected:          (*int64)(f.expected),
		Actual:            (*int64)(f.actual),
		Field:             f.field,
		Reason:            (*string)(f.reason),
		Outcome:           (*string)(f.outcome),
		RetryAfterSeconds: f.retryAfterSeconds,
		Minimum:           f.minimum,
		Maximum:           f.maximum,
		Limit:             f.limit,
		Held:              f.held,
		OwnerID:           (*string)(f.ownerID),
		Required:          f.required,
		ErrorID:           f.errorID,
	}
}
