package scalar_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/graph/scalar"
)

func written(m graphql.Marshaler) string {
	var text strings.Builder
	m.MarshalGQL(&text)
	return text.String()
}

func TestMarshal(t *testing.T) {
	t.Parallel()
	moment := time.Date(2026, 11, 23, 15, 5, 9, 123456789, time.FixedZone("", 3600))
	for want, marshaler := range map[string]graphql.Marshaler{
		`"a\"b"`:                     scalar.MarshalString(`a"b`),
		`"MK-1"`:                     scalar.MarshalID("MK-1"),
		`-7`:                         scalar.MarshalInt(-7),
		`9007199254740991`:           scalar.MarshalLong(1<<53 - 1),
		`"2026-11-23T14:05:09.123Z"`: scalar.MarshalDateTime(moment),
		`"2026-11-23T14:05:09.000Z"`: scalar.MarshalDateTime(moment.Truncate(time.Second)),
	} {
		if got := written(marshaler); got != want {
			t.Errorf("%s is written, want %s", got, want)
		}
	}
}

func TestUnmarshalIsStrict(t *testing.T) {
	t.Parallel()
	values := map[string]any{
		"text": "a", "number text": "7", "int": 7, "int64": int64(7), "json int": json.Number("7"),
		"negative": json.Number("-7"), "beyond 32 bits": json.Number("2147483648"),
		"beyond 2^53": json.Number("9007199254740992"), "beyond 64 bits": json.Number("9223372036854775808"),
		"fraction": json.Number("1.5"), "whole float": json.Number("7.0"), "float": math.Pi, "bool": true, "nil": nil,
		"list": []any{"a"}, "object": map[string]any{}, "moment": "2026-11-23T15:05:09.123+01:00",
	}
	whole := []string{"int", "int64", "json int"}
	texts := []string{"text", "number text", "moment"}
	signed := append([]string{"negative"}, whole...)
	for name, test := range map[string]struct {
		unmarshal func(any) (any, error)
		accepted  []string
	}{
		"String":   {func(v any) (any, error) { return scalar.UnmarshalString(v) }, texts},
		"ID":       {func(v any) (any, error) { return scalar.UnmarshalID(v) }, append([]string{"beyond 32 bits", "beyond 2^53", "beyond 64 bits"}, append(texts, signed...)...)},
		"Int":      {func(v any) (any, error) { return scalar.UnmarshalInt(v) }, signed},
		"Long":     {func(v any) (any, error) { return scalar.UnmarshalLong(v) }, append([]string{"beyond 32 bits"}, whole...)},
		"DateTime": {func(v any) (any, error) { return scalar.UnmarshalDateTime(v) }, []string{"moment"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted := map[string]bool{}
			for _, kind := range test.accepted {
				accepted[kind] = true
			}
			for kind, value := range values {
				got, err := test.unmarshal(value)
				var wrong *scalar.TypeError
				if accepted[kind] != (err == nil) || (err != nil && !errors.As(err, &wrong)) {
					t.Errorf("%s %v becomes %v, %v", kind, value, got, err)
				}
				if checked := scalar.Check(name, value); (checked == nil) != (err == nil) {
					t.Errorf("%s %v is checked to be %v, and read as %v", kind, value, checked, err)
				}
			}
		})
	}
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	if id, err := scalar.UnmarshalID(json.Number("93")); err != nil || id != "93" {
		t.Errorf("93 is the ID %q, %v", id, err)
	}
	want := time.Date(2026, 11, 23, 14, 5, 9, 123000000, time.UTC)
	if moment, err := scalar.UnmarshalDateTime("2026-11-23T15:05:09.123+01:00"); err != nil || moment != want {
		t.Errorf("the moment is %v, %v; want %v", moment, err, want)
	}
	if n, err := scalar.UnmarshalLong(json.Number("9007199254740991")); err != nil || n != 1<<53-1 {
		t.Errorf("2^53-1 is the Long %d, %v", n, err)
	}
}
