package lock_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"spoollock/lock"
)

func TestTags(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given string
		want  lock.Tag
	}{
		"plain":                  {"MK-1335-CW-25238-011", "MK-1335-CW-25238-011"},
		"inches and a space":     {`6"-P-12001-A1A SP-01`, `6"-P-12001-A1A SP-01`},
		"trimmed":                {" \t\n\u00a0\u3000MK-1\r\u2029", "MK-1"},
		"case stays":             {"mk-1", "mk-1"},
		"composed":               {"CAN\u0303ERI\u0301A", "CAÑERÍA"},
		"canonical equivalents":  {"\u212b\u2126", "ÅΩ"},
		"letters of any script":  {"管-Труба-أنبوب", "管-Труба-أنبوب"},
		"a mark without a home":  {"x\u0332", "x\u0332"},
		"symbols":                {"⌀50 ±0.5°", "⌀50 ±0.5°"},
		"a colon":                {"A:B", "A:B"},
		"64 characters":          {strings.Repeat("ñ", 64), lock.Tag(strings.Repeat("ñ", 64))},
		"64 when composed":       {strings.Repeat("n\u0303", 64), lock.Tag(strings.Repeat("ñ", 64))},
		"64 when trimmed":        {" " + strings.Repeat("x", 64) + " ", lock.Tag(strings.Repeat("x", 64))},
		"an emoji":               {"⚙-🔧", "⚙-🔧"},
		"one character":          {"7", "7"},
		"glob characters":        {"*?[a]", "*?[a]"},
		"quotes and backslashes": {`'\"`, `'\"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := lock.TagParser{}.Parse(test.given)
			if err != nil || got != test.want {
				t.Fatalf("tag is %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestUpperCaseTags(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given string
		want  lock.Tag
	}{
		"ASCII letters":                 {"mk-1335-cw", "MK-1335-CW"},
		"nothing else":                  {"ñandú-ß-ﬁ", "ñANDú-ß-ﬁ"},
		"what composes in capitals":     {"i\u0307", "İ"},
		"what composes in small ones":   {"h\u0331", "ẖ"},
		"upper case stays as it stands": {"MK-1", "MK-1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := lock.TagParser{UpperCase: true}.Parse(test.given)
			if err != nil || got != test.want {
				t.Fatalf("tag is %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestInvalidTags(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given string
		want  lock.Reason
	}{
		"empty":                  {"", lock.ReasonTooShort},
		"blank":                  {" \t ", lock.ReasonTooShort},
		"65 characters":          {strings.Repeat("x", 65), lock.ReasonTooLong},
		"an opening brace":       {"MK-{1", lock.ReasonInvalidCharacter},
		"a closing brace":        {"MK-1}", lock.ReasonInvalidCharacter},
		"two spaces":             {"MK  1", lock.ReasonInvalidCharacter},
		"a tab inside":           {"MK\t1", lock.ReasonInvalidCharacter},
		"a line feed inside":     {"MK\n1", lock.ReasonInvalidCharacter},
		"a no-break space":       {"MK\u00a01", lock.ReasonInvalidCharacter},
		"NUL":                    {"MK\x001", lock.ReasonInvalidCharacter},
		"zero-width space":       {"MK\u200b1", lock.ReasonInvalidCharacter},
		"zero-width joiner":      {"MK\u200d1", lock.ReasonInvalidCharacter},
		"byte order mark":        {"\ufeffMK-1", lock.ReasonInvalidCharacter},
		"right-to-left override": {"MK\u202e1", lock.ReasonInvalidCharacter},
		"soft hyphen":            {"MK\u00ad1", lock.ReasonInvalidCharacter},
		"variation selector":     {"⚙\ufe0f", lock.ReasonInvalidCharacter},
		"grapheme joiner":        {"MK\u034f1", lock.ReasonInvalidCharacter},
		"Hangul filler":          {"MK\u31641", lock.ReasonInvalidCharacter},
		"braille blank":          {"MK\u28001", lock.ReasonInvalidCharacter},
		"private use":            {"MK\ue0001", lock.ReasonInvalidCharacter},
		"unassigned":             {"MK\u03781", lock.ReasonInvalidCharacter},
		"replacement character":  {"MK\ufffd1", lock.ReasonInvalidCharacter},
		"broken UTF-8":           {"MK\xff1", lock.ReasonInvalidCharacter},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, upper := range []bool{false, true} {
				tag, err := lock.TagParser{UpperCase: upper}.Parse(test.given)
				_ = wantInvalid(t, err, lock.FieldTag, test.want)
				if tag != "" {
					t.Fatalf("tag is %q beside an error", tag)
				}
			}
		})
	}
}

func TestBoundsAreSaid(t *testing.T) {
	t.Parallel()
	_, err := lock.TagParser{}.Parse("")
	invalid := wantInvalid(t, err, lock.FieldTag, lock.ReasonTooShort)
	if invalid.Min == nil || *invalid.Min != 1 || invalid.Max == nil || *invalid.Max != 64 {
		t.Fatalf("bounds are %v to %v, want 1 to 64", invalid.Min, invalid.Max)
	}
	if got, want := invalid.Error(), "tag must have 1 to 64 characters"; got != want {
		t.Fatalf("error is %q, want %q", got, want)
	}
}

func wantInvalid(t *testing.T, err error, field lock.Field, reason lock.Reason) *lock.InvalidError {
	t.Helper()
	var invalid *lock.InvalidError
	if !errors.As(err, &invalid) || invalid.Field != field || invalid.Reason != reason {
		t.Fatalf("error is %#v, want %s of %s", err, reason, field)
	}
	return invalid
}

func FuzzTag(f *testing.F) {
	for _, seed := range []string{
		"MK-1335-CW-25238-011", `6"-P-12001-A1A SP-01`, " MK-1 ", "CAN\u0303ERIA", "mk 1", "i\u0307", "e\u0301", "{", "\xff",
		"\u200b", strings.Repeat("x", 65), "",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, given string, upper bool) {
		parser := lock.TagParser{UpperCase: upper}
		tag, err := parser.Parse(given)
		if err != nil {
			var invalid *lock.InvalidError
			if tag != "" || !errors.As(err, &invalid) || invalid.Field != lock.FieldTag {
				t.Fatalf("tag is %q, %v", tag, err)
			}
			return
		}
		s := string(tag)
		if n := utf8.RuneCountInString(s); n < 1 || n > lock.MaxTagLength || !utf8.ValidString(s) {
			t.Fatalf("tag %q has %d characters", tag, n)
		}
		if strings.TrimSpace(s) != s || strings.ContainsAny(s, "{}\n\t\x00") || strings.Contains(s, "  ") || !norm.NFC.IsNormalString(s) {
			t.Fatalf("tag %q is not canonical", tag)
		}
		if again, err := parser.Parse(s); err != nil || again != tag {
			t.Fatalf("tag %q becomes %q, %v when parsed again", tag, again, err)
		}
		if same, err := parser.Parse(norm.NFD.String(given)); err != nil || same != tag {
			t.Fatalf("tag %q is %q, %v when decomposed first", tag, same, err)
		}
		if prefix := parser.Prefix(strings.TrimSpace(given)); prefix != s {
			t.Fatalf("tag %q is %q as a prefix", tag, prefix)
		}
	})
}
