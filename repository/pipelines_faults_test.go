package repository_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// Whatever goes wrong with pipelines that many takes share, a take that was answered is there,
// and a take that is said not to be applied is not there, and does not come into force later.
func TestOutcomesOfSharedPipelines(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(s *stand, proxy *redistest.Proxy) (mend func()){
		"Redis is stopped": func(s *stand, _ *redistest.Proxy) func() {
			s.server.Pause()
			return s.server.Resume
		},
		"no answer comes": func(_ *stand, proxy *redistest.Proxy) func() {
			mended := make(chan struct{})
			proxy.DropReplies(func([]byte) bool {
				<-mended
				return true
			})
			return func() {
				close(mended)
				proxy.DropReplies(nil)
			}
		},
		"connections break": func(_ *stand, proxy *redistest.Proxy) func() {
			var cut sync.Once
			proxy.DropReplies(func(request []byte) bool {
				takes := bytes.Contains(request, []byte("evalsha"))
				if takes { // no one is told how they end
					go cut.Do(proxy.Cut)
				}
				return takes
			})
			return func() {
				proxy.DropReplies(nil)
				proxy.Mend()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.sendScripts()
			proxy := redistest.StartProxy(t, s.server.Addr, nil)
			takes := takeAllTheTime(s, redistest.Open(t, proxy.URL, redistest.NewLog(t).Logger(), repository.Config{
				Timeout: time.Second, Attempts: 2,
			}))
			takes.await(t, &takes.taken, 100)
			mend := breaks(s, proxy)
			takes.await(t, &takes.unknown, 1)
			takes.await(t, &takes.notApplied, 100)
			mend()
			takes.await(t, &takes.taken, takes.taken.Load()+100)
			takes.stop()
			takes.check(s)
		})
	}
}

// What the replicas do not confirm is not known to be there, of all takes in a pipeline.
func TestReplicasOfSharedPipelines(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	_, port, _ := strings.Cut(s.server.Addr, ":")
	replica := redistest.Start(t, "--replicaof", "127.0.0.1", port)
	takes := takeAllTheTime(s, redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), repository.Config{
		Timeout: time.Second, Attempts: 2, Replicas: 1,
	}))
	takes.await(t, &takes.taken, 100)
	replica.Pause()
	takes.await(t, &takes.unknown, takes.unknown.Load()+100)
	confirmed := takes.taken.Load()
	takes.await(t, &takes.unknown, takes.unknown.Load()+100)
	if n := takes.taken.Load(); n != confirmed {
		t.Errorf("%d takes are confirmed while the replica is stopped", n-confirmed)
	}
	replica.Resume()
	takes.await(t, &takes.taken, confirmed+100)
	takes.stop()
	takes.check(s)
}

// takes are of a spool each.
type takes struct {
	stop                       func()
	taken, notApplied, unknown atomic.Int64

	mu       sync.Mutex
	outcomes map[lock.Tag]takeOutcome
}

type takeOutcome struct {
	token lock.Token
	err   error
}

func takeAllTheTime(s *stand, store lock.Store) *takes {
	ctx, cancel := context.WithCancel(s.ctx)
	all := &takes{outcomes: map[lock.Tag]takeOutcome{}}
	var takers sync.WaitGroup
	all.stop = func() {
		cancel()
		takers.Wait()
	}
	s.t.Cleanup(all.stop)
	for range 32 {
		takers.Go(func() {
			for ctx.Err() == nil {
				cmd := s.command()
				cmd.Tag = newTag()
				taking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
				_, _, err := locktest.OneAtATime{Store: store}.Take(taking, cmd)
				cancel()
				all.add(s, cmd, err)
			}
		})
	}
	return all
}

func (all *takes) add(s *stand, cmd lock.TakeCommand, err error) {
	var unavailable *lock.UnavailableError
	switch {
	case err == nil:
		all.taken.Add(1)
	case !errors.As(err, &unavailable):
		s.t.Errorf("a take is answered %v", err)
	case unavailable.Outcome == lock.NotApplied:
		all.notApplied.Add(1)
	default:
		all.unknown.Add(1)
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	all.outcomes[cmd.Tag] = takeOutcome{cmd.Token, err}
}

func (all *takes) await(t *testing.T, n *atomic.Int64, least int64) {
	t.Helper()
	if !testwait.Poll(func() bool { return n.Load() >= least }) {
		t.Fatalf("%d are taken, %d are not applied, %d are unknown", all.taken.Load(), all.notApplied.Load(), all.unknown.Load())
	}
}

// check compares what was said with what Redis has.
func (all *takes) check(s *stand) {
	s.t.Helper()
	for tag, said := range all.outcomes {
		s.tag = tag
		held := s.client.Get(s.ctx, s.lockKey()).Val()
		var unavailable *lock.UnavailableError
		switch notApplied := errors.As(said.err, &unavailable) && unavailable.Outcome == lock.NotApplied; {
		case said.err == nil && held != said.token.Reveal():
			s.t.Errorf("a take was answered, and the lock is %q", held)
		case notApplied && held != "":
			s.t.Errorf("a take is there of which it was said: %v", said.err)
		}
	}
}
