package locktest

import (
	"testing"
	"time"

	"spoollock/lock"
)

// wantHistory fails unless the spool's history is want, newest first; what want
// leaves zero of version and time is not compared.
func (b *bench) wantHistory(want ...lock.Event) {
	b.t.Helper()
	got, err := b.store.History(b.ctx, lock.HistoryCommand{Tag: b.tag, Newest: lock.MaxEvents})
	must(b.t, err)
	if len(got) != len(want) {
		b.t.Fatalf("history is %+v, want %+v", got, want)
	}
	for i, event := range got {
		event.Number = 0
		if want[i].Version == 0 {
			event.Version = 0
		}
		if want[i].At.IsZero() {
			event.At = time.Time{}
		}
		if event != want[i] {
			b.t.Fatalf("event %d is\n%+v, want\n%+v", i, event, want[i])
		}
	}
}

func history(_ *testing.T, b *bench) {
	b.wantHistory()
	lapsed, _ := b.takeBriefly()
	b.read()
	cmd := b.command()
	cmd.Owner, cmd.Note, cmd.Token = luis, "", newToken(b.t, luis)
	taken := b.take(cmd)
	extended, err := b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
	must(b.t, err)
	_, spool := b.release(cmd.Token)
	b.release(cmd.Token)
	b.wantHistory(
		lock.Event{Type: lock.EventReleased, Version: spool.Version, Owner: luis},
		lock.Event{Type: lock.EventExtended, Version: taken.Version, Owner: luis, ExpiresAt: extended.ExpiresAt},
		lock.Event{Type: lock.EventTaken, Version: taken.Version, At: taken.AcquiredAt, Owner: luis, ExpiresAt: taken.ExpiresAt},
		lock.Event{Type: lock.EventExpired, At: lapsed.ExpiresAt, Owner: ana, Note: "weld 3"},
		lock.Event{Type: lock.EventTaken, Version: lapsed.Version, At: lapsed.AcquiredAt, Owner: ana, Note: "weld 3", ExpiresAt: lapsed.ExpiresAt},
	)
}

func historyFoldsExtensions(_ *testing.T, b *bench) {
	cmd := b.command()
	cmd.Note = ""
	taken := b.take(cmd)
	var extended lock.Lock
	for range 3 {
		var err error
		extended, err = b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
		must(b.t, err)
	}
	b.wantHistory(
		lock.Event{Type: lock.EventExtended, Version: taken.Version, Owner: ana, ExpiresAt: extended.ExpiresAt},
		lock.Event{Type: lock.EventTaken, Version: taken.Version, Owner: ana, ExpiresAt: taken.ExpiresAt},
	)
}

func historyIsBounded(t *testing.T, b *bench) {
	for range 60 {
		cmd := b.command()
		b.take(cmd)
		b.release(cmd.Token)
	}
	events, err := b.store.History(b.ctx, lock.HistoryCommand{Tag: b.tag, Newest: lock.MaxEvents})
	must(t, err)
	if len(events) != lock.MaxEvents || events[0].Type != lock.EventReleased || events[99].Type != lock.EventTaken {
		t.Fatalf("history has %d events", len(events))
	}
	for i, event := range events[1:] {
		if event.Version >= events[i].Version {
			t.Fatalf("version %d is older than %d", events[i].Version, event.Version)
		}
	}
}
