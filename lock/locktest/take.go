package locktest

import (
	"sync"
	"testing"
	"time"

	"spoollock/lock"
)

func takeAndRead(t *testing.T, b *bench) {
	cmd := b.command()
	taken := b.take(cmd)
	want := lock.Lock{
		Tag: b.tag, Owner: ana, Note: cmd.Note,
		Version: taken.Version, AcquiredAt: taken.AcquiredAt, ExpiresAt: taken.AcquiredAt.Add(cmd.TTL),
	}
	b.sameLock(taken, want)
	if taken.Version < 1 || taken.AcquiredAt.IsZero() {
		t.Fatalf("lock is %+v, want a version and a time", taken)
	}
	if taken.Remaining <= 0 || taken.Remaining > cmd.TTL {
		t.Fatalf("remaining is %v of %v", taken.Remaining, cmd.TTL)
	}
	spool := b.read()
	if spool.Lock == nil || spool.Version != taken.Version {
		t.Fatalf("spool is %+v, want it held at version %d", spool, taken.Version)
	}
	b.sameLock(*spool.Lock, taken)
}

func occupied(t *testing.T, b *bench) {
	taken := b.take(b.command())
	for _, worker := range []lock.Worker{ana, luis} {
		cmd := b.command()
		cmd.Owner, cmd.Token = worker, newToken(t, worker)
		_, _, err := b.store.Take(b.ctx, cmd)
		b.sameLock(wantError[*lock.OccupiedError](t, err).Lock, taken)
	}
	b.sameLock(*b.read().Lock, taken)
}

func replay(t *testing.T, b *bench) {
	cmd := b.command()
	taken := b.take(cmd)
	version := lock.Version(7)
	cmd.TTL, cmd.Note, cmd.Expected = 2*time.Hour, "another note", &version
	again, replayed, err := b.store.Take(b.ctx, cmd)
	must(t, err)
	if !replayed {
		t.Fatal("not answered as replayed")
	}
	b.sameLock(again, taken)
}

func atLimit(t *testing.T, b *bench) {
	cmd := b.command()
	taken := b.take(cmd)
	cmd.AtLimit = true
	again, replayed, err := b.store.Take(b.ctx, cmd)
	must(t, err)
	if !replayed {
		t.Fatal("not answered as replayed")
	}
	b.sameLock(again, taken)
	another := b.command()
	another.AtLimit = true
	_, _, err = b.store.Take(b.ctx, another)
	_ = wantError[*lock.OccupiedError](t, err)
	_, released := b.release(cmd.Token)
	_, _, err = b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndReleased)
	_, _, err = b.store.Take(b.ctx, another)
	if atLimit := wantError[*lock.AtLimitError](t, err); atLimit.Version != released.Version {
		t.Fatalf("the version is %d, want %d", atLimit.Version, released.Version)
	}
	if spool := b.read(); spool.Lock != nil {
		t.Fatalf("held all the same: %+v", spool)
	}
}

func atLimitOfAFreshSpool(t *testing.T, b *bench) {
	cmd := b.command()
	cmd.AtLimit = true
	for range 2 { // the refusal is not remembered
		_, _, err := b.store.Take(b.ctx, cmd)
		if atLimit := wantError[*lock.AtLimitError](t, err); atLimit.Version != 0 {
			t.Fatalf("the version is %d", atLimit.Version)
		}
	}
	if spool := b.read(); spool.Lock != nil || spool.Version != 0 {
		t.Fatalf("the spool is %+v", spool)
	}
}

func fresh(t *testing.T, b *bench) {
	cmd := b.command()
	take := func(want bool) {
		t.Helper()
		result := b.store.Store.Take(b.ctx, []lock.TakeCommand{cmd})[0]
		if result.Err != nil || result.Value.Fresh != want {
			t.Fatalf("%+v, %v", result.Value, result.Err)
		}
	}
	take(true)
	take(true) // replayed, and nothing else happened
	b.release(cmd.Token)
	cmd.Token = newToken(t, ana)
	take(false)
	take(false)
}

func spentReleased(t *testing.T, b *bench) {
	cmd := b.command()
	b.take(cmd)
	b.release(cmd.Token)
	_, _, err := b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndReleased)
	if b.read().Lock != nil {
		t.Fatal("a spent token took the spool")
	}
}

func spentLapsed(t *testing.T, b *bench) {
	_, token := b.takeBriefly()
	cmd := b.command()
	cmd.Token = token
	_, _, err := b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndExpired)
	if b.read().Lock != nil {
		t.Fatal("a spent token took the spool")
	}
}

func spentWhileHeld(_ *testing.T, b *bench) {
	first := b.command()
	b.take(first)
	b.release(first.Token)
	b.take(b.command())
	_, _, err := b.store.Take(b.ctx, first)
	b.wantEnded(err, lock.EndReleased)
}

func expectedVersion(t *testing.T, b *bench) {
	cmd := b.command()
	b.take(cmd)
	_, spool := b.release(cmd.Token)

	stale := spool.Version - 1
	next := b.command()
	next.Expected = &stale
	_, _, err := b.store.Take(b.ctx, next)
	conflict := wantError[*lock.VersionConflictError](t, err)
	if *conflict != (lock.VersionConflictError{Tag: b.tag, Expected: stale, Actual: spool.Version}) {
		t.Fatalf("conflict is %+v", conflict)
	}
	if got := b.read(); got != spool {
		t.Fatalf("spool is %+v, want %+v", got, spool)
	}
	next.Expected = &spool.Version
	taken := b.take(next)

	_, _, err = b.store.Take(b.ctx, lock.TakeCommand{
		Tag: b.tag, Owner: luis, TTL: time.Hour, Token: newToken(t, luis), Expected: &stale,
	})
	b.sameLock(wantError[*lock.OccupiedError](t, err).Lock, taken)
}

func expectedZero(t *testing.T, b *bench) {
	zero := lock.Version(0)
	cmd := b.command()
	cmd.Expected = &zero
	b.take(cmd)
	b.release(cmd.Token)
	cmd.Token = newToken(t, ana)
	_, _, err := b.store.Take(b.ctx, cmd)
	_ = wantError[*lock.VersionConflictError](t, err)
}

func lapseRaisesVersion(t *testing.T, b *bench) {
	taken, _ := b.takeBriefly()
	next := b.command()
	next.Expected = &taken.Version
	_, _, err := b.store.Take(b.ctx, next)
	conflict := wantError[*lock.VersionConflictError](t, err)
	if conflict.Actual <= taken.Version {
		t.Fatalf("version is %d after the lapse of a lock of version %d", conflict.Actual, taken.Version)
	}
}

func simultaneousTakes(t *testing.T, b *bench) {
	const takers = 100
	type answer struct {
		taken lock.Lock
		err   error
	}
	answers := make([]answer, takers)
	var done sync.WaitGroup
	for i := range takers {
		cmd := b.command()
		done.Go(func() {
			answers[i].taken, _, answers[i].err = b.store.Take(b.ctx, cmd)
		})
	}
	done.Wait()
	holder := *b.read().Lock
	winners := 0
	for _, answer := range answers {
		if answer.err == nil {
			winners++
			b.sameLock(answer.taken, holder)
			continue
		}
		b.sameLock(wantError[*lock.OccupiedError](t, answer.err).Lock, holder)
	}
	if winners != 1 {
		t.Fatalf("%d takers of %d won", winners, takers)
	}
}
