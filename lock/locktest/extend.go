package locktest

import (
	"testing"
	"time"

	"spoollock/lock"
)

func (b *bench) extendCommand(token lock.Token, by time.Duration) lock.ExtendCommand {
	return lock.ExtendCommand{Tag: b.tag, Token: token, By: by, MaxTTL: 12 * time.Hour, ID: newID(b.t)}
}

func extend(_ *testing.T, b *bench) {
	cmd := b.command()
	want := b.take(cmd)
	for range 3 {
		want.ExpiresAt = want.ExpiresAt.Add(90 * time.Second)
		extended, err := b.store.Extend(b.ctx, b.extendCommand(cmd.Token, 90*time.Second))
		must(b.t, err)
		b.sameLock(extended, want)
		b.sameLock(*b.read().Lock, want)
	}
}

func extendAgain(t *testing.T, b *bench) {
	cmd := b.command()
	want := b.take(cmd)
	want.ExpiresAt = want.ExpiresAt.Add(time.Minute)
	extension := b.extendCommand(cmd.Token, time.Minute)
	for range 3 {
		extended, err := b.store.Extend(b.ctx, extension)
		must(t, err)
		b.sameLock(extended, want)
	}
	b.sameLock(*b.read().Lock, want)
}

func extendFirstAnswer(t *testing.T, b *bench) {
	cmd := b.command()
	b.take(cmd)
	extension := b.extendCommand(cmd.Token, time.Minute)
	first, err := b.store.Extend(b.ctx, extension)
	must(t, err)
	second, err := b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
	must(t, err)
	again, err := b.store.Extend(b.ctx, extension)
	must(t, err)
	b.sameLock(again, first)
	b.sameLock(*b.read().Lock, second)
}

func extendFree(t *testing.T, b *bench) {
	unknown := newToken(t, ana)
	_, err := b.store.Extend(b.ctx, b.extendCommand(unknown, time.Minute))
	b.wantEnded(err, lock.EndNotHeld)

	_, lapsed := b.takeBriefly()
	_, err = b.store.Extend(b.ctx, b.extendCommand(lapsed, time.Minute))
	b.wantEnded(err, lock.EndExpired)

	cmd := b.command()
	b.take(cmd)
	b.release(cmd.Token)
	_, err = b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
	b.wantEnded(err, lock.EndReleased)

	_, err = b.store.Extend(b.ctx, b.extendCommand(unknown, time.Minute))
	b.wantEnded(err, lock.EndNotHeld)
}

func extendOccupied(t *testing.T, b *bench) {
	_, lapsed := b.takeBriefly()
	taken := b.take(b.command())
	for _, token := range []lock.Token{lapsed, newToken(t, ana)} {
		_, err := b.store.Extend(b.ctx, b.extendCommand(token, time.Minute))
		b.sameLock(wantError[*lock.OccupiedError](t, err).Lock, taken)
	}
	b.sameLock(*b.read().Lock, taken)
}

func extendTooLong(t *testing.T, b *bench) {
	cmd := b.command()
	taken := b.take(cmd)
	extension := b.extendCommand(cmd.Token, time.Hour+10*time.Second)
	extension.MaxTTL = 2 * time.Hour
	_, err := b.store.Extend(b.ctx, extension)
	invalid := wantError[*lock.InvalidError](t, err)
	if invalid.Field != lock.FieldExtension || invalid.Reason != lock.ReasonOutOfRange || invalid.Max == nil {
		t.Fatalf("error is %+v", invalid)
	}
	if *invalid.Max < 3600 || *invalid.Max >= 3610 {
		t.Fatalf("%d seconds are said to be allowed of the 3600 left", *invalid.Max)
	}
	b.sameLock(*b.read().Lock, taken)

	extension.By = time.Duration(*invalid.Max) * time.Second
	_, err = b.store.Extend(b.ctx, extension)
	must(t, err)
}

func extendNextLock(t *testing.T, b *bench) {
	first := b.command()
	b.take(first)
	extension := b.extendCommand(first.Token, time.Minute)
	_, err := b.store.Extend(b.ctx, extension)
	must(t, err)
	b.release(first.Token)

	second := b.command()
	want := b.take(second)
	want.ExpiresAt = want.ExpiresAt.Add(time.Minute)
	extension.Token = second.Token
	extended, err := b.store.Extend(b.ctx, extension)
	must(t, err)
	b.sameLock(extended, want)
}

// extendNewestOfClients has ids of the service come between, which push none of a client's
// out.
func extendNewestOfClients(t *testing.T, b *bench) {
	cmd := b.command()
	b.take(cmd)
	var extensions []lock.ExtendCommand
	var answers []lock.Lock
	for range 16 {
		extension := b.extendCommand(cmd.Token, time.Minute)
		extension.OfClient = true
		extended, err := b.store.Extend(b.ctx, extension)
		must(t, err)
		extensions, answers = append(extensions, extension), append(answers, extended)
		for range 2 {
			_, err := b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Second))
			must(t, err)
		}
	}
	held := *b.read().Lock
	for i, extension := range extensions {
		again, err := b.store.Extend(b.ctx, extension)
		must(t, err)
		b.sameLock(again, answers[i])
	}
	b.sameLock(*b.read().Lock, held)
}

func extendForgotten(t *testing.T, b *bench) {
	cmd := b.command()
	b.take(cmd)
	var extensions []lock.ExtendCommand
	for range 18 {
		extension := b.extendCommand(cmd.Token, time.Second)
		_, err := b.store.Extend(b.ctx, extension)
		must(t, err)
		extension.SinceFirst = time.Minute
		extensions = append(extensions, extension)
	}
	held := *b.read().Lock
	for i, extension := range extensions {
		_, err := b.store.Extend(b.ctx, extension)
		if i >= 18-16 {
			must(t, err)
			continue
		}
		if unavailable := wantError[*lock.UnavailableError](t, err); unavailable.Outcome != lock.OutcomeUnknown {
			t.Fatalf("a forgotten extension is %+v", unavailable)
		}
	}
	b.sameLock(*b.read().Lock, held)
	// The first attempt at another one is no retry.
	_, err := b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Second))
	must(t, err)
}

func extendOften(t *testing.T, b *bench) {
	cmd := b.command()
	want := b.take(cmd)
	for i := range 1000 {
		extension := b.extendCommand(cmd.Token, time.Second)
		extension.OfClient = i%3 == 0
		want.ExpiresAt = want.ExpiresAt.Add(time.Second)
		extended, err := b.store.Extend(b.ctx, extension)
		must(t, err)
		b.sameLock(extended, want)
	}
	b.wantHistory(
		lock.Event{Type: lock.EventExtended, Version: want.Version, Owner: ana, Note: cmd.Note, ExpiresAt: want.ExpiresAt},
		lock.Event{Type: lock.EventTaken, Version: want.Version, Owner: ana, Note: cmd.Note, ExpiresAt: want.AcquiredAt.Add(cmd.TTL)},
	)
}
