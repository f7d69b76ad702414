package locktest

import (
	"testing"
	"time"

	"spoollock/lock"
)

func (b *bench) resumeCommand(worker lock.Worker) lock.ResumeCommand {
	return lock.ResumeCommand{Tag: b.tag, Worker: worker.ID, Token: newToken(b.t, worker)}
}

func resume(t *testing.T, b *bench) {
	cmd := b.command()
	want := b.take(cmd)
	resumption := b.resumeCommand(ana)
	resumed, err := b.store.Resume(b.ctx, resumption)
	must(t, err)
	if resumed.Lock.Version <= want.Version || resumed.Replayed || resumed.Token.Reveal() != resumption.Token.Reveal() {
		t.Fatalf("resumed %+v, from version %d", resumed, want.Version)
	}
	taken := want
	want.Version = resumed.Lock.Version
	b.sameLock(resumed.Lock, want)
	b.sameLock(*b.read().Lock, want)

	_, err = b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
	b.wantEnded(err, lock.EndSuperseded)
	outcome, spool := b.release(cmd.Token)
	b.wantOutcome(outcome, lock.OutcomeSuperseded)
	b.sameLock(*spool.Lock, want)
	_, _, err = b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndSuperseded)
	extended, err := b.store.Extend(b.ctx, b.extendCommand(resumed.Token, time.Minute))
	must(t, err)
	outcome, spool = b.release(resumed.Token)
	b.wantOutcome(outcome, lock.OutcomeReleased)
	b.wantHistory(
		lock.Event{Type: lock.EventReleased, Version: spool.Version, Owner: ana, Note: cmd.Note},
		lock.Event{Type: lock.EventExtended, Version: want.Version, Owner: ana, Note: cmd.Note, ExpiresAt: extended.ExpiresAt},
		lock.Event{Type: lock.EventResumed, Version: want.Version, Owner: ana, Note: cmd.Note, ExpiresAt: want.ExpiresAt},
		lock.Event{Type: lock.EventTaken, Version: taken.Version, Owner: ana, Note: cmd.Note, ExpiresAt: taken.ExpiresAt},
	)
	b.take(b.command()) // by another token of the same worker
	_, err = b.store.Extend(b.ctx, b.extendCommand(resumed.Token, time.Minute))
	_ = wantError[*lock.OccupiedError](t, err)
}

func resumeAgain(t *testing.T, b *bench) {
	b.take(b.command())
	resumption := b.resumeCommand(ana)
	first, err := b.store.Resume(b.ctx, resumption)
	must(t, err)
	again, err := b.store.Resume(b.ctx, resumption)
	must(t, err)
	b.sameLock(again.Lock, first.Lock)
	if !again.Replayed || again.Token.Reveal() != first.Token.Reveal() {
		t.Fatal("not the same token, as replayed")
	}
	_, err = b.store.Resume(b.ctx, b.resumeCommand(ana))
	must(t, err)
	_, err = b.store.Resume(b.ctx, resumption)
	b.wantEnded(err, lock.EndSuperseded)
}

func resumeOccupied(t *testing.T, b *bench) {
	taken := b.take(b.command())
	for _, worker := range []lock.Worker{luis, {ID: "9"}, {ID: "93.1"}, {ID: "9."}, {ID: "93."}} {
		_, err := b.store.Resume(b.ctx, b.resumeCommand(worker))
		b.sameLock(wantError[*lock.OccupiedError](t, err).Lock, taken)
	}
	b.sameLock(*b.read().Lock, taken)
}

func resumeFree(t *testing.T, b *bench) {
	_, err := b.store.Resume(b.ctx, b.resumeCommand(ana))
	b.wantEnded(err, lock.EndNotHeld)
	b.takeBriefly()
	_, err = b.store.Resume(b.ctx, b.resumeCommand(ana))
	b.wantEnded(err, lock.EndNotHeld)

	b.take(b.command())
	resumption := b.resumeCommand(ana)
	resumed, err := b.store.Resume(b.ctx, resumption)
	must(t, err)
	b.release(resumed.Token)
	_, err = b.store.Resume(b.ctx, resumption)
	b.wantEnded(err, lock.EndReleased)
}

func resumeLate(t *testing.T, b *bench) {
	b.take(b.command())
	resumption := b.resumeCommand(ana)
	resumed, err := b.store.Resume(b.ctx, resumption)
	must(t, err)
	b.release(resumed.Token)
	next := b.take(b.command())
	_, err = b.store.Resume(b.ctx, resumption)
	b.wantEnded(err, lock.EndReleased)
	b.sameLock(*b.read().Lock, next)
}
