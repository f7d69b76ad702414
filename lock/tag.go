package lock

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Tag is the canonical name of a spool, as made by a [TagParser].
type Tag string

// MaxTagLength is the most characters (code points) of a [Tag].
const MaxTagLength = 64

// TagParser makes a [Tag] of what a client wrote.
type TagParser struct {
	// UpperCase folds the letters a to z, and no others, to A to Z. Every program
	// on the same store must then use upper-case tags.
	UpperCase bool
}

// Parse trims white space around s and brings it to Unicode normal form C. The
// rest stays as given: letters, digits, punctuation, symbols and single inner
// spaces. It returns *InvalidError where the result is empty or longer than
// [MaxTagLength], or has any other character: control and invisible ones, a
// second space in a row, and braces, which would decide the cluster slot of a
// key.
func (p TagParser) Parse(s string) (Tag, error) {
	if !utf8.ValidString(s) {
		return "", invalidCharacter(FieldTag, "must be valid UTF-8")
	}
	s = p.fold(strings.TrimSpace(s))
	if err := checkLength(FieldTag, s, 1, MaxTagLength); err != nil {
		return "", err
	}
	previous := rune(0)
	for _, r := range s {
		switch {
		case r == '{' || r == '}':
			return "", invalidCharacter(FieldTag, "must not contain { or }")
		case r == ' ' && previous == ' ':
			return "", invalidCharacter(FieldTag, "must not contain two spaces in a row")
		case r != ' ' && !Visible(r):
			return "", invalidCharacter(FieldTag,
				fmt.Sprintf("must not contain the control or invisible character %U", r))
		}
		previous = r
	}
	return Tag(s), nil
}

// ParseOneOf is Parse for one of several tags in an input: its error is for
// [FieldTags].
func (p TagParser) ParseOneOf(s string) (Tag, error) {
	tag, err := p.Parse(s)
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		invalid.Field = FieldTags
	}
	return tag, err
}

// Prefix makes of what a client wrote the beginning that tags can have: in Unicode
// normal form C, and in upper case where tags are.
func (p TagParser) Prefix(s string) string {
	return p.fold(strings.TrimLeftFunc(s, unicode.IsSpace))
}

func (p TagParser) fold(s string) string {
	s = norm.NFC.String(s)
	if !p.UpperCase {
		return s
	}
	// An upper-case letter may compose with the mark after it where the lower-case
	// one does not, hence the second normalisation.
	return norm.NFC.String(upperASCII(s))
}

func upperASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}
