// Package faults judges what clients saw of the service while it, and the Redis
// behind it, were broken: whether all of it can have happened to locks that keep
// their promises. Its tests, under the build tag faults, break them.
//
// Each take has a worker of its own, so whoever is told of a holder is told which
// take holds.
package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Kind is what an operation asks for.
type Kind string

// The kinds of operations. Foreign ones are another program's, see docs/OPERATIONS.md.
const (
	Take           Kind = "take"
	Release        Kind = "release"
	Extend         Kind = "extend"
	Read           Kind = "read"
	Resume         Kind = "resume"
	ForceRelease   Kind = "force release"
	ForeignTake    Kind = "foreign take"
	ForeignRelease Kind = "foreign release"
)

// Outcome is what an operation was answered in the end.
type Outcome string

// The outcomes. Those of a release are the schema's, the errors their codes. A forced
// release that was done is [ForceReleased], too.
const (
	Unknown         Outcome = "" // no answer that says what became of it
	Taken           Outcome = "TAKEN"
	Occupied        Outcome = "SPOOL_OCCUPIED"
	Conflict        Outcome = "VERSION_CONFLICT"
	Ended           Outcome = "LOCK_EXPIRED"
	Released        Outcome = "RELEASED"
	AlreadyReleased Outcome = "ALREADY_RELEASED"
	Expired         Outcome = "EXPIRED"
	ForceReleased   Outcome = "FORCE_RELEASED"
	Superseded      Outcome = "SUPERSEDED"
	NotOwner        Outcome = "NOT_OWNER"
	NotHeld         Outcome = "NOT_HELD"
	Extended        Outcome = "EXTENDED"
	Resumed         Outcome = "RESUMED"
	Free            Outcome = "FREE"
	Held            Outcome = "HELD"
)

// Lock is a lock as a client is told of it.
type Lock struct {
	OwnerID string
	Version int64
	Expires int64 // ms, on Redis' clock
}

// Operation is one request about one spool, sent until an answer said what became of
// it.
type Operation struct {
	Client int
	Spool  string
	Kind   Kind

	Token    string `json:",omitempty"` // that a take or a resume makes, and the others are about
	TTL      int64  `json:",omitempty"` // ms: of a take, or by how much an extension extends
	Expected *int64 `json:",omitempty"` // version
	Request  string `json:",omitempty"` // the id of an extension or a forced release

	Outcome Outcome
	Cause   string `json:",omitempty"` // how the lock ended, with [Ended]
	Lock    *Lock  `json:",omitempty"` // that was taken, extended, resumed, ended by force or shown, or is in the way
	Version int64  `json:",omitempty"` // of the spool: of a read, of a forced release, and with [Conflict]

	Sent   int   // how often
	Call   int64 // ns, Unix
	Return int64 // ns, of the last answer; without an outcome it means nothing

	// Disturbed says that something was broken meanwhile, so that a request may have been
	// tried again in the service, and what was given up may arrive after the answer.
	Disturbed bool `json:",omitempty"`

	// InDoubt says that a failover may have come between: what was read may be of a
	// master that is none any more, and what was released may come back.
	InDoubt bool `json:",omitempty"`
}

// Owner is the worker whose lock the operation is about.
func (o *Operation) Owner() string {
	owner, _, _ := strings.Cut(o.Token, ":")
	return owner
}

// Write writes the history and the bounds it is judged by, one JSON text a line.
func Write(w io.Writer, bounds Bounds, history []*Operation) error {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	err := encoder.Encode(bounds)
	for _, operation := range history {
		if err == nil {
			err = encoder.Encode(operation)
		}
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	return nil
}

// ReadFrom reads what [Write] wrote.
func ReadFrom(r io.Reader) (bounds Bounds, history []*Operation, err error) {
	decoder := json.NewDecoder(bufio.NewReader(r))
	err = decoder.Decode(&bounds)
	for err == nil && decoder.More() {
		var operation Operation
		err = decoder.Decode(&operation)
		history = append(history, &operation)
	}
	if err != nil {
		return bounds, nil, fmt.Errorf("read the history: %w", err)
	}
	return bounds, history, nil
}
