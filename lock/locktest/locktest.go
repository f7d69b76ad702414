// Package locktest holds the conformance suite that every lock.Store must pass.
package locktest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
)

// patience is a guard against hanging, never a measurement.
const patience = 20 * time.Second

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
		"a barred token never takes":                                   barred,
		"barring a token leaves somebody else's lock alone":            barredWhileHeld,
		"the newest 64 ended tokens are remembered":                    endedTokens,
		"an extension moves the expiry and nothing else":               extend,
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
		"a check says whether the token holds":                         check,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			t.Cleanup(cancel)
			test(t, &bench{t: t, ctx: ctx, store: OneAtATime{store}, tag: newTag(t)})
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

func (b *bench) extendCommand(token lock.Token, by time.Duration) lock.ExtendCommand {
	return lock.ExtendCommand{Tag: b.tag, Token: token, By: by, MaxTTL: 12 * time.Hour, ID: newID(b.t)}
}

func (b *bench) read() lock.Spool {
	b.t.Helper()
	spool, err := b.store.Read(b.ctx, b.tag)
	must(b.t, err)
	return spool
}

// takeBriefly takes the spool and waits until the lock has lapsed.
func (b *bench) takeBriefly() (lock.Lock, lock.Token) {
	b.t.Helper()
	cmd := b.command()
	cmd.TTL = brief
	taken := b.take(cmd)
	for b.read().Lock != nil {
		select {
		case <-b.ctx.Done():
			b.t.Fatal("the lock did not lapse")
		case <-time.After(brief / 10):
		}
	}
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
	b.release(cmd.Token)
	_, _, err = b.store.Take(b.ctx, cmd)
	b.wantEnded(err, lock.EndReleased)
	if _, _, err = b.store.Take(b.ctx, another); !errors.Is(err, lock.ErrAtLimit) {
		t.Fatalf("error is %v", err)
	}
	if spool := b.read(); spool.Lock != nil {
		t.Fatalf("held all the same: %+v", spool)
	}
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

// wantHistory fails unless the spool's history is want, newest first; what want
// leaves zero of version and time is not compared.
func (b *bench) wantHistory(want ...lock.Event) {
	b.t.Helper()
	got, err := b.store.History(b.ctx, b.tag)
	must(b.t, err)
	if len(got) != len(want) {
		b.t.Fatalf("history is %+v, want %+v", got, want)
	}
	for i, event := range got {
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
	events, err := b.store.History(b.ctx, b.tag)
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

func batch(t *testing.T, b *bench) {
	var takes []lock.TakeCommand
	for range 50 {
		cmd := b.command()
		cmd.Tag = newTag(t)
		takes = append(takes, cmd)
	}
	held := takes[7]
	held.Token = newToken(t, luis)
	b.take(held)
	for i, result := range b.store.Store.Take(b.ctx, takes) {
		switch {
		case i == 7:
			if wantError[*lock.OccupiedError](t, result.Err).Lock.Tag != held.Tag {
				t.Fatalf("result %d is %+v", i, result)
			}
		case result.Err != nil || result.Value.Lock.Tag != takes[i].Tag || result.Value.Token.Reveal() != takes[i].Token.Reveal():
			t.Fatalf("result %d is %+v", i, result)
		}
	}
	var releases []lock.ReleaseCommand
	var tags []lock.Tag
	for _, cmd := range takes {
		releases = append(releases, lock.ReleaseCommand{Tag: cmd.Tag, Token: cmd.Token, ID: newID(t)})
		tags = append(tags, cmd.Tag)
	}
	for i, result := range b.store.Store.Release(b.ctx, releases) {
		want := lock.OutcomeReleased
		if i == 7 {
			want = lock.OutcomeNotOwner
		}
		must(t, result.Err)
		b.wantOutcome(result.Value.Outcome, want)
	}
	for i, result := range b.store.Store.Read(b.ctx, tags) {
		must(t, result.Err)
		if result.Value.Tag != tags[i] || (result.Value.Lock != nil) != (i == 7) {
			t.Fatalf("result %d is %+v", i, result)
		}
	}
}

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

func check(t *testing.T, b *bench) {
	cmd := b.command()
	ask := func(token lock.Token) lock.Checked {
		t.Helper()
		checked, err := b.store.Check(b.ctx, lock.CheckCommand{Tag: b.tag, Token: token})
		must(t, err)
		return checked
	}
	if checked := ask(cmd.Token); checked.Valid || checked.Spool != (lock.Spool{Tag: b.tag}) {
		t.Fatalf("checked %+v before the take", checked)
	}
	taken := b.take(cmd)
	checked := ask(cmd.Token)
	if !checked.Valid {
		t.Fatal("the token that holds is not valid")
	}
	b.sameLock(*checked.Spool.Lock, taken)
	for _, token := range []lock.Token{newToken(t, ana), parseToken(t, cmd.Token.Reveal()+"0"), parseToken(t, cmd.Token.Reveal()[3:])} {
		if ask(token).Valid {
			t.Fatal("another token is valid")
		}
	}
	b.release(cmd.Token)
	if ask(cmd.Token).Valid {
		t.Fatal("a released token is valid")
	}
}
