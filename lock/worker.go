package lock

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Worker is a person who works on spools.
type Worker struct {
	ID WorkerID

	// Name is what people call the worker. It is empty where the lock was
	// written by a program that stores no name.
	Name string
}

// WorkerID identifies a worker. One that [ParseWorkerID] made has 1 to 64 of the
// characters A-Z a-z 0-9 . _ -; one that was read from another program's lock
// may have any.
type WorkerID string

// UnknownWorker is the owner of a lock whose value names none. No worker has this id.
const UnknownWorker WorkerID = "unknown"

// The most characters (code points) of a worker's id and name.
const (
	MaxWorkerIDLength   = 64
	MaxWorkerNameLength = 100
)

// ParseWorkerID returns *InvalidError unless s has 1 to 64 of the characters
// A-Z a-z 0-9 . _ - and no others, and is not [UnknownWorker].
func ParseWorkerID(s string) (WorkerID, error) {
	if s == "" {
		return "", missing(FieldWorkerID)
	}
	for _, r := range s {
		switch {
		case 'A' <= r && r <= 'Z', 'a' <= r && r <= 'z', '0' <= r && r <= '9':
		case r == '.', r == '_', r == '-':
		default:
			return "", invalidCharacter(FieldWorkerID, "must consist of A-Z a-z 0-9 . _ -")
		}
	}
	if err := checkLength(FieldWorkerID, s, 1, MaxWorkerIDLength); err != nil {
		return "", err
	}
	if WorkerID(s) == UnknownWorker {
		return "", &InvalidError{Field: FieldWorkerID, Reason: ReasonReserved, Problem: "is reserved for locks that name no worker"}
	}
	return WorkerID(s), nil
}

// ParseWorkerName brings s to Unicode normal form C. It returns *InvalidError
// unless s has 1 to 100 characters, all of them printable (no white space but
// U+0020), and one of them is to be seen.
func ParseWorkerName(s string) (string, error) {
	if s == "" {
		return "", missing(FieldWorkerName)
	}
	if !utf8.ValidString(s) {
		return "", invalidCharacter(FieldWorkerName, "must be valid UTF-8")
	}
	s = norm.NFC.String(s)
	if err := checkLength(FieldWorkerName, s, 1, MaxWorkerNameLength); err != nil {
		return "", err
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return "", invalidCharacter(FieldWorkerName, "must consist of printable characters")
		}
	}
	if !strings.ContainsFunc(s, Visible) {
		return "", &InvalidError{Field: FieldWorkerName, Reason: ReasonBlank, Problem: "must not be blank"}
	}
	return s, nil
}
