package repository_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
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

// paused is a stand on a Redis that runs no script until resume is called, with the store's
// pipelines all in flight, so that what else is asked of it waits for the next ones.
type paused struct {
	*stand
	all     *repository.Redis
	waiting sync.WaitGroup
	trips   int64 // round trips until then, with those in flight
}

func newPaused(t *testing.T) *paused {
	t.Helper()
	s := newStand(t)
	s.sendScripts()
	return s.pause(open(t, s.server.URL), s.tag)
}

// pause has the store ask for the spool with all its pipelines.
func (s *stand) pause(store *repository.Redis, tag lock.Tag) *paused {
	s.t.Helper()
	p := &paused{stand: s, all: store}
	s.pauseScripts()
	for n := 1; n <= 2; n++ {
		p.waiting.Go(p.reading(s.ctx, tag))
		testwait.Until(s.t, "a pipeline is in flight", func() bool { return s.blocked() == n })
	}
	p.trips = store.Stats().RoundTrips + 2
	return p
}

// pauseScripts has Redis run no script until resumeScripts is called.
func (s *stand) pauseScripts() {
	s.t.Helper()
	s.must(s.client.Do(s.ctx, "CLIENT", "PAUSE", testwait.Patience.Milliseconds(), "WRITE").Err())
}

// blocked is how many pipelines Redis holds up.
func (s *stand) blocked() int {
	s.t.Helper()
	n, err := strconv.Atoi(s.client.InfoMap(s.ctx, "clients").Val()["Clients"]["blocked_clients"])
	s.must(err)
	return n
}

func (s *stand) resumeScripts() {
	s.t.Helper()
	s.must(s.client.Do(s.ctx, "CLIENT", "UNPAUSE").Err())
}

// start has the operations wait, which have so many commands.
func (p *paused) start(commands int, operations ...func()) {
	p.t.Helper()
	commands += p.all.Waiting()
	for _, operation := range operations {
		p.waiting.Go(operation)
	}
	testwait.Until(p.t, "the commands wait", func() bool { return p.all.Waiting() == commands })
}

// resume returns when all operations have been answered, with how many pipelines it took.
func (p *paused) resume() (pipelines int64) {
	p.t.Helper()
	p.resumeScripts()
	p.waiting.Wait()
	return p.all.Stats().RoundTrips - p.trips
}

func (p *paused) reading(ctx context.Context, tags ...lock.Tag) func() {
	return func() {
		for _, result := range p.all.Read(ctx, tags) {
			p.must(result.Err)
		}
	}
}

// What is under way at the same time shares pipelines.
func TestPipelinesAreShared(t *testing.T) {
	t.Parallel()
	p := newPaused(t)
	for range repository.MaxPipeline {
		p.start(1, p.reading(p.ctx, newTag()))
	}
	if n := p.all.PoolInUse(); n != 2 {
		t.Errorf("%d pipelines are in flight", n)
	}
	if n := p.resume(); n != 1 {
		t.Errorf("%d reads took %d pipelines", repository.MaxPipeline, n)
	}
}

func TestLongPipelinesAreSplit(t *testing.T) {
	t.Parallel()
	p := newPaused(t)
	var tags []lock.Tag
	for range repository.MaxPipeline + 1 {
		tags = append(tags, newTag())
	}
	p.start(len(tags), p.reading(p.ctx, tags...))
	if n := p.resume(); n != 2 {
		t.Errorf("%d reads took %d pipelines", len(tags), n)
	}
}

// In a shared pipeline each command is answered by itself, and also asked again by itself if
// Redis does not know its script.
func TestOneBadCommandOfAPipeline(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	store, bad := open(t, s.server.URL), newTag()
	s.must(s.client.HSet(s.ctx, "spool_lock:"+string(bad), "a", "b").Err())
	s.must(s.client.ScriptFlush(s.ctx).Err())
	s.must(s.client.ScriptLoad(s.ctx, repository.Scripts()["read"]).Err())
	p := s.pause(store, s.tag)
	var taken, mixed []lock.Result[lock.Taken]
	p.start(7,
		func() {
			err := p.all.Read(p.ctx, []lock.Tag{bad})[0].Err
			if err == nil || lock.IsUnavailable(err) || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Errorf("the bad one is answered %v", err)
			}
		},
		p.reading(p.ctx, newTag(), newTag()),
		func() { taken = p.all.Take(p.ctx, []lock.TakeCommand{p.command()}) },
		func() {
			cmds := []lock.TakeCommand{p.command(), p.command()}
			cmds[0].Tag, cmds[1].Tag = bad, newTag()
			mixed = p.all.Take(p.ctx, cmds)
		},
		p.reading(p.ctx, p.tag),
	)
	// One of reads, one of takes whose script is not known, and one or two with its source.
	if n := p.resume(); n > 4 {
		t.Errorf("it took %d pipelines", n)
	}
	p.must(taken[0].Err)
	p.must(mixed[1].Err)
	if err := mixed[0].Err; err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("the bad take is answered %v", err)
	}
}

// A caller that has gone before its command waits has nothing done in its name, however busy
// the machine is.
func TestCallerGoneBefore(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	store := open(t, s.server.URL)
	gone, cancel := context.WithCancel(s.ctx)
	cancel()
	for range 2000 {
		s.wantUnavailable(store.Take(gone, []lock.TakeCommand{s.command()})[0].Err, lock.NotApplied)
	}
	s.wantFree(-1)
	if version := s.read().Version; version != 0 {
		t.Errorf("a take that was not applied has made the version %d", version)
	}
}

// A caller that goes while its command waits is answered at once, and truthfully; what it
// has left behind is in no one's way.
func TestCallerGoneWhileItsCommandWaits(t *testing.T) {
	t.Parallel()
	p := newPaused(t)
	for name, timeout := range map[string]time.Duration{"cancelled": testwait.Patience, "too late": 500 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(p.ctx, timeout)
		defer cancel()
		cmd := p.command()
		answered := make(chan error, 1)
		p.start(1, func() { answered <- p.all.Take(ctx, []lock.TakeCommand{cmd})[0].Err })
		if name == "cancelled" {
			cancel()
		}
		p.wantUnavailable(<-answered, lock.NotApplied)
		if n := p.all.Waiting(); n != 0 {
			t.Errorf("%s: %d commands wait", name, n)
		}
	}
	p.start(1, p.reading(p.ctx, newTag()))
	p.resume()
	p.wantFree(-1)
	if version := p.read().Version; version != 0 {
		t.Errorf("a take that was not applied has made the version %d", version)
	}
}

// What Redis may have run is unknown to a caller who gets no answer in time. A caller who goes
// earlier is still told, for the log has what was done in its name.
func TestCallerGoneWhileItsCommandIsSent(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	store := open(t, s.server.URL)
	s.must(store.Read(s.ctx, []lock.Tag{s.tag})[0].Err) // so that there is a connection
	take := func(ctx context.Context) <-chan error {
		cmd := s.command()
		cmd.Tag = newTag()
		answered := make(chan error, 1)
		go func() { answered <- store.Take(ctx, []lock.TakeCommand{cmd})[0].Err }()
		return answered
	}
	s.pauseScripts()
	late, cancelLate := context.WithTimeout(s.ctx, 500*time.Millisecond)
	defer cancelLate()
	cancelled, cancel := context.WithCancel(s.ctx)
	defer cancel()
	first := take(cancelled)
	testwait.Until(t, "it is sent", func() bool { return s.blocked() == 1 })
	cancel()
	s.wantUnavailable(<-take(late), lock.OutcomeUnknown)
	select {
	case err := <-first:
		t.Fatalf("while the answer can still come, it is %v", err)
	default:
	}
	s.resumeScripts()
	s.must(<-first)
}

// A command whose caller has gone while its pipeline was still connecting is not run.
func TestCallerGoneWhileConnecting(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	proxy := redistest.StartProxy(t, s.server.Addr, nil)
	store := open(t, proxy.URL)
	s.server.Pause()
	ctx, cancel := context.WithTimeout(s.ctx, 500*time.Millisecond)
	defer cancel()
	cmd := s.command()
	s.wantUnavailable(store.Take(ctx, []lock.TakeCommand{cmd})[0].Err, lock.NotApplied)
	s.server.Resume()
	testwait.Until(t, "the pipeline is sent", func() bool { return proxy.Seen(string(cmd.Tag)) })
	testwait.Until(t, "it is over", func() bool { return store.PoolInUse() == 0 })
	if spool := s.read(); spool.Version != 0 {
		t.Errorf("the take was applied: %+v", spool)
	}
}

// Nor is it where the caller sends the pipeline itself.
func TestCallerGoneWhileItConnects(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	proxy := redistest.StartProxy(t, s.server.Addr, nil)
	store := redistest.Open(t, proxy.URL, redistest.NewLog(t).Logger(), repository.Config{Timeout: testwait.Patience})
	s.server.Pause()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	cmd := s.command()
	answered := make(chan error, 1)
	go func() { answered <- store.Take(ctx, []lock.TakeCommand{cmd})[0].Err }()
	testwait.Until(t, "the pipeline connects", func() bool { return store.PoolInUse() == 1 })
	proxy.Delay(200 * time.Millisecond) // of each request while it connects: time for the caller to go
	cancel()
	s.server.Resume()
	s.wantUnavailable(<-answered, lock.NotApplied)
	if spool := s.read(); spool.Version != 0 {
		t.Errorf("the take was applied: %+v", spool)
	}
}

// Rebuilds are not in flight together, and one that waits follows the one whose caller sent it
// itself.
func TestRebuildsFollowOneAnother(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	store := open(t, s.server.URL)
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	var reading sync.WaitGroup
	read := func() { s.must(store.ReadScanned(ctx, []lock.Tag{s.tag})[0].Err) }
	s.pauseScripts()
	reading.Go(read)
	testwait.Until(t, "a pipeline is in flight", func() bool { return s.blocked() == 1 })
	reading.Go(read)
	testwait.Until(t, "another one waits", func() bool { return store.Waiting() == 1 })
	s.resumeScripts()
	reading.Wait()
}

// A connection on which no answer comes is closed after the time of one attempt, whatever
// time its callers have, and the next attempt has another one.
func TestConnectionWithoutAnswersIsClosed(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	var swallow atomic.Bool
	proxy := redistest.StartProxy(t, s.server.Addr, func(request []byte) bool {
		swallowed := bytes.Contains(request, []byte("evalsha")) && swallow.CompareAndSwap(true, false)
		if swallowed {
			<-t.Context().Done()
		}
		return swallowed
	})
	store := redistest.Open(t, proxy.URL, redistest.NewLog(t).Logger(), repository.Config{
		Timeout: 2 * testwait.Patience, Attempts: 240,
	})
	one := locktest.OneAtATime{Store: store}
	_, err := one.Read(s.ctx, s.tag)
	s.must(err)
	swallow.Store(true)
	cmd := s.command()
	_, _, err = one.Take(s.ctx, cmd)
	s.wantUnavailable(err, lock.OutcomeUnknown)
	if _, replayed, err := one.Take(s.ctx, cmd); err != nil || !replayed {
		t.Errorf("the next attempt is answered %t, %v", replayed, err)
	}
	if n := store.Stats().Connections; n != 1 {
		t.Errorf("the pool has %d connections, with the one that is closed", n)
	}
}

// What no longer has a place is refused at once, each kind of command by itself.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	p := newPaused(t)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	var tags []lock.Tag
	for range repository.MaxWaiting {
		tags = append(tags, newTag())
	}
	p.start(len(tags), func() { p.all.Read(ctx, tags) })
	err := p.all.Read(p.ctx, tags[:1])[0].Err
	p.wantUnavailable(err, lock.NotApplied)
	if unavailable := (*lock.UnavailableError)(nil); !errors.As(err, &unavailable) || !unavailable.Overloaded {
		t.Errorf("one more is answered %v", err)
	}
	p.start(3,
		func() { p.must(p.all.Take(p.ctx, []lock.TakeCommand{p.command()})[0].Err) },
		func() { p.must(p.all.ReadDue(p.ctx, tags[:1])[0].Err) },
		func() { p.must(p.all.ReadScanned(p.ctx, tags[:1])[0].Err) },
	)
	cancel()
	testwait.Until(t, "those of the caller who has gone leave", func() bool { return p.all.Waiting() == 3 })
	p.start(1, p.reading(p.ctx, tags[0]))
	p.resume()
}

// An operation with hardly any time left is not sent, but with attempts so short that all
// operations have as little.
func TestTooLittleTimeLeft(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	read := func(timeout time.Duration, config repository.Config) error {
		store := redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), config)
		s.must(store.Ping(s.ctx))
		ctx, cancel := context.WithTimeout(s.ctx, timeout)
		defer cancel()
		return store.Read(ctx, []lock.Tag{s.tag})[0].Err
	}
	s.wantUnavailable(read(45*time.Millisecond, repository.Config{}), lock.NotApplied)
	testwait.Until(t, "a short attempt succeeds", func() bool {
		return read(45*time.Millisecond, repository.Config{Timeout: 45 * time.Millisecond}) == nil
	})
}

// Replicas are waited for no longer than until the first caller of a pipeline has to go, and
// what they have said by then counts for all of it.
func TestWaitIsForTheShortestTimeLeft(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	p := &paused{stand: s, all: redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), repository.Config{
		Timeout: testwait.Patience, Replicas: 1,
	})}
	s.pauseScripts()
	take := func(timeout time.Duration) func() {
		cmd := s.command()
		cmd.Tag = newTag()
		return func() {
			ctx, cancel := context.WithTimeout(s.ctx, timeout)
			defer cancel()
			err := p.all.Take(ctx, []lock.TakeCommand{cmd})[0].Err
			s.wantUnavailable(err, lock.OutcomeUnknown)
			if !strings.Contains(err.Error(), "confirmed by 0 replicas") {
				t.Errorf("with %v to go, the error is %v", timeout, err)
			}
		}
	}
	for n := 1; n <= 2; n++ {
		p.waiting.Go(take(3 * time.Second))
		testwait.Until(t, "a pipeline is in flight", func() bool { return s.blocked() == n })
	}
	p.start(2, take(5*time.Second), take(testwait.Patience))
	p.resume()
}

// What replicas have to confirm holds up nothing else.
func TestWaitHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.sendScripts()
	store := redistest.Open(t, s.server.URL, redistest.NewLog(t).Logger(), repository.Config{
		Timeout: testwait.Patience, Replicas: 1,
	})
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	var waiting sync.WaitGroup
	var answered atomic.Int64
	for n := 1; n <= 3; n++ {
		cmd := s.command()
		cmd.Tag = newTag()
		waiting.Go(func() {
			_ = store.Take(ctx, []lock.TakeCommand{cmd})
			answered.Add(1)
		})
		testwait.Until(t, "two takes are sent, and one waits", func() bool { return store.PoolInUse()+store.Waiting() == n })
	}
	s.must(store.Read(s.ctx, []lock.Tag{s.tag})[0].Err)
	s.must(store.Release(s.ctx, []lock.ReleaseCommand{{Tag: s.tag, Token: s.command().Token, ID: s.id()}})[0].Err)
	if n := answered.Load(); n != 0 {
		t.Errorf("%d takes were answered before", n)
	}
	waiting.Wait()
}
