package lock

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNoteLength is the most characters (code points) of a note.
const MaxNoteLength = 140

// The characters (code points) of a reason for a forced release.
const (
	MinReasonLength = 3
	MaxReasonLength = 500
)

// ParseNote returns *InvalidError where s has more than 140 characters or a
// control character other than a line feed or a tab. An empty note is none.
func ParseNote(s string) (string, error) { return parseText(FieldNote, s, 0, MaxNoteLength) }

// ParseReason returns *InvalidError unless s has 3 to 500 characters, one of them to
// be seen, and no control character other than a line feed or a tab.
func ParseReason(s string) (string, error) {
	s, err := parseText(FieldReason, s, MinReasonLength, MaxReasonLength)
	if err == nil && !strings.ContainsFunc(s, Visible) {
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

// brailleBlank is a symbol by its category and nothing to the eye.
const brailleBlank = '\u2800'

// Visible reports whether r leaves ink: a letter, mark, digit, punctuation or
// symbol that is not ignored in display. The replacement character is not
// counted, as it stands for bytes that were lost on the way.
func Visible(r rune) bool {
	if r < utf8.RuneSelf {
		return '!' <= r && r <= '~' // as below, without a search
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) &&
		r != brailleBlank && r != utf8.RuneError
}

// checkLength counts code points.
func checkLength(field Field, s string, minimum, maximum int) error {
	n := utf8.RuneCountInString(s)
	if minimum <= n && n <= maximum {
		return nil
	}
	reason := ReasonTooLong
	if n < minimum {
		reason = ReasonTooShort
	}
	problem := fmt.Sprintf("must have %d to %d characters", minimum, maximum)
	return outsideBounds(field, reason, problem, int64(minimum), int64(maximum))
}
