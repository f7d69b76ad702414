package lock_test

import (
	"strings"
	"testing"

	"spoollock/lock"
)

func TestNotes(t *testing.T) {
	t.Parallel()
	for _, given := range []string{"", "weld 3\nthen 4", "⚠\ufe0f hot", strings.Repeat("ñ", 140)} {
		if got, err := lock.ParseNote(given); err != nil || got != given {
			t.Errorf("note %q is %q, %v", given, got, err)
		}
	}
	refused := map[string]lock.Reason{
		strings.Repeat("x", 141): lock.ReasonTooLong,
		"\x1b[31m":               lock.ReasonInvalidCharacter,
		"\x00":                   lock.ReasonInvalidCharacter,
		"\xff":                   lock.ReasonInvalidCharacter,
	}
	for given, want := range refused {
		_, err := lock.ParseNote(given)
		_ = wantInvalid(t, err, lock.FieldNote, want)
	}
}
