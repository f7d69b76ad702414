package lock

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Token is the secret that proves the holding of a lock: the lock's whole value.
// It prints as "[token]" in fmt, slog and JSON; only [Token.Reveal] gives it
// away.
type Token struct{ value secret }

// secret keeps a text behind a pointer, which is all that fmt shows of it where
// it cannot ask for a String method: in an unexported field, or for a wrong verb.
type secret struct{ text *string }

func newSecret(s string) secret { return secret{&s} }

func (s secret) reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// MaxTokenLength is the most characters (code points) of a token that is handed
// in.
const MaxTokenLength = 160

// NewToken makes the token of a take: "<worker>:<request>".
func NewToken(worker WorkerID, request RequestID) Token {
	return Token{newSecret(string(worker) + ":" + request.Reveal())}
}

// ParseToken accepts whatever a lock can have as its value, other programs'
// locks included: any 1 to 160 characters. It returns *InvalidError otherwise.
func ParseToken(s string) (Token, error) {
	if !utf8.ValidString(s) {
		return Token{}, invalidCharacter(FieldToken, "must be valid UTF-8")
	}
	if err := checkLength(FieldToken, s, 1, MaxTokenLength); err != nil {
		return Token{}, err
	}
	return Token{newSecret(s)}, nil
}

// Reveal returns the token itself. It is for the store, and for the answer to
// the take that made the token.
func (t Token) Reveal() string { return t.value.reveal() }

// String returns "[token]".
func (Token) String() string { return "[token]" }

// Format prints "[token]".
func (t Token) Format(f fmt.State, _ rune) { writeMask(f, t.String()) }

// LogValue returns "[token]".
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns "[token]".
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// The bytes of a lock's value: of the longest that can be a token, and those in which the
// owner is looked for.
const (
	maxTokenBytes = 4 * MaxTokenLength
	maxOwnerBytes = 256
)

// OwnerOf returns the worker that a lock's value names: what stands before the first colon
// within its first 256 bytes, or [UnknownWorker] where nothing does, or where the value is
// longer than a token can be. Each byte that is not UTF-8 comes out as U+FFFD. It never
// returns the whole value, which is a secret.
func OwnerOf(value string) WorkerID {
	owner, _, found := strings.Cut(value[:min(len(value), maxOwnerBytes)], ":")
	if !found || owner == "" || len(value) > maxTokenBytes {
		return UnknownWorker
	}
	return WorkerID([]rune(owner))
}

// namedWorker is the worker that a token names; empty if it names none. A token that the store
// does not know may be anything: a UUID in it may be the secret, and is no worker either.
func namedWorker(token Token, stored bool) WorkerID {
	owner, err := ParseWorkerID(string(OwnerOf(token.Reveal())))
	if _, notID := ParseRequestID(string(owner)); err != nil || !stored && notID == nil {
		return ""
	}
	return owner
}

// notTheOwner is why a caller may not use the token.
func notTheOwner(token Token) *ForbiddenError {
	return &ForbiddenError{Owner: namedWorker(token, false), Problem: "the token names another worker, and the caller may not act as that worker"}
}

// RequestID identifies a request, so that sending it again is recognised. It is
// as secret as a token, being the second half of the token that its take makes,
// and prints as "[request id]".
type RequestID struct{ value secret }

// NewRequestID makes a random one. It fails only where the system has no
// randomness to give.
func NewRequestID() (RequestID, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return RequestID{}, fmt.Errorf("make a request id: %w", err)
	}
	return RequestID{newSecret(id.String())}, nil
}

// ParseRequestID returns *InvalidError unless s is a UUID v4 (RFC 9562) in its
// canonical form: 36 characters, lower case.
func ParseRequestID(s string) (RequestID, error) {
	id, err := uuid.Parse(s)
	if err != nil || id.Version() != 4 || id.Variant() != uuid.RFC4122 || id.String() != s {
		return RequestID{}, &InvalidError{
			Field:   FieldRequestID,
			Reason:  ReasonNotUUIDv4,
			Problem: "must be a UUID v4 in canonical form, 36 characters in lower case",
		}
	}
	return RequestID{newSecret(s)}, nil
}

// Reveal returns the id itself. It is for the store.
func (r RequestID) Reveal() string { return r.value.reveal() }

// String returns "[request id]".
func (RequestID) String() string { return "[request id]" }

// Format prints "[request id]".
func (r RequestID) Format(f fmt.State, _ rune) { writeMask(f, r.String()) }

// LogValue returns "[request id]".
func (r RequestID) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText returns "[request id]".
func (r RequestID) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// writeMask ignores a failure to write: fmt takes no error from a Formatter.
func writeMask(w io.Writer, mask string) { _, _ = io.WriteString(w, mask) }

func parseOrNewRequestID(given *string) (RequestID, error) {
	if given == nil {
		return NewRequestID()
	}
	return ParseRequestID(*given)
}
