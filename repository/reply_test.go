package repository

import (
	"strings"
	"testing"
	"time"

	"spoollock/lock"
)

func heldReply() []any {
	return []any{"HELD", int64(1795416523706), int64(7), "93:x", int64(1795416524705), int64(1795416520000), "MR(93)", "weld 3", "", int64(3)}
}

func TestDecodeHeld(t *testing.T) {
	t.Parallel()
	got, err := decode("MK-1", heldReply())
	if err != nil {
		t.Fatal(err)
	}
	want := lock.Lock{
		Tag: "MK-1", Owner: lock.Worker{ID: "93", Name: "MR(93)"}, Note: "weld 3", Version: 7,
		AcquiredAt: time.UnixMilli(1795416520000).UTC(), ExpiresAt: time.UnixMilli(1795416524705).UTC(),
		Remaining: 999 * time.Millisecond,
	}
	if got.decision != "HELD" || got.spool.Tag != "MK-1" || got.spool.Version != 7 || got.spool.Change != 3 || *got.spool.Lock != want || got.ended != lock.EndNotHeld {
		t.Fatalf("reply is %+v with %+v, want %+v", got, got.spool.Lock, want)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	t.Parallel()
	change := func(i int, value any) []any {
		values := heldReply()
		values[i] = value
		return values
	}
	tests := map[string][]any{
		"nothing":               nil,
		"too few":               heldReply()[:9],
		"too many":              append(heldReply(), []any{}, ""),
		"history no list":       append(heldReply(), ""),
		"decision no text":      change(0, int64(1)),
		"time no number":        change(1, "1795416523706"),
		"time zero":             change(1, int64(0)),
		"version no number":     change(2, "7"),
		"version negative":      change(2, int64(-1)),
		"version beyond 2^53-1": change(2, int64(1)<<53),
		"value no text":         change(3, int64(93)),
		"expiry no number":      change(4, nil),
		"expiry of no key":      change(4, int64(-2)),
		"expiry zero":           change(4, int64(0)),
		"acquired no number":    change(5, ""),
		"acquired negative":     change(5, int64(-1)),
		"name nil":              change(6, nil),
		"note nil":              change(7, nil),
		"ended nil":             change(8, nil),
		"ended unknown":         change(8, "Z"),
		"change no number":      change(9, ""),
		"change negative":       change(9, int64(-1)),
	}
	for name, values := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decode("MK-1", values)
			if err == nil {
				t.Fatalf("reply is %+v", got)
			}
			if strings.Contains(err.Error(), "93:x") {
				t.Fatalf("error shows the token: %v", err)
			}
		})
	}
}

// A lock's value is read by Go, or the owner in it by a script, which writes it into
// JSON as it is: whoever reads it, it is the same worker.
func TestOwnersAreTheSameWhoeverReadsThem(t *testing.T) {
	t.Parallel()
	for _, owner := range []string{"93", "ñ", "\xff", "\xff\xfe", "a\xffb\xfe\xfd", "\xe2\x82", "\xed\xa0\x80", "\xf0\x9f\x94", "\ufffd"} {
		want := lock.OwnerOf(owner + ":x")
		message, err := decodeMessage(`["MK-1","1","1795416523706","7","` + owner + `","-1","0","",""]`)
		if err != nil {
			t.Fatal(err)
		}
		if got := message.Spool.Lock.Owner.ID; got != want {
			t.Errorf("the owner of %q is %q in a message, want %q", owner, got, want)
		}
		events, err := decodeEvents([]any{`["TAKEN_EXTERNALLY","7","1795416523706","` + owner + `","","","-1"]`})
		if err != nil || len(events) != 1 || events[0].Owner.ID != want {
			t.Errorf("the owner of %q is in the history as %+v, want %q; %v", owner, events, want, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("HELD", int64(1795416523706), int64(7), "93:x", int64(1795416524705), int64(1795416520000), "MR(93)", "weld 3", "", uint16(0))
	f.Add("FREE", int64(1795416523706), int64(0), "", int64(0), int64(0), "", "", "E", uint16(1<<3))
	f.Add("OCCUPIED", int64(1), int64(1), "", int64(-1), int64(0), "", "", "X", uint16(0))
	f.Add("", int64(-1), int64(-1), "\xff:", int64(-2), int64(-1), "\x00", "\xff", "ZZ", uint16(0xffff))
	f.Fuzz(func(t *testing.T, decision string, now, version int64, value string, expires, acquired int64, name, note, ended string, nils uint16) {
		values := []any{decision, now, version, value, expires, acquired, name, note, ended, version}
		for i := range values {
			if nils&(1<<i) != 0 {
				values[i] = nil
			}
		}
		if nils&(1<<10) != 0 {
			values = values[:9]
		}
		if nils&(1<<11) != 0 {
			values = append(values, []any{name, note, nil})
		}
		got, err := decode("MK-1", values)
		if err != nil {
			return
		}
		if got.spool.Version < 0 || got.spool.Version > lock.MaxVersion || got.ended == "" {
			t.Fatalf("reply is %+v", got)
		}
		if held := got.spool.Lock; held != nil {
			if held.Version != got.spool.Version || held.Owner.ID == "" || held.Remaining < 0 {
				t.Fatalf("lock is %+v", held)
			}
		}
	})
}
