package lock_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"spoollock/lock"
)

const someUUID = "8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11"

func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	id, err := lock.ParseRequestID(someUUID)
	if err != nil {
		t.Fatal(err)
	}
	token := lock.NewToken("93", id)
	if got, want := token.Reveal(), "93:"+someUUID; got != want {
		t.Fatalf("token is %q, want %q", got, want)
	}
	inside := struct {
		Token   lock.Token
		Pointer *lock.Token
		ID      lock.RequestID
		hidden  lock.Token
		hiddens []lock.RequestID
	}{token, &token, id, token, []lock.RequestID{id}}
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%T", "%p", "%w"} {
		fmt.Fprintf(&printed, verb+"\n", token)
		fmt.Fprintf(&printed, verb+"\n", &token)
		fmt.Fprintf(&printed, verb+"\n", id)
		fmt.Fprintf(&printed, verb+"\n", inside)
	}
	fmt.Fprintln(&printed, token, id, inside)
	fmt.Fprintln(&printed, fmt.Errorf("release %v: %w", token, errors.New("x")))
	encoded, err := json.Marshal(inside)
	if err != nil {
		t.Fatal(err)
	}
	printed.Write(encoded)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
		slog.New(handler).Info("x", "token", token, "pointer", &token, "id", id, "inside", inside)
	}
	for _, secret := range []string{someUUID, "7c1d", fmt.Sprintf("%x", someUUID), "[56 98 54"} {
		if strings.Contains(printed.String(), secret) {
			t.Fatalf("%q shows in\n%s", secret, printed.String())
		}
	}
	for _, mask := range []string{"[token]", "[request id]"} {
		if !strings.Contains(printed.String(), mask) {
			t.Fatalf("%q does not show in\n%s", mask, printed.String())
		}
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	id, err := lock.ParseRequestID(someUUID)
	if err != nil || id.Reveal() != someUUID {
		t.Fatalf("request id is %q, %v", id.Reveal(), err)
	}
	for name, given := range map[string]string{
		"empty":         "",
		"upper case":    strings.ToUpper(someUUID),
		"braces":        "{" + someUUID + "}",
		"URN":           "urn:uuid:" + someUUID,
		"no hyphens":    strings.ReplaceAll(someUUID, "-", ""),
		"version 1":     "8b6f5a1e-7c1d-1f5e-9a39-0d6f2f1b7c11",
		"version 7":     "8b6f5a1e-7c1d-7f5e-9a39-0d6f2f1b7c11",
		"other variant": "8b6f5a1e-7c1d-4f5e-ca39-0d6f2f1b7c11",
		"nil":           "00000000-0000-0000-0000-000000000000",
		"too long":      someUUID + "0",
	} {
		_, err := lock.ParseRequestID(given)
		if err == nil {
			t.Errorf("%s is accepted", name)
			continue
		}
		_ = wantInvalid(t, err, lock.FieldRequestID, lock.ReasonNotUUIDv4)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, given := range []string{"x", "93:" + someUUID, "93:" + someUUID + ":23-11-2026 14:05:09", strings.Repeat("ñ", 160)} {
		if token, err := lock.ParseToken(given); err != nil || token.Reveal() != given {
			t.Errorf("token %q is %q, %v", given, token.Reveal(), err)
		}
	}
	for given, want := range map[string]lock.Reason{
		"":                       lock.ReasonTooShort,
		strings.Repeat("x", 161): lock.ReasonTooLong,
		"\xff":                   lock.ReasonInvalidCharacter,
	} {
		_, err := lock.ParseToken(given)
		_ = wantInvalid(t, err, lock.FieldToken, want)
	}
}

func TestOwnerOfAValue(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]lock.WorkerID{
		"93:" + someUUID: "93",
		"93:" + someUUID + ":23-11-2026 14:05:09": "93",
		"93:":      "93",
		"93":       "unknown",
		"":         "unknown",
		":" + "93": "unknown",
		"a b:c":    "a b",
		"\xff:1":   "\ufffd",
	} {
		if got := lock.OwnerOf(value); got != want {
			t.Errorf("owner of %q is %q, want %q", value, got, want)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{
		"93:" + someUUID, "93:" + someUUID + ":23-11-2026 14:05:09", "", ":", "x", "\xff:", strings.Repeat("x", 161),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		owner := lock.OwnerOf(given)
		if owner == "" || !utf8.ValidString(string(owner)) {
			t.Fatalf("owner of %q is %q", given, owner)
		}
		if len(given) > len("unknown") && string(owner) == given {
			t.Fatalf("owner of %q is the whole value", given)
		}
		token, err := lock.ParseToken(given)
		if err == nil && token.Reveal() != given {
			t.Fatalf("token %q is %q", given, token.Reveal())
		}
		if n := utf8.RuneCountInString(given); (err == nil) != (n >= 1 && n <= 160 && utf8.ValidString(given)) {
			t.Fatalf("token of %d characters: %v", n, err)
		}
	})
}

func FuzzRequestID(f *testing.F) {
	for _, seed := range []string{someUUID, strings.ToUpper(someUUID), "{" + someUUID + "}", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		id, err := lock.ParseRequestID(given)
		if err != nil {
			return
		}
		if id.Reveal() != given || len(given) != 36 || given[14] != '4' || strings.ToLower(given) != given {
			t.Fatalf("request id %q is accepted as %q", given, id.Reveal())
		}
	})
}
