package repository_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is what [redistest.Open] gives a store.
const memory = 30 * 24 * time.Hour

// margin is what state and history may live longer than that.
const margin = 10000 * time.Second

func open(t testing.TB, url string) *repository.Redis {
	t.Helper()
	return redistest.Open(t, url, redistest.NewLog(t).Logger(), repository.Config{})
}

// stand is a store on a real Redis, a plain client next to it as another program
// would use one, and a spool.
type stand struct {
	t      testing.TB
	ctx    context.Context   //nolint:containedctx // it lives as long as the test
	server *redistest.Server // nil for the embedded one
	store  locktest.OneAtATime
	client *redis.Client
	tag    lock.Tag
}

func newStand(t testing.TB, options ...string) *stand {
	t.Helper()
	server := redistest.Start(t, options...)
	client := server.Client()
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newStandOn(t, locktest.OneAtATime{Store: open(t, server.URL)}, client)
	s.server = server
	return s
}

func newStandOn(t testing.TB, store locktest.OneAtATime, client *redis.Client) *stand {
	t.Helper()
	return &stand{t: t, ctx: testwait.Context(t), store: store, client: client, tag: newTag()}
}

func newTag() lock.Tag { return lock.Tag("MK-" + uuid.NewString()) }

func (s *stand) lockKey() string    { return "spool_lock:" + string(s.tag) }
func (s *stand) stateKey() string   { return "spool_state2:{" + s.lockKey() + "}" }
func (s *stand) endedKey() string   { return "spool_ended2:{" + s.lockKey() + "}" }
func (s *stand) barredKey() string  { return "spool_barred2:{" + s.lockKey() + "}" }
func (s *stand) historyKey() string { return "spool_history2:{" + s.lockKey() + "}" }

func (s *stand) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) id() lock.RequestID {
	s.t.Helper()
	id, err := lock.NewRequestID()
	s.must(err)
	return id
}

// sendScripts has Redis know the scripts.
func (s *stand) sendScripts() {
	s.t.Helper()
	tag := s.tag
	defer func() { s.tag = tag }()
	s.tag = newTag()
	cmd := s.command()
	s.take(cmd)
	_, err := s.extend(cmd.Token)
	s.must(err)
	resume := lock.ResumeCommand{Tag: s.tag, Worker: cmd.Owner.ID, Token: lock.NewToken(cmd.Owner.ID, s.id())}
	_, err = s.store.Resume(s.ctx, resume)
	s.must(err)
	s.read()
	_, err = s.store.Check(s.ctx, lock.CheckCommand{Tag: s.tag, Token: resume.Token})
	s.must(err)
	s.wantRelease(resume.Token, lock.OutcomeReleased)
}

func (s *stand) token(value string) lock.Token {
	s.t.Helper()
	token, err := lock.ParseToken(value)
	s.must(err)
	return token
}

// command is a take of an hour by MR(93).
func (s *stand) command() lock.TakeCommand {
	s.t.Helper()
	return lock.TakeCommand{
		Tag: s.tag, Owner: lock.Worker{ID: "93", Name: "MR(93)"}, Note: "weld 3",
		TTL: time.Hour, Token: lock.NewToken("93", s.id()),
	}
}

func (s *stand) take(cmd lock.TakeCommand) lock.Lock {
	s.t.Helper()
	taken, _, err := s.store.Take(s.ctx, cmd)
	s.must(err)
	return taken
}

func (s *stand) release(token lock.Token) (lock.ReleaseOutcome, lock.Spool) {
	s.t.Helper()
	outcome, spool, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: token, ID: s.id()})
	s.must(err)
	return outcome, spool
}

func (s *stand) wantRelease(token lock.Token, want lock.ReleaseOutcome) lock.Spool {
	s.t.Helper()
	outcome, spool := s.release(token)
	if outcome != want {
		s.t.Fatalf("release is %s, want %s", outcome, want)
	}
	return spool
}

func (s *stand) extend(token lock.Token) (lock.Lock, error) {
	s.t.Helper()
	return s.store.Extend(s.ctx, lock.ExtendCommand{
		Tag: s.tag, Token: token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id(),
	})
}

func (s *stand) read() lock.Spool {
	s.t.Helper()
	spool, err := s.store.Read(s.ctx, s.tag)
	s.must(err)
	return spool
}

// wantHeld fails unless the spool is held at a version above previous.
func (s *stand) wantHeld(previous lock.Version) lock.Lock {
	s.t.Helper()
	spool := s.read()
	if spool.Lock == nil || spool.Version != spool.Lock.Version || spool.Version <= previous {
		s.t.Fatalf("spool is %+v, want it held at a version above %d", spool, previous)
	}
	return *spool.Lock
}

// wantFree fails unless the spool is free at a version above previous.
func (s *stand) wantFree(previous lock.Version) lock.Version {
	s.t.Helper()
	spool := s.read()
	if spool.Lock != nil || spool.Version <= previous {
		s.t.Fatalf("spool is %+v, want it free at a version above %d", spool, previous)
	}
	return spool.Version
}
