package lock_test

import (
	"strings"
	"testing"

	"spoollock/lock"
)

func TestWorkerIDs(t *testing.T) {
	t.Parallel()
	for _, given := range []string{"93", "a", "A.b_c-9", "Unknown", "unknown.7", strings.Repeat("x", 64)} {
		if got, err := lock.ParseWorkerID(given); err != nil || string(got) != given {
			t.Errorf("worker id %q is %q, %v", given, got, err)
		}
	}
	tests := map[string]lock.Reason{
		"":                      lock.ReasonRequired,
		strings.Repeat("x", 65): lock.ReasonTooLong,
		"93:94":                 lock.ReasonInvalidCharacter,
		"MR(93)":                lock.ReasonInvalidCharacter,
		"93 ":                   lock.ReasonInvalidCharacter,
		"ñ":                     lock.ReasonInvalidCharacter,
		"93\n":                  lock.ReasonInvalidCharacter,
		"\xff":                  lock.ReasonInvalidCharacter,
		"unknown":               lock.ReasonReserved,
	}
	for given, want := range tests {
		_, err := lock.ParseWorkerID(given)
		_ = wantInvalid(t, err, lock.FieldWorkerID, want)
	}
}

func TestWorkerNames(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"MR(93)":                 "MR(93)",
		" Luis  Ban\u0303uelos ": " Luis  Bañuelos ",
		strings.Repeat("ñ", 100): strings.Repeat("ñ", 100),
		"Ana ⚙\ufe0f":            "Ana ⚙\ufe0f",
	}
	for given, want := range tests {
		if got, err := lock.ParseWorkerName(given); err != nil || got != want {
			t.Errorf("worker name %q is %q, %v; want %q", given, got, err, want)
		}
	}
	refused := map[string]lock.Reason{
		"":                       lock.ReasonRequired,
		" ":                      lock.ReasonBlank,
		"\u3164":                 lock.ReasonBlank,
		"\u2800 ":                lock.ReasonBlank,
		strings.Repeat("x", 101): lock.ReasonTooLong,
		"Ana\n":                  lock.ReasonInvalidCharacter,
		"Ana\u202e":              lock.ReasonInvalidCharacter,
		"Ana\u00a0":              lock.ReasonInvalidCharacter,
		"Ana\xff":                lock.ReasonInvalidCharacter,
	}
	for given, want := range refused {
		_, err := lock.ParseWorkerName(given)
		_ = wantInvalid(t, err, lock.FieldWorkerName, want)
	}
}
