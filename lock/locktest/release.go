package locktest

import (
	"testing"

	"spoollock/lock"
)

func release(t *testing.T, b *bench) {
	cmd := b.command()
	taken := b.take(cmd)
	outcome, spool := b.release(cmd.Token)
	b.wantOutcome(outcome, lock.OutcomeReleased)
	if spool.Lock != nil || spool.Version <= taken.Version {
		t.Fatalf("spool is %+v, want it free at a version above %d", spool, taken.Version)
	}
	if got := b.read(); got != spool {
		t.Fatalf("spool is %+v, want %+v", got, spool)
	}
}

func releaseAgain(t *testing.T, b *bench) {
	cmd := b.command()
	b.take(cmd)
	_, released := b.release(cmd.Token)
	outcome, spool := b.release(cmd.Token)
	b.wantOutcome(outcome, lock.OutcomeAlreadyReleased)
	if spool != released {
		t.Fatalf("spool is %+v, want %+v", spool, released)
	}
	next := b.take(b.command())
	outcome, spool = b.release(cmd.Token)
	b.wantOutcome(outcome, lock.OutcomeAlreadyReleased)
	b.sameLock(*spool.Lock, next)
}

func releaseRetried(t *testing.T, b *bench) {
	cmd := b.command()
	b.take(cmd)
	retried := lock.ReleaseCommand{Tag: b.tag, Token: cmd.Token, ID: newID(t)}
	var spools []lock.Spool
	for range 2 {
		outcome, spool, err := b.store.Release(b.ctx, retried)
		must(t, err)
		b.wantOutcome(outcome, lock.OutcomeReleased)
		spools = append(spools, spool)
	}
	if spools[0] != spools[1] {
		t.Fatalf("spool is %+v after the second attempt, %+v after the first", spools[1], spools[0])
	}
}

func releaseUnknown(t *testing.T, b *bench) {
	outcome, spool := b.release(newToken(t, ana))
	b.wantOutcome(outcome, lock.OutcomeNotHeld)
	if spool != (lock.Spool{Tag: b.tag}) {
		t.Fatalf("spool is %+v, want nothing remembered", spool)
	}
	cmd := b.command()
	taken := b.take(cmd)
	for _, token := range []lock.Token{
		newToken(t, ana),
		parseToken(t, cmd.Token.Reveal()[:len(cmd.Token.Reveal())-1]),
		parseToken(t, cmd.Token.Reveal()+"0"),
		parseToken(t, cmd.Token.Reveal()[len("93:"):]),
	} {
		outcome, spool = b.release(token)
		b.wantOutcome(outcome, lock.OutcomeNotOwner)
		b.sameLock(*spool.Lock, taken)
	}
}

func parseToken(t *testing.T, s string) lock.Token {
	t.Helper()
	token, err := lock.ParseToken(s)
	must(t, err)
	return token
}

func releaseLapsed(t *testing.T, b *bench) {
	taken, token := b.takeBriefly()
	outcome, spool := b.release(token)
	b.wantOutcome(outcome, lock.OutcomeExpired)
	if spool.Lock != nil || spool.Version <= taken.Version {
		t.Fatalf("spool is %+v, want it free at a version above %d", spool, taken.Version)
	}
}

func releaseOldToken(_ *testing.T, b *bench) {
	_, old := b.takeBriefly()
	next := b.take(b.command())
	outcome, spool := b.release(old)
	b.wantOutcome(outcome, lock.OutcomeExpired)
	b.sameLock(*spool.Lock, next)
	b.sameLock(*b.read().Lock, next)
}

func barred(t *testing.T, b *bench) {
	cmd := b.command()
	outcome, _, err := b.store.Release(b.ctx,
		lock.ReleaseCommand{Tag: b.tag, Token: cmd.Token, ID: newID(t), Bar: true})
	must(t, err)
	b.wantOutcome(outcome, lock.OutcomeNotHeld)
	_, _, err = b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndReleased)
	if b.read().Lock != nil {
		t.Fatal("a barred token took the spool")
	}
}

func barredWhileHeld(t *testing.T, b *bench) {
	taken := b.take(b.command())
	outcome, spool, err := b.store.Release(b.ctx,
		lock.ReleaseCommand{Tag: b.tag, Token: newToken(t, luis), ID: newID(t), Bar: true})
	must(t, err)
	b.wantOutcome(outcome, lock.OutcomeNotOwner)
	b.sameLock(*spool.Lock, taken)
	b.sameLock(*b.read().Lock, taken)
}

func endedTokens(_ *testing.T, b *bench) {
	var tokens []lock.Token
	for range 70 {
		cmd := b.command()
		b.take(cmd)
		b.release(cmd.Token)
		tokens = append(tokens, cmd.Token)
	}
	for i, token := range tokens {
		want := lock.OutcomeAlreadyReleased
		if i < 70-64 {
			want = lock.OutcomeNotHeld
		}
		outcome, _ := b.release(token)
		b.wantOutcome(outcome, want)
	}
}
