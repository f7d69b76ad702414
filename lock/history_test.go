package lock

import (
	"errors"
	"slices"
	"testing"
)

func TestCursor(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1.0", "1795417329740.1", "1795417329740.999999999", "9007199254740991.9223372036854775807"} {
		if c, err := ParseCursor(text); err != nil || c.String() != text {
			t.Errorf("cursor %q is %v, %v", text, c, err)
		}
	}
	for _, text := range []string{
		"", "0", "1", "0.1", "-1.1", "+1.1", "01.1", "1.01", "1.+1", "1.-1", "1..1", "1.1.1", "1.1 ", "1.", ".1", "9007199254740992.1",
		"1.9223372036854775808", "x", "1795417329740.x", "1795417329740+", "1e3.1", "0x1.1",
	} {
		var invalid *InvalidError
		if _, err := ParseCursor(text); !errors.As(err, &invalid) || invalid.Field != FieldAfter {
			t.Errorf("cursor %q gets %v", text, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"1.0", "1795417329740.17", "01.1", "1.01", "-1.1", "1.-1", "9007199254740992.1", "1.9223372036854775808", "1", "1795417329740+", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		c, err := ParseCursor(given)
		if err == nil && (c.String() != given || c.version < 1 || c.version > MaxVersion || c.number < 0) {
			t.Fatalf("cursor %q is accepted as %+v", given, c)
		}
	})
}

// Pages neither miss nor double an event, also where the event of a cursor has been
// pushed out, and where newer events came.
func TestPages(t *testing.T) {
	t.Parallel()
	all := []Event{ // newest first
		// Two events of one look have one number, as an expiry and what another program did then.
		{Type: EventReleased, Version: 9, Number: 8}, {Type: EventExtended, Version: 7, Number: 7},
		{Type: EventExtendedExternally, Version: 7, Number: 5}, {Type: EventTakenExternally, Version: 7, Number: 4},
		{Type: EventExpired, Version: 5, Number: 4}, {Type: EventExtended, Version: 3, Number: 3}, {Type: EventTaken, Version: 3, Number: 1},
	}
	for first := 1; first <= len(all); first++ {
		var walked []Event
		var after *Cursor
		for {
			page := pageOf(all, first, after)
			walked = append(walked, page.Events...)
			if !page.More {
				break
			}
			c := page.Events[len(page.Events)-1].Cursor()
			after = &c
		}
		if !slices.Equal(walked, all) {
			t.Fatalf("pages of %d walk through %v", first, walked)
		}
	}
	for _, at := range all[:5] {
		after := at.Cursor()
		want := all[slices.Index(all, at)+1:]
		if got := pageOf(slices.DeleteFunc(slices.Clone(all), func(e Event) bool { return e == at }), 100, &after); !slices.Equal(got.Events, want) || got.More {
			t.Fatalf("after the lost %+v come %+v, want %+v", at, got.Events, want)
		}
	}
	oldest := all[6].Cursor()
	if got := pageOf(all, 100, &oldest); len(got.Events) != 0 || got.More {
		t.Fatalf("after the oldest come %+v", got)
	}
}
