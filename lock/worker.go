package lock

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// WorkerID identifies a worker. One that [ParseWorkerID] made has 1 to 64 of the
// characters A-Z a-z 0-9 . _ -; one that was read from another program's lock
// may have any.
type WorkerID string

// UnknownWorker is the owner of a lock whose value names none.
const UnknownWorker WorkerID = "unknown"

// The most characters (code points) of what a worker is called and writes.
const (
	MaxWorkerIDLength   = 64
	MaxWorkerNameLength = 100
	MaxNoteLength       = 140
)

// The characters (code points) of a reason for a forced release.
const (
	MinReasonLength = 3
	MaxReasonLength = 500
)

// ParseWorkerID returns *InvalidError unless s has 1 to 64 of the characters
// A-Z a-z 0-9 . _ - and no others.
func ParseWorkerID(s string) (WorkerID, error) {
	if s == "" {
		return "", required(FieldWorkerID)
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
	return WorkerID(s), nil
}

// ParseWorkerName brings s to Unicode normal form C. It returns *InvalidError
// unless s has 1 to 100 characters, all of them printable (no white space but
// U+0020), and one of them is to be seen.
func ParseWorkerName(s string) (string, error) {
	if s == "" {
		return "", required(FieldWorkerName)
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
	if !strings.ContainsFunc(s, visible) {
		return "", &InvalidError{Field: FieldWorkerName, Reason: ReasonBlank, Problem: "must not be blank"}
	}
	return s, nil
}

// ParseNote returns *InvalidError where s has more than 140 characters or a
// control character other than a line feed or a tab. An empty note is none.
func ParseNote(s string) (string, error) { return parseText(FieldNote, s, 0, MaxNoteLength) }

// ParseReason returns *InvalidError unless s has 3 to 500 characters, one of them to
// be seen, and no control character other than a line feed or a tab.
func ParseReason(s string) (string, error) {
	s, err := parseText(FieldReason, s, MinReasonLength, MaxReasonLength)
	if err == nil && !strings.ContainsFunc(s, visible) {
		err = &InvalidError{Field: FieldReason, Reason: ReasonBlank, Problem: "must not be blank"}
	}
	return s, err
}

func parseText(field Field, s string, minimum, maximum int) (string, error) {
	if !utf8.ValidString(s) {
		return "", invalidCharacter(field, "must be valid UTF-8")
	}
	if err := checkLength(field, s, minimum, maximum); err != nil {
		return "", err
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return "", invalidCharacter(field, "must not contain control characters")
		}
	}
	return s, nil
}

func required(field Field) *InvalidError {
	return &InvalidError{Field: field, Reason: ReasonRequired, Problem: "is required"}
}
