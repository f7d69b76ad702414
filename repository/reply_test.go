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
		events, _, err := decodeEvents([]any{`["TAKEN_EXTERNALLY","7","1795416523706","` + owner + `","","","-1"]`})
		if err != nil || len(events) != 1 || events[0].Owner.ID != want {
			t.Errorf("the owner of %q is in the history as %+v, want %q; %v", owner, events, want, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	const withoutTenth, withHistory = 1 << 10, 1 << 11
	const history = `["EXTENDED","1795561046931","1795561046930","93","MR(93)","weld 3","1795564706929"]
["RELEASED","1795561046930","1795561046929","93","MR(93)","weld 3","0"]
["TAKEN_EXTERNALLY","1795561046928","1795561046928","","","","-1"]`
	f.Add("HELD", int64(1795416523706), int64(7), "93:x", int64(1795416524705), int64(1795416520000), "MR(93)", "weld 3", "", "", uint16(0))
	f.Add("HELD", int64(1795561046931), int64(1795561046931), "93:x", int64(1795564706929), int64(1795561046929), "MR(93)", "weld 3", "", history, uint16(withHistory))
	f.Add("FREE", int64(1795416523706), int64(0), "", int64(0), int64(0), "", "", "E", history, uint16(1<<3|withHistory))
	f.Add("OCCUPIED", int64(1), int64(1), "", int64(-1), int64(0), "", "", "X", "", uint16(0))
	f.Add("", int64(-1), int64(-1), "\xff:", int64(-2), int64(-1), "\x00", "\xff", "ZZ", `["TAKEN","0x7","1","\xff"]`, uint16(0xffff))
	f.Fuzz(func(t *testing.T, decision string, now, version int64, value string, expires, acquired int64, name, note, ended, events string, flags uint16) {
		values := []any{decision, now, version, value, expires, acquired, name, note, ended, version}
		for i := range values {
			if flags&(1<<i) != 0 {
				values[i] = nil
			}
		}
		if flags&withoutTenth != 0 {
			values = values[:9]
		}
		if flags&withHistory != 0 {
			list := []any{nil}
			for event := range strings.Lines(events) {
				list = append(list, event)
			}
			values = append(values, list)
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
		for _, event := range got.events {
			if !eventTypes[event.Type] || event.Version < 1 || event.Version > lock.MaxVersion || event.Owner.ID == "" || event.At.IsZero() {
				t.Fatalf("event is %+v", event)
			}
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	for _, payload := range []string{
		`["6e0a1b0e-8f3c-4f0e-9d1c-8d2f5b7f8a11-17","1795561046931"]`,
		`["MK-1335-CW-25238-011","2","1795561046931","1795561046931","93","1795564706929","1795561046929","MR(93)","weld 3"]`,
		`["MK-1335-CW-25238-011","3","1795561046931","1795561046932","","0","0","",""]`,
		`["6\"-P-12001-A1A SP-01","1","1795561046931","1795561046931","94","-1","0","",""]`,
		"[\"MK-1\",\"0\",\"1\",\"9007199254740991\",\"\xff\xfe\",\"253402300799999\",\"0\",\"\\u0000\",\"\"]",
		`["","1"]`, `[]`, `null`, `["MK-1",2]`,
	} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		got, err := decodeMessage(payload)
		if err != nil {
			return
		}
		spool := got.Spool
		if got.At.UnixMilli() <= 0 || (got.Beat == "") == (spool.Tag == "") {
			t.Fatalf("message is %+v", got)
		}
		if got.Beat != "" {
			return
		}
		if spool.Version < 1 || spool.Version > lock.MaxVersion || spool.Change < 0 {
			t.Fatalf("spool is %+v", spool)
		}
		if held := spool.Lock; held != nil && (held.Tag != spool.Tag || held.Version != spool.Version || held.Owner.ID == "" || held.Remaining < 0) {
			t.Fatalf("lock is %+v", held)
		}
	})
}
