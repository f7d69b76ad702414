// Package scalar reads and writes the scalars of the schema. It reads strictly:
// a value of another kind than the scalar's is an error, never converted.
package scalar

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/lock"
)

// TypeError says that a value is not of the scalar's type. It does not show the
// value, which may be a secret.
type TypeError struct {
	Want string // "a string"
}

func (e *TypeError) Error() string { return "must be " + e.Want }

// Check returns a *TypeError if a value is not of the scalar of the name. Of a type
// that is not read here, every value is.
func Check(name string, v any) (err error) {
	switch name {
	case "String":
		_, err = UnmarshalString(v)
	case "ID":
		_, err = UnmarshalID(v)
	case "Int":
		_, err = UnmarshalInt(v)
	case "Long":
		_, err = UnmarshalLong(v)
	case "DateTime":
		_, err = UnmarshalDateTime(v)
	case "Boolean":
		if _, ok := v.(bool); !ok {
			err = &TypeError{"true or false"}
		}
	}
	return err
}

// MarshalString writes a String.
func MarshalString(s string) graphql.Marshaler { return graphql.MarshalString(s) }

// UnmarshalString accepts a string and nothing else.
func UnmarshalString(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", &TypeError{"a string"}
}

// MarshalID writes an ID.
func MarshalID(s string) graphql.Marshaler { return graphql.MarshalString(s) }

// UnmarshalID accepts a string or an integer, as the specification says.
func UnmarshalID(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	if n, err := integer(v); err == nil {
		return strconv.FormatInt(n, 10), nil
	}
	if n, ok := v.(json.Number); ok && !strings.ContainsAny(n.String(), ".eE") {
		return n.String(), nil // an integer, too large for the machine's
	}
	return "", &TypeError{"a string or a whole number"}
}

// MarshalInt writes an Int.
func MarshalInt(n int) graphql.Marshaler { return graphql.MarshalInt(n) }

// UnmarshalInt accepts a whole number of 32 bits.
func UnmarshalInt(v any) (int, error) {
	n, err := integer(v)
	if err != nil || int64(int32(n)) != n { //nolint:gosec // that is the check
		return 0, &TypeError{"a whole number of 32 bits"}
	}
	return int(n), nil
}

// MarshalLong writes a Long.
func MarshalLong(n int64) graphql.Marshaler { return graphql.MarshalInt64(n) }

// UnmarshalLong accepts a whole number from 0 to 2^53-1.
func UnmarshalLong(v any) (int64, error) {
	n, err := integer(v)
	if err != nil || n < 0 || n > int64(lock.MaxVersion) {
		return 0, &TypeError{fmt.Sprintf("a whole number from 0 to %d", lock.MaxVersion)}
	}
	return n, nil
}

// integer accepts what gqlgen makes of an integer in a document or in variables.
func integer(v any) (int64, error) {
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case int64:
		return v, nil
	case json.Number:
		return strconv.ParseInt(v.String(), 10, 64)
	default:
		return 0, fmt.Errorf("%T is not a whole number", v)
	}
}

// dateTimeFormat is RFC 3339 with milliseconds; times are in UTC.
const dateTimeFormat = "2006-01-02T15:04:05.000Z"

// FormatDateTime writes t as a DateTime.
func FormatDateTime(t time.Time) string { return t.UTC().Format(dateTimeFormat) }

// MarshalDateTime writes a DateTime.
func MarshalDateTime(t time.Time) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		_, _ = io.WriteString(w, `"`+FormatDateTime(t)+`"`)
	})
}

// UnmarshalDateTime accepts RFC 3339 in a string, in any time zone.
func UnmarshalDateTime(v any) (time.Time, error) {
	if s, ok := v.(string); ok {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, &TypeError{"a date and time as in RFC 3339"}
}
