package repository

import (
	"strings"
	"testing"
	"time"

	"spoollock/lock"
)

const (
	someExtras = `{"owner":"93","name":"MR(93)","note":"weld 3"}`
	someLine   = "N001795416523706000000000000007000000003001795416524705001795416520000" + someExtras
	someReply  = "HELD 001795416523706 00179541652470593:x\n" + someLine
)

func TestDecodeHeld(t *testing.T) {
	t.Parallel()
	got, err := decode("MK-1", someReply)
	if err != nil {
		t.Fatal(err)
	}
	want := lock.Lock{
		Tag: "MK-1", Owner: lock.Worker{ID: "93", Name: "MR(93)"}, Note: "weld 3", Version: 7,
		AcquiredAt: time.UnixMilli(1795416520000).UTC(), ExpiresAt: time.UnixMilli(1795416524705).UTC(),
		Remaining: 999 * time.Millisecond,
	}
	if got.decision != "HELD" || got.spool.Tag != "MK-1" || got.spool.Version != 7 || got.spool.Change != 3 || *got.spool.Lock != want || got.ended() != lock.EndNotHeld {
		t.Fatalf("reply is %+v with %+v, want %+v", got, got.spool.Lock, want)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	t.Parallel()
	in := func(old, other string) string { return strings.Replace(someReply, old, other, 1) }
	tests := map[string]any{
		"nothing":               nil,
		"a number":              int64(1),
		"empty":                 "",
		"an empty list":         []any{},
		"no text in the list":   []any{int64(1), ""},
		"no spool":              "HELD 001795416523706",
		"time no number":        in("001795416523706 ", "now "),
		"time negative":         in("001795416523706 ", "-01795416523706 "),
		"expiry no number":      in("001795416524705", "           soon"),
		"expiry after 9999":     in("001795416524705", "253402300800000"),
		"expiry cut":            "HELD 001795416523706 0017954165247\n" + someLine,
		"no line":               "HELD 001795416523706 00179541652470593:x",
		"line empty":            "HELD 001795416523706 00179541652470593:x\n",
		"line cut":              "HELD 001795416523706 00179541652470593:x\n" + someLine[:60],
		"kind in lower case":    in("\nN", "\nn"),
		"version no number":     in("000000000000007", "            nan"),
		"version zero":          in("000000000000007", "000000000000000"),
		"version negative":      in("000000000000007", "-00000000000007"),
		"version in other form": in("000000000000007", "00000000000x007"),
		"version after 9999":    in("000000000000007", "253402300800000"),
		"change no number":      in("000000003", "abc000003"),
		"change negative":       in("000000003", "-00000003"),
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

// What decides nothing counts as not known where it is damaged, and so does what another
// version wrote.
func TestDecodeIsLiberal(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"times":             strings.NewReplacer("N001795416523706", "N            nan", "001795416520000{", "-00000000000005{").Replace(someReply),
		"extras no JSON":    strings.Replace(someReply, someExtras, "{x}", 1),
		"extras of another": strings.Replace(someReply, someExtras, `{"owner":93}`, 1),
		"an unknown name":   strings.Replace(someReply, `"note"`, `"shift":{"b":[1,null]},"note"`, 1),
		"an unknown kind":   strings.Replace(someReply, "\nN", "\nQ", 1),
	} {
		got, err := decode("MK-1", text)
		if err != nil || got.spool.Lock == nil || got.spool.Lock.Owner.ID != "93" || got.spool.Version != 7 || !got.spool.Lock.ExpiresAt.Equal(time.UnixMilli(1795416524705)) {
			t.Errorf("%s: reply is %+v, %v", name, got, err)
		}
	}
	if got := (reply{detail: "W"}).ended(); got != lock.EndNotHeld {
		t.Errorf("an unknown end is %s", got)
	}
}

func knowsNothing(lock.Spool) bool { return false }

// A lock's value is read by Go, or the owner in it by a script, which writes it into
// JSON as it is: whoever reads it, it is the same worker.
func TestOwnersAreTheSameWhoeverReadsThem(t *testing.T) {
	t.Parallel()
	for _, owner := range []string{"93", "ñ", "\xff", "\xff\xfe", "a\xffb\xfe\xfd", "\xe2\x82", "\xed\xa0\x80", "\xf0\x9f\x94", "\ufffd"} {
		want := lock.OwnerOf(owner + ":x")
		text := "Y" + someLine[1:lineHeader] + `{"owner":"` + owner + `"}`
		message, err := decodeMessage("spool_lock:MK-1\n"+text, lock.TagParser{}, knowsNothing)
		if err != nil {
			t.Fatal(err)
		}
		if got := message.Spool.Lock.Owner.ID; got != want {
			t.Errorf("the owner of %q is %q in a message, want %q", owner, got, want)
		}
		answer := reply{more: []any{text + "\n", text + "\n"}}
		events, err := historyAnswer(lock.HistoryCommand{}, answer)
		if err != nil || len(events) != 2 || events[0].Owner.ID != want || events[1].Owner.ID != want {
			t.Errorf("the owner of %q is in the history as %+v, want %q; %v", owner, events, want, err)
		}
	}
}

func lineSeeds() []string {
	return []string{
		"", someLine, someLine[:lineHeader], someLine[:lineHeader-1], "Q" + someLine[1:], "n" + someLine[1:],
		"R001795416523706001795416523706000000004001795416524705001795416520000" + `{"owner":"93","by":"0123456789ab","done":"x"}`,
		"F001795416523706001795416523706000000004001795416524705001795416520000" + `{"owner":"93","held":7,"actor":"boss","reason":"gone"}`,
		"F001795416523706001795416523706000000004001795416524705001795416520000" + `{"held":-1}`,
		"E001795416523706001795416523706000000004000000000000000000000000000000{}",
		strings.Replace(someLine, "000000000000007", "            nan", 1), strings.Replace(someLine, "000000000000007", "            inf", 1),
		strings.Replace(someLine, "000000000000007", "-00000000000005", 1), strings.Replace(someLine, "000000000000007", "0000000000001e9", 1),
		strings.Replace(someLine, "000000000000007", "00000000000x010", 1), strings.Replace(someLine, "000000000000007", "253402300799999", 1),
		strings.Replace(someLine, "001795416524705", "253402300800000", 1), someLine[:lineHeader] + "{\"owner\":\"\xff\xfe\"}",
		someLine[:lineHeader] + `{"owner":5}`, someLine[:lineHeader] + "{{}", someLine + "\n" + someLine,
	}
}

func FuzzParseLine(f *testing.F) {
	for _, seed := range lineSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, ok := parseLine(text)
		for _, time := range []int64{l.at, l.expires, l.acquired} {
			if time < 0 || time > latest {
				t.Fatalf("line is %+v", l)
			}
		}
		if !ok {
			return
		}
		if l.version < 1 || l.version > latest || l.number < 0 || l.number > 999_999_999 || l.kind < 'A' || l.kind > 'Z' {
			t.Fatalf("line is %+v", l)
		}
		if held := l.lock(); held.Owner.ID == "" || held.Version != l.version || held.AcquiredAt.Year() > 9999 {
			t.Fatalf("lock is %+v", held)
		}
		if event, known := l.event(); known && (event.Type == "" || event.Owner.ID == "" || event.At.UnixMilli() < 1 || event.ExpiresAt.Year() > 9999) {
			t.Fatalf("event is %+v", event)
		}
		again, ok := parseLine(text[:lineHeader] + l.extras().json())
		if !ok || again.extras() != l.extras() {
			t.Fatalf("line is %+v, and written again %+v", l, again)
		}
		if again.extrasText = l.extrasText; again != l {
			t.Fatalf("line is %+v, and written again %+v", l, again)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, line := range lineSeeds() {
		f.Add("HELD 001795416523706 00179541652470593:x\n"+line, line+"\n", line)
	}
	f.Add("FREE 1795416523 706123 -00000000000002\n", "\n", "x\ny\n\n")
	f.Add("FREE 1795416523 706123 -00000000000002\nE001795416523706001795416523706000000004000000000000000000000000000000{}", "", "")
	f.Add("ENDED-S 1795416523 706123 -0000000000000194:\n\n:x\n"+someLine, "", "")
	f.Add("EXTENDED-1795416524705 1795416523 706123 -00000000000001\xff\n"+someLine, "", "")
	f.Add("", "", "")
	f.Add("a  ", "", "")
	f.Fuzz(func(t *testing.T, text, older, entry string) {
		for _, values := range []any{text, []any{text, older, []any{entry, nil, int64(1)}}, []any{text, entry, nil}} {
			got, err := decode("MK-1", values)
			if err != nil {
				continue
			}
			if got.spool.Version < 0 || got.spool.Version > latest || got.ended() == "" || got.spool.Change < 0 {
				t.Fatalf("reply is %+v", got)
			}
			if held := got.spool.Lock; held != nil {
				if held.Version != got.spool.Version || held.Owner.ID == "" || held.Remaining < 0 || held.ExpiresAt.Year() > 9999 || got.spool.Fingerprint == 0 {
					t.Fatalf("lock is %+v", held)
				}
			}
			events, err := historyAnswer(lock.HistoryCommand{}, got)
			if (err == nil) != (len(got.more) == 2) {
				t.Fatalf("events are %+v, %v", events, err)
			}
			for _, event := range events {
				if event.Type == "" || event.Version < 1 || event.Version > latest || event.Owner.ID == "" || event.At.IsZero() {
					t.Fatalf("event is %+v", event)
				}
			}
			answer(got)
		}
	})
}

// answer has each operation read the reply: none of them may panic.
func answer(got reply) {
	expected := lock.Version(1)
	_, _ = takeAnswer(lock.TakeCommand{Expected: &expected, AtLimit: true}, got)
	_, _ = releaseAnswer(lock.ReleaseCommand{}, got)
	_, _ = extendAnswer(lock.ExtendCommand{MaxTTL: time.Hour}, got)
	_, _ = resumeAnswer(lock.ResumeCommand{}, got)
	_, _ = forceAnswer(lock.ForceReleaseCommand{Expected: 1}, got)
	_, _ = readAnswer("", got)
	_, _ = checkAnswer(lock.CheckCommand{}, got)
}

// Of a state that is known, nothing more is decoded than what is asked about.
func TestMessageOfAKnownState(t *testing.T) {
	t.Parallel()
	var asked lock.Spool
	got, err := decodeMessage("spool_lock:MK-1\n"+someLine, lock.TagParser{}, func(spool lock.Spool) bool {
		asked = spool
		return true
	})
	if err != nil || !got.Known || asked.Lock == nil || asked.Lock != got.Spool.Lock {
		t.Fatalf("message is %+v, %v", got, err)
	}
	held := *asked.Lock
	if asked.Tag != "MK-1" || asked.Version != 7 || asked.Change != 3 || held.Version != 7 || held.ExpiresAt.UnixMilli() != 1795416524705 || held.Owner.ID != "" {
		t.Errorf("asked about %+v with %+v", asked, held)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, line := range lineSeeds() {
		f.Add("spool_lock:MK-1335-CW-25238-011\n" + line)
	}
	for _, payload := range []string{
		"\nB001795416523706000000000000000000000000000000000000000000000000000000" + `{"id":"6e0a1b0e-8f3c-4f0e-9d1c-8d2f5b7f8a11-17"}`,
		"\nB001795416523706000000000000000000000000000000000000000000000000000000{}",
		"spool_lock:6\"-P-12001-A1A SP-01\n" + someLine, "spool_lock:\n" + someLine, "spool_lock:\xff\n" + someLine, "MK-1\n" + someLine,
		"spool_lock:" + strings.Repeat("x", 257) + "\n" + someLine, "", "\n", `["MK-1",2]`,
	} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		got, err := decodeMessage(payload, lock.TagParser{}, knowsNothing)
		if err != nil {
			return
		}
		if len(payload) > maxMessage {
			t.Fatalf("a message of %d bytes is read", len(payload))
		}
		spool := got.Spool
		if got.At.UnixMilli() <= 0 || got.At.Year() > 9999 || (got.Beat == "") == (spool.Tag == "") {
			t.Fatalf("message is %+v", got)
		}
		if got.Beat != "" {
			return
		}
		if spool.Version < 1 || spool.Version > latest || spool.Change < 0 || len(spool.Tag) > maxRawTag {
			t.Fatalf("spool is %+v", spool)
		}
		if held := spool.Lock; held != nil && (held.Tag != spool.Tag || held.Version != spool.Version || held.Owner.ID == "" || held.Remaining < 0 || held.ExpiresAt.Year() > 9999) {
			t.Fatalf("lock is %+v", held)
		}
	})
}
