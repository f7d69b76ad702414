// Package locktest holds the conformance suite that every lock.Store must pass.
package locktest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/testwait"
)

// brief is a time to live that a test waits out.
const brief = 300 * time.Millisecond

// Run runs the suite on store, which must have a running clock. Each test uses
// spools of its own, so the store may hold others and be shared.
func Run(t *testing.T, store lock.Store) {
	tests := map[string]func(*testing.T, *bench){
		"a spool nobody took is free at version 0":                     unknownSpool,
		"a take answers the lock and a read shows it":                  takeAndRead,
		"a held spool refuses everybody and names its owner":           occupied,
		"a token taken twice is one lock":                              replay,
		"a worker at its limit gets a lock that it has, and no other":  atLimit,
		"a take at the limit of a fresh spool leaves no trace":         atLimitOfAFreshSpool,
		"the first take of a spool is of a fresh one":                  fresh,
		"a released token never takes again":                           spentReleased,
		"a lapsed token never takes again":                             spentLapsed,
		"a spent token is told so while somebody else holds":           spentWhileHeld,
		"an expected version is checked on a free spool":               expectedVersion,
		"expected version 0 is met by an unknown spool only":           expectedZero,
		"a lapse raises the version":                                   lapseRaisesVersion,
		"a release ends the lock of its token":                         release,
		"a release sent again is already released":                     releaseAgain,
		"a release tried again is one release":                         releaseRetried,
		"a release with an unknown token changes nothing":              releaseUnknown,
		"a release after a lapse says expired":                         releaseLapsed,
		"an old token does not release the next lock":                  releaseOldToken,
		"ended tokens are known after many others":                     olderEndedTokens,
		"a barred token never takes":                                   barred,
		"barring a token leaves somebody else's lock alone":            barredWhileHeld,
		"the newest 64 ended tokens are remembered":                    endedTokens,
		"the newest 256 client's requests are remembered on their own": clientsRequests,
		"the newest 128 barred tokens are remembered":                  barredTokens,
		"a release's note is its event's":                              releaseNote,
		"an extension moves the expiry and nothing else":               extend,
		"of clients' ids the newest 16 extensions count once":          extendNewestOfClients,
		"a retried extension that is forgotten is not applied again":   extendForgotten,
		"a lock is extended a thousand times":                          extendOften,
		"an extension applied twice counts once":                       extendAgain,
		"an extension applied twice answers what it answered first":    extendFirstAnswer,
		"an extension of a free spool says how the lock ended":         extendFree,
		"an extension with another token is told who holds":            extendOccupied,
		"an extension beyond the maximum is refused with what is left": extendTooLong,
		"an extension's id of an earlier lock counts anew":             extendNextLock,
		"versions strictly grow":                                       versionsGrow,
		"of simultaneous takes one succeeds":                           simultaneousTakes,
		"a lock lapses at its expiry":                                  lapse,
		"a command whose context is done fails as unavailable":         contextDone,
		"the history has each change once, newest first":               history,
		"extensions that follow each other are one event":              historyFoldsExtensions,
		"the history keeps the newest 100 events":                      historyIsBounded,
		"a batch is answered in order, each command on its own":        batch,
		"a resumed lock has another token and version, and the rest":   resume,
		"a resume tried again is one resume":                           resumeAgain,
		"a resume of somebody else's lock is told who holds":           resumeOccupied,
		"a resume of a free spool says so":                             resumeFree,
		"a resume sent late leaves the next holder alone":              resumeLate,
		"a forced release ends the lock that was seen":                 force,
		"a forced release tried again answers what it answered first":  forceAgain,
		"a forced release spares the next holder":                      forceOther,
		"the newest 4 forced releases are answered again":              forceNewest,
		"a check says whether the token holds":                         check,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &bench{t: t, ctx: testwait.Context(t), store: OneAtATime{store}, tag: newTag(t)})
		})
	}
}

// OneAtATime hands a store one command at a time.
type OneAtATime struct{ lock.Store }

// Take takes one spool.
func (o OneAtATime) Take(ctx context.Context, cmd lock.TakeCommand) (taken lock.Lock, replayed bool, err error) {
	result := o.Store.Take(ctx, []lock.TakeCommand{cmd})[0]
	return result.Value.Lock, result.Value.Replayed, result.Err
}

// Release releases one spool.
func (o OneAtATime) Release(ctx context.Context, cmd lock.ReleaseCommand) (lock.ReleaseOutcome, lock.Spool, error) {
	result := o.Store.Release(ctx, []lock.ReleaseCommand{cmd})[0]
	return result.Value.Outcome, result.Value.Spool, result.Err
}

// Extend extends one lock.
func (o OneAtATime) Extend(ctx context.Context, cmd lock.ExtendCommand) (lock.Lock, error) {
	result := o.Store.Extend(ctx, []lock.ExtendCommand{cmd})[0]
	return result.Value, result.Err
}

// Read reads one spool.
func (o OneAtATime) Read(ctx context.Context, tag lock.Tag) (lock.Spool, error) {
	result := o.Store.Read(ctx, []lock.Tag{tag})[0]
	return result.Value, result.Err
}

// bench is what each test works with.
type bench struct {
	t     *testing.T
	ctx   context.Context //nolint:containedctx // it lives as long as the test
	store OneAtATime
	tag   lock.Tag
}

var (
	ana  = lock.Worker{ID: "93", Name: "MR(93)"}
	luis = lock.Worker{ID: "luis.b", Name: "Luis Bañuelos"}
)

func newTag(t *testing.T) lock.Tag {
	t.Helper()
	tag, err := lock.TagParser{}.Parse("MK-" + uuid.NewString())
	must(t, err)
	return tag
}

func newID(t *testing.T) lock.RequestID {
	t.Helper()
	id, err := lock.NewRequestID()
	must(t, err)
	return id
}

func newToken(t *testing.T, worker lock.Worker) lock.Token {
	t.Helper()
	return lock.NewToken(worker.ID, newID(t))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command is a take of an hour by ana, unless changed.
func (b *bench) command() lock.TakeCommand {
	return lock.TakeCommand{Tag: b.tag, Owner: ana, Note: "weld 3", TTL: time.Hour, Token: newToken(b.t, ana)}
}

func (b *bench) take(cmd lock.TakeCommand) lock.Lock {
	b.t.Helper()
	taken, replayed, err := b.store.Take(b.ctx, cmd)
	must(b.t, err)
	if replayed {
		b.t.Fatal("a first take was answered as replayed")
	}
	return taken
}

func (b *bench) release(token lock.Token) (lock.ReleaseOutcome, lock.Spool) {
	b.t.Helper()
	outcome, spool, err := b.store.Release(b.ctx, lock.ReleaseCommand{Tag: b.tag, Token: token, ID: newID(b.t)})
	must(b.t, err)
	return outcome, spool
}

func (b *bench) read() lock.Spool {
	b.t.Helper()
	spool, err := b.store.Read(b.ctx, b.tag)
	must(b.t, err)
	return spool
}

// takeBriefly takes the spool and waits until the lock has expired.
func (b *bench) takeBriefly() (lock.Lock, lock.Token) {
	b.t.Helper()
	cmd := b.command()
	cmd.TTL = brief
	taken := b.take(cmd)
	testwait.Until(b.t, "the lock expires", func() bool { return b.read().Lock == nil })
	return taken, cmd.Token
}

func (b *bench) sameLock(got, want lock.Lock) {
	b.t.Helper()
	got.Remaining, want.Remaining = 0, 0
	if got != want {
		b.t.Fatalf("lock is\n%+v, want\n%+v", got, want)
	}
}

func (b *bench) wantOutcome(got, want lock.ReleaseOutcome) {
	b.t.Helper()
	if got != want {
		b.t.Fatalf("outcome is %s, want %s", got, want)
	}
}

// wantError returns err as an E, or fails the test.
func wantError[E error](t *testing.T, err error) E {
	t.Helper()
	var want E
	if !errors.As(err, &want) {
		t.Fatalf("error is %v (%T), want a %T", err, err, want)
	}
	return want
}

func (b *bench) wantEnded(err error, cause lock.End) {
	b.t.Helper()
	ended := wantError[*lock.ExpiredError](b.t, err)
	if ended.Tag != b.tag || ended.Cause != cause {
		b.t.Fatalf("error is %+v, want cause %s of %s", ended, cause, b.tag)
	}
}

func unknownSpool(t *testing.T, b *bench) {
	if got, want := b.read(), (lock.Spool{Tag: b.tag}); got != want {
		t.Fatalf("spool is %+v, want %+v", got, want)
	}
}

func versionsGrow(t *testing.T, b *bench) {
	previous := lock.Version(0)
	grown := func(version lock.Version) {
		t.Helper()
		if version <= previous {
			t.Fatalf("version %d follows %d", version, previous)
		}
		previous = version
	}
	for range 50 {
		cmd := b.command()
		grown(b.take(cmd).Version)
		extended, err := b.store.Extend(b.ctx, b.extendCommand(cmd.Token, time.Minute))
		must(t, err)
		if extended.Version != previous {
			t.Fatalf("an extension moved the version from %d to %d", previous, extended.Version)
		}
		_, spool := b.release(cmd.Token)
		grown(spool.Version)
	}
}

func lapse(t *testing.T, b *bench) {
	_, token := b.takeBriefly()
	if spool := b.read(); spool.Lock != nil {
		t.Fatalf("spool is %+v after its lock lapsed", spool)
	}
	_, err := b.store.Extend(b.ctx, b.extendCommand(token, time.Minute))
	b.wantEnded(err, lock.EndExpired)
	b.take(b.command())
}

func contextDone(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	cmd := b.command()
	_, _, err := b.store.Take(ctx, cmd)
	_ = wantError[*lock.UnavailableError](t, err)
	if b.read().Lock != nil {
		t.Fatal("the spool was taken")
	}
}
