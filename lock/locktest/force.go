package locktest

import (
	"testing"
	"time"

	"spoollock/lock"
)

func (b *bench) forceCommand(version lock.Version) lock.ForceReleaseCommand {
	return lock.ForceReleaseCommand{Tag: b.tag, Expected: version, Actor: "boss", Reason: "he \"went\" home\nñ", ID: newID(b.t)}
}

func force(t *testing.T, b *bench) {
	cmd := b.command()
	taken := b.take(cmd)
	forcing := b.forceCommand(taken.Version)
	forced, err := b.store.ForceRelease(b.ctx, forcing)
	must(t, err)
	b.sameLock(forced.Released, taken)
	if forced.Released.Remaining <= 0 || forced.Released.Remaining > cmd.TTL {
		t.Fatalf("%v of %v were left", forced.Released.Remaining, cmd.TTL)
	}
	if forced.Spool.Lock != nil || forced.Spool.Version <= taken.Version || b.read() != forced.Spool {
		t.Fatalf("spool is %+v, was said to be %+v", b.read(), forced.Spool)
	}
	b.wantHistory(
		lock.Event{
			Type: lock.EventForceReleased, Version: forced.Spool.Version, Owner: ana, Note: cmd.Note,
			Actor: forcing.Actor, Reason: forcing.Reason,
		},
		lock.Event{Type: lock.EventTaken, Version: taken.Version, Owner: ana, Note: cmd.Note, ExpiresAt: taken.ExpiresAt},
	)
	_, err = b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
	b.wantEnded(err, lock.EndForceReleased)
	_, _, err = b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndForceReleased)
	outcome, _ := b.release(cmd.Token)
	b.wantOutcome(outcome, lock.OutcomeForceReleased)
}

func forceAgain(t *testing.T, b *bench) {
	forcing := b.forceCommand(b.take(b.command()).Version)
	first, err := b.store.ForceRelease(b.ctx, forcing)
	must(t, err)
	next := b.take(b.command())
	again, err := b.store.ForceRelease(b.ctx, forcing)
	must(t, err)
	b.sameLock(again.Released, first.Released)
	if again.Spool.Version != first.Spool.Version || again.Spool.Lock != nil {
		t.Fatalf("spool is said to be %+v, was %+v", again.Spool, first.Spool)
	}
	b.sameLock(*b.read().Lock, next)
}

func forceOther(t *testing.T, b *bench) {
	_, err := b.store.ForceRelease(b.ctx, b.forceCommand(0))
	b.wantEnded(err, lock.EndNotHeld)
	first := b.command()
	seen := b.take(first)
	b.release(first.Token)
	next := b.take(b.command())
	_, err = b.store.ForceRelease(b.ctx, b.forceCommand(seen.Version))
	conflict := wantError[*lock.VersionConflictError](t, err)
	if *conflict != (lock.VersionConflictError{Tag: b.tag, Expected: seen.Version, Actual: next.Version}) {
		t.Fatalf("conflict is %+v", conflict)
	}
	b.sameLock(*b.read().Lock, next)
}

func forceNewest(t *testing.T, b *bench) {
	var forcings []lock.ForceReleaseCommand
	var answers []lock.Forced
	for range 5 {
		forcing := b.forceCommand(b.take(b.command()).Version)
		forced, err := b.store.ForceRelease(b.ctx, forcing)
		must(t, err)
		forcings, answers = append(forcings, forcing), append(answers, forced)
	}
	for range 3 { // events come between
		cmd := b.command()
		b.take(cmd)
		b.release(cmd.Token)
	}
	next := b.take(b.command())
	for i, forcing := range forcings {
		again, err := b.store.ForceRelease(b.ctx, forcing)
		if i == 0 {
			_ = wantError[*lock.VersionConflictError](t, err)
			continue
		}
		must(t, err)
		b.sameLock(again.Released, answers[i].Released)
		if !again.Replayed || again.Spool != answers[i].Spool {
			t.Fatalf("forced release %d is %+v, was %+v", i, again, answers[i])
		}
	}
	b.sameLock(*b.read().Lock, next)
}
