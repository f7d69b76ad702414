package locktest

import (
	"testing"
	"time"

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

// olderEndedTokens sees that each operation knows of the tokens that ended before the newest.
func olderEndedTokens(t *testing.T, b *bench) {
	spend := func(n int, ofClient bool) (spent lock.TakeCommand) {
		t.Helper()
		for range n {
			spent = b.command()
			spent.OfClient = ofClient
			b.take(spent)
			b.release(spent.Token)
		}
		return spent
	}
	old := []lock.TakeCommand{spend(1, false), spend(1, true)}
	spend(12, false)
	spend(12, true)
	for _, held := range []bool{false, true} {
		if held {
			b.take(b.command())
		}
		for _, cmd := range old {
			_, _, err := b.store.Take(b.ctx, cmd)
			b.wantEnded(err, lock.EndReleased)
			_, err = b.store.Resume(b.ctx, lock.ResumeCommand{Tag: b.tag, Worker: ana.ID, Token: cmd.Token, OfClient: cmd.OfClient})
			b.wantEnded(err, lock.EndReleased)
			outcome, _ := b.release(cmd.Token)
			b.wantOutcome(outcome, lock.OutcomeAlreadyReleased)
			if !held {
				_, err = b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
				b.wantEnded(err, lock.EndReleased)
			}
		}
	}
}

func endedTokens(_ *testing.T, b *bench) {
	var tokens []lock.Token
	for range 80 {
		cmd := b.command()
		b.take(cmd)
		b.release(cmd.Token)
		tokens = append(tokens, cmd.Token)
	}
	for i, token := range tokens {
		outcome, _ := b.release(token)
		switch {
		case i < 80-64-8:
			b.wantOutcome(outcome, lock.OutcomeNotHeld)
		case i >= 80-64:
			b.wantOutcome(outcome, lock.OutcomeAlreadyReleased)
		}
	}
}

// clientsRequests sees that tokens of clients' request ids and those that the service made
// push only their own kind out.
func clientsRequests(t *testing.T, b *bench) {
	tokens := map[bool][]lock.Token{}
	spend := func(n int, ofClient bool) {
		t.Helper()
		for range n {
			cmd := b.command()
			cmd.OfClient = ofClient
			b.take(cmd)
			b.release(cmd.Token)
			tokens[ofClient] = append(tokens[ofClient], cmd.Token)
		}
	}
	wantRemembered := func(ofClient bool, newest int) {
		t.Helper()
		for i, token := range tokens[ofClient] {
			outcome, _ := b.release(token)
			remembered, newer := outcome == lock.OutcomeAlreadyReleased, len(tokens[ofClient])-1-i
			if newer < newest && !remembered || newer >= newest+8 && remembered {
				t.Fatalf("the release of token %d of %d, of a client %t, is %s", i, len(tokens[ofClient]), ofClient, outcome)
			}
		}
	}
	spend(80, false)
	spend(272, true)
	wantRemembered(false, 64)
	wantRemembered(true, 256)
	spend(80, false)
	wantRemembered(true, 256)
	cmd := b.command()
	cmd.Token, cmd.OfClient = tokens[true][272-256], true
	_, _, err := b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndReleased)

	// One that is resumed is the token of that request from then on.
	b.take(b.command())
	resumption := b.resumeCommand(ana)
	resumption.OfClient = true
	_, err = b.store.Resume(b.ctx, resumption)
	must(t, err)
	b.release(resumption.Token)
	spend(70, false)
	outcome, _ := b.release(resumption.Token)
	b.wantOutcome(outcome, lock.OutcomeAlreadyReleased)
}

func barredTokens(t *testing.T, b *bench) {
	var cmds []lock.TakeCommand
	for range 130 {
		cmd := b.command()
		outcome, _, err := b.store.Release(b.ctx, lock.ReleaseCommand{Tag: b.tag, Token: cmd.Token, ID: newID(t), Bar: true})
		must(t, err)
		b.wantOutcome(outcome, lock.OutcomeNotHeld)
		cmds = append(cmds, cmd)
	}
	for i, cmd := range cmds {
		if i < 130-128 {
			b.take(cmd)
			b.release(cmd.Token)
			continue
		}
		_, _, err := b.store.Take(b.ctx, cmd)
		b.wantEnded(err, lock.EndReleased)
	}
}

func releaseNote(t *testing.T, b *bench) {
	cmd := b.command()
	taken := b.take(cmd)
	const note = "welded \"3\" of 5\n\ttomorrow ñ 🔧 \u2028 the rest \\ <&>"
	releasing := lock.ReleaseCommand{Tag: b.tag, Token: cmd.Token, Note: note, ID: newID(t)}
	outcome, spool, err := b.store.Release(b.ctx, releasing)
	must(t, err)
	b.wantOutcome(outcome, lock.OutcomeReleased)
	outcome, again, err := b.store.Release(b.ctx, releasing)
	must(t, err)
	b.wantOutcome(outcome, lock.OutcomeReleased)
	if again != spool {
		t.Fatalf("spool is %+v, was %+v", again, spool)
	}
	b.wantHistory(
		lock.Event{Type: lock.EventReleased, Version: spool.Version, Owner: ana, Note: note},
		lock.Event{Type: lock.EventTaken, Version: taken.Version, Owner: ana, Note: cmd.Note, ExpiresAt: taken.ExpiresAt},
	)
	cmd = b.command()
	b.take(cmd)
	releasing.Token = cmd.Token
	releasing.Note, releasing.ID = "", newID(t)
	_, _, err = b.store.Release(b.ctx, releasing)
	must(t, err)
	events, err := b.store.History(b.ctx, lock.HistoryCommand{Tag: b.tag, Newest: 1})
	must(t, err)
	if events[0].Type != lock.EventReleased || events[0].Note != cmd.Note {
		t.Fatalf("a release without a note is %+v", events[0])
	}
}
