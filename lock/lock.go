package lock

import (
	"fmt"
	"time"
)

// Version is the fencing version of a spool: at least 1 once anything is
// remembered of the spool, strictly growing, at most 2^53-1. It follows the
// store's clock in milliseconds, so that it grows even after a loss of data.
type Version int64

// MaxVersion is the largest version that a client can hand in: the largest
// integer that a JSON number carries without loss.
const MaxVersion Version = 1<<53 - 1

// Lock is the fact that a worker holds a spool.
type Lock struct {
	Tag     Tag
	Owner   Worker
	Note    string // empty: none
	Version Version

	// AcquiredAt is zero where it is not known: the lock was taken by another
	// program.
	AcquiredAt time.Time

	// ExpiresAt is zero where the lock never lapses: it was taken by another
	// program, without a time to live.
	ExpiresAt time.Time

	// Remaining is the time from the store's answer to ExpiresAt, never negative, at
	// most what a Duration can say, and meaningless where ExpiresAt is zero.
	Remaining time.Duration
}

// Spool is a piece of piping as it stands in the store at one moment.
type Spool struct {
	Tag Tag

	// Version is 0 where nothing is remembered of the spool.
	Version Version

	// Change counts the changes that the store has seen of the spool. Of two states
	// with one version, the one with the higher count is the newer.
	Change int64

	// Lock is nil where the spool is free.
	Lock *Lock

	// Fingerprint tells the token that holds the spool from others, within this process
	// and without giving it away. 0: it is free, or whoever told did not know.
	Fingerprint uint64
}

// End says how a lock came to its end.
type End string

// The ways in which a lock ends. EndNotHeld stands for a token of which nothing
// is remembered.
const (
	EndReleased           End = "RELEASED"
	EndExpired            End = "EXPIRED"
	EndForceReleased      End = "FORCE_RELEASED"
	EndSuperseded         End = "SUPERSEDED"
	EndReleasedExternally End = "RELEASED_EXTERNALLY"
	EndNotHeld            End = "NOT_HELD"
)

func checkVersion(v Version) error {
	if 0 <= v && v <= MaxVersion {
		return nil
	}
	return outsideBounds(FieldExpectedVersion, ReasonOutOfRange, fmt.Sprintf("must be 0 to %d", MaxVersion), 0, int64(MaxVersion))
}
