package repository_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
)

// monitor returns what the clients of the server send it, scripts left out, until
// stop is called.
func (s *stand) monitor() (stop func() []string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.server.Addr)
	s.must(err)
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte("MONITOR\r\n"))
	s.must(err)
	lines := bufio.NewScanner(conn)
	if !lines.Scan() || lines.Text() != "+OK" {
		s.t.Fatalf("MONITOR is answered %q", lines.Text())
	}
	return func() []string {
		s.t.Helper()
		defer conn.Close() //nolint:errcheck // nothing was written that matters
		s.must(s.client.Echo(s.ctx, "the end").Err())
		var commands []string
		for lines.Scan() {
			_, rest, _ := strings.Cut(lines.Text(), "[")
			client, command, _ := strings.Cut(rest, "] ")
			if strings.Contains(command, "the end") {
				return commands
			}
			if !strings.HasSuffix(client, " lua") {
				name, _, _ := strings.Cut(strings.Trim(command, `"`), `"`)
				commands = append(commands, strings.ToLower(name))
			}
		}
		s.t.Fatal(lines.Err())
		return nil
	}
}

func TestOneCommandPerOperation(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	everyOperation := func() {
		cmd := s.command()
		s.take(cmd)
		_, replayed, err := s.store.Take(s.ctx, cmd)
		if err != nil || !replayed {
			t.Fatalf("a replay got %t, %v", replayed, err)
		}
		_, _, err = s.store.Take(s.ctx, s.command())
		var occupied *lock.OccupiedError
		if !errors.As(err, &occupied) {
			t.Fatalf("a refusal got %v", err)
		}
		_, err = s.extend(cmd.Token)
		s.must(err)
		s.read()
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
	}
	everyOperation() // connects, and sends the scripts once
	s.must(s.client.Ping(s.ctx).Err())
	stop := s.monitor()
	everyOperation()
	got := stop()
	if want := slices.Repeat([]string{"evalsha"}, 6); !slices.Equal(slices.DeleteFunc(got, func(name string) bool { return name == "echo" }), want) {
		t.Fatalf("six operations sent %v", got)
	}
}

// A batch is sent as a whole before any of it is answered, one command for each item.
func TestOneRoundTripPerBatch(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	var mayAnswer atomic.Value // func() bool
	mayAnswer.Store(func() bool { return true })
	proxy := redistest.StartProxy(t, s.server.Addr, func([]byte) bool {
		for deadline := time.Now().Add(patience); !mayAnswer.Load().(func() bool)(); {
			if time.Now().After(deadline) {
				t.Error("the client waits for an answer before it has sent everything")
				return true
			}
			time.Sleep(time.Millisecond)
		}
		return false
	})
	store := open(t, proxy.URL)
	everyOperation := func(await func(text string)) {
		var takes []lock.TakeCommand
		var tags []lock.Tag
		for range lock.MaxBatch {
			s.tag = newTag()
			takes, tags = append(takes, s.command()), append(tags, s.tag)
		}
		var extensions []lock.ExtendCommand
		var releases []lock.ReleaseCommand
		for _, take := range takes {
			extensions = append(extensions, lock.ExtendCommand{Tag: take.Tag, Token: take.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id()})
			releases = append(releases, lock.ReleaseCommand{Tag: take.Tag, Token: take.Token, ID: s.id()})
		}
		await("spool_lock:" + string(tags[len(tags)-1]))
		for _, result := range store.Take(s.ctx, takes) {
			s.must(result.Err)
		}
		await(extensions[len(extensions)-1].ID.Reveal())
		for _, result := range store.Extend(s.ctx, extensions) {
			s.must(result.Err)
		}
		await("")
		for _, result := range store.Read(s.ctx, tags) {
			s.must(result.Err)
		}
		await(releases[len(releases)-1].ID.Reveal())
		for _, result := range store.Release(s.ctx, releases) {
			s.must(result.Err)
		}
		await("")
	}
	everyOperation(func(string) {}) // connects, and sends the scripts once
	s.must(s.client.Ping(s.ctx).Err())
	stop := s.monitor()
	everyOperation(func(text string) {
		mayAnswer.Store(func() bool { return proxy.Seen(text) })
	})
	got := slices.DeleteFunc(stop(), func(name string) bool { return name == "echo" })
	if want := slices.Repeat([]string{"evalsha"}, 4*lock.MaxBatch); !slices.Equal(got, want) {
		t.Fatalf("four batches of %d sent %v", lock.MaxBatch, got)
	}
}

func TestForgottenScripts(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	for _, operation := range []func(){
		func() { s.take(cmd) },
		func() { _, err := s.extend(cmd.Token); s.must(err) },
		func() { s.read() },
		func() { s.wantRelease(cmd.Token, lock.OutcomeReleased) },
	} {
		s.must(s.client.ScriptFlush(s.ctx).Err())
		operation()
	}
}

func TestCompanionOutlivesTheLock(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	s.take(cmd)
	s.wantCompanionLives(memory)
	_, err := s.extend(cmd.Token)
	s.must(err)
	s.wantCompanionLives(memory)
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	s.wantCompanionLives(memory)

	s.tag = newTag()
	cmd = s.command()
	cmd.TTL = 90 * 24 * time.Hour
	s.take(cmd)
	s.wantCompanionLives(cmd.TTL + 24*time.Hour)
}

func TestReadingWritesNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.read()
	if n := s.client.DBSize(s.ctx).Val(); n != 0 {
		t.Fatalf("reading an unknown spool left %d keys", n)
	}
	s.take(s.command())
	dirty := func() string {
		return s.client.InfoMap(s.ctx, "persistence").Val()["Persistence"]["rdb_changes_since_last_save"]
	}
	before := dirty()
	s.read()
	if _, _, err := s.store.Take(s.ctx, s.command()); err == nil {
		t.Fatal("a held spool was taken")
	}
	if after := dirty(); before == "" || after != before {
		t.Fatalf("a read and a refusal changed data: %q changes, then %q", before, after)
	}
}

func TestCompanionIsBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	worker := lock.WorkerID(strings.Repeat("w", 64))
	for range 100 {
		cmd := s.command()
		cmd.Owner = lock.Worker{ID: worker, Name: strings.Repeat("ñ", 100)}
		cmd.Note = strings.Repeat("⚙", 140)
		cmd.Token = lock.NewToken(worker, s.id())
		s.take(cmd)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
	}
	cmd := s.command()
	s.take(cmd)
	for range 100 {
		_, err := s.extend(cmd.Token)
		s.must(err)
	}
	for range 300 {
		_, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.command().Token, ID: s.id(), Bar: true})
		s.must(err)
	}
	fields := s.client.HGetAll(s.ctx, s.companionKey()).Val()
	if got, want := len(fields["ended"]), 64*66; got != want {
		t.Errorf("the ended tokens take %d bytes, want %d", got, want)
	}
	if got, want := len(fields["extensions"]), 16+64*49; got != want {
		t.Errorf("the extensions take %d bytes, want %d", got, want)
	}
	usage := s.client.MemoryUsage(s.ctx, s.companionKey(), 0).Val()
	t.Logf("the largest companion takes %d bytes", usage)
	if usage > 20<<10 {
		t.Errorf("the largest companion takes %d bytes", usage)
	}
}

// Bars are many where much went wrong, and must not make ended tokens forgotten.
func TestBarsPushNoEndedTokenOut(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	s.take(cmd)
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	barred := s.command()
	bar := func(token lock.Token) {
		t.Helper()
		_, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: token, ID: s.id(), Bar: true})
		s.must(err)
	}
	bar(barred.Token)
	for range 100 {
		bar(s.command().Token)
	}
	s.wantEnded(cmd, lock.EndReleased)
	s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased)
	for range 70 {
		next := s.command()
		s.take(next)
		s.wantRelease(next.Token, lock.OutcomeReleased)
	}
	_, _, err := s.store.Take(s.ctx, barred)
	var expired *lock.ExpiredError
	if !errors.As(err, &expired) {
		t.Fatalf("a barred token got %v after 100 other bars and 70 locks", err)
	}
	for range 100 {
		bar(s.command().Token)
	}
	if got, want := len(s.client.HGet(s.ctx, s.companionKey(), "barred").Val()), 128*53; got != want {
		t.Fatalf("the bars take %d bytes, want %d", got, want)
	}
	// As if an hour had gone by since.
	old := fmt.Sprintf("%013d", time.Now().Add(-61*time.Minute).UnixMilli()) + strings.Repeat("0", 40)
	s.must(s.client.HSet(s.ctx, s.companionKey(), "barred", strings.Repeat(old, 128)).Err())
	bar(barred.Token)
	if got := len(s.client.HGet(s.ctx, s.companionKey(), "barred").Val()); got != 53 {
		t.Fatalf("the bars take %d bytes, want one entry of 53", got)
	}
}

func TestEndedTokensAreForgottenAfterADay(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.command()
	s.take(cmd)
	s.wantRelease(cmd.Token, lock.OutcomeReleased)
	// As if a day had gone by since.
	ended := s.client.HGet(s.ctx, s.companionKey(), "ended").Val()
	ended = ended[:1] + fmt.Sprintf("%013d", time.Now().Add(-24*time.Hour-time.Minute).UnixMilli()) + ended[14:]
	s.must(s.client.HSet(s.ctx, s.companionKey(), "ended", ended).Err())

	s.wantRelease(cmd.Token, lock.OutcomeNotHeld)
	next := s.command()
	s.take(next)
	s.wantRelease(next.Token, lock.OutcomeReleased)
	if got := len(s.client.HGet(s.ctx, s.companionKey(), "ended").Val()); got != 66 {
		t.Fatalf("the ended tokens take %d bytes, want one entry of 66", got)
	}
}

// Out of memory, Redis refuses a take before anything of it is done. It still says
// who holds what, and lets a holder go.
func TestFullRedis(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ours := s.command()
	held := s.take(ours)
	lapsing := s.command()
	lapsing.Tag, lapsing.TTL = newTag(), 50*time.Millisecond
	s.take(lapsing)
	s.tag = newTag()
	foreign := s.tag
	s.foreignTake(foreignValue)
	s.tag = lapsing.Tag
	s.waitUntilGone()
	s.must(s.client.ConfigSet(s.ctx, "maxmemory", "1").Err())

	s.tag = newTag()
	_, _, err := s.store.Take(s.ctx, s.command())
	var unavailable *lock.UnavailableError
	if err == nil || errors.As(err, &unavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("a take on a full Redis got %v", err)
	}
	if n := s.client.Exists(s.ctx, s.lockKey(), s.companionKey()).Val(); n != 0 {
		t.Fatalf("a take on a full Redis left %d keys", n)
	}
	s.tag = ours.Tag
	s.wantHeld(0)
	s.wantRelease(ours.Token, lock.OutcomeReleased)
	s.wantRelease(ours.Token, lock.OutcomeAlreadyReleased)
	s.wantFree(held.Version)
	s.tag = lapsing.Tag
	s.wantFree(0)
	s.tag = foreign
	seen := s.wantHeld(0)
	if seen.Owner.ID != "94" {
		t.Fatalf("lock is %+v", seen)
	}
	s.waitPast(seen.Version)
	s.wantHeld(seen.Version) // nothing is recorded, so it is found taken at each look
	s.wantRelease(s.token(foreignValue), lock.OutcomeReleased)
	s.wantRelease(s.token(foreignValue), lock.OutcomeAlreadyReleased)

	s.must(s.client.ConfigSet(s.ctx, "maxmemory", "0").Err())
	s.tag = newTag()
	s.foreignTake(foreignValue)
	s.must(s.client.ConfigSet(s.ctx, "maxmemory", "1").Err())
	s.wantHeld(0)
	s.foreignRelease(foreignValue)
	if spool := s.read(); spool.Version != 0 {
		t.Fatalf("spool is %+v, though nothing could be recorded of it", spool)
	}
}

// A Redis that cannot write to its disk refuses changes, and still says who holds
// what.
func TestRedisWithoutDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newStand(t, "--dir", dir, "--save", "3600 1")
	held := s.take(s.command())
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.must(s.client.BgSave(s.ctx).Err())
	for s.client.InfoMap(s.ctx, "persistence").Val()["Persistence"]["rdb_last_bgsave_status"] != "err" {
		if s.ctx.Err() != nil {
			t.Fatal("the snapshot did not fail")
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.wantHeld(held.Version - 1)
	s.tag = newTag()
	_, _, err := s.store.Take(s.ctx, s.command())
	s.wantUnavailable(err, lock.NotApplied)
	s.wantFree(-1)
}

func (s *stand) wantUnavailable(err error, want lock.Outcome) {
	s.t.Helper()
	var unavailable *lock.UnavailableError
	if !errors.As(err, &unavailable) || unavailable.Outcome != want {
		s.t.Fatalf("error is %v, want it unavailable with outcome %s", err, want)
	}
	if _, port, _ := strings.Cut(s.server.Addr, ":"); strings.Contains(err.Error(), port) {
		s.t.Fatalf("error shows the address of Redis: %v", err)
	}
}

// What waited for a connection in vain was not applied; what was sent, nobody
// knows.
func TestOutcomesOfAHangingRedis(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	pool, err := repository.Open(repository.Config{
		URL: s.server.URL, MaxConnections: 1, Timeout: 10 * time.Second, Memory: memory,
	}, redistest.NewLog(t).Logger())
	s.must(err)
	defer pool.Close() //nolint:errcheck // the test is over
	store := locktest.OneAtATime{Store: pool}
	_, err = store.Read(s.ctx, s.tag)
	s.must(err)

	s.server.Pause()
	sent := make(chan error, 1)
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	go func() {
		_, _, err := store.Take(ctx, s.command())
		sent <- err
	}()
	for pool.PoolInUse() == 0 {
		time.Sleep(time.Millisecond)
	}
	brief, cancelBrief := context.WithTimeout(s.ctx, 100*time.Millisecond)
	defer cancelBrief()
	_, _, err = store.Take(brief, s.command())
	s.wantUnavailable(err, lock.NotApplied)
	s.wantUnavailable(<-sent, lock.OutcomeUnknown)
	s.server.Resume()
}

// A script that runs away keeps everybody out, and nothing of theirs is applied.
func TestBusyRedis(t *testing.T) {
	t.Parallel()
	s := newStand(t, "--busy-reply-threshold", "50")
	s.take(s.command())
	runaway := make(chan error, 1)
	go func() { runaway <- s.client.Eval(s.ctx, "while true do end", nil).Err() }()
	for {
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		_, err := s.store.Read(ctx, s.tag)
		cancel()
		if err != nil && strings.Contains(err.Error(), "BUSY") {
			s.wantUnavailable(err, lock.NotApplied)
			break
		}
	}
	other := s.server.Client()
	defer other.Close() //nolint:errcheck // a client of the moment
	s.must(other.ScriptKill(s.ctx).Err())
	if err := <-runaway; err == nil {
		t.Fatal("the script came to an end")
	}
}

func TestReplicaRefusesAsUnavailable(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	master := redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr)
	s.must(err)
	s.must(s.client.ReplicaOf(s.ctx, host, port).Err())
	_, _, err = s.store.Take(s.ctx, s.command())
	s.wantUnavailable(err, lock.NotApplied)
}

// The pool is never larger than it may be, and who finds it empty waits.
func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	pool, err := repository.Open(repository.Config{
		URL: s.server.URL, MaxConnections: 3, Timeout: 10 * time.Second, Memory: memory,
	}, redistest.NewLog(t).Logger())
	s.must(err)
	defer pool.Close() //nolint:errcheck // the test is over
	store := locktest.OneAtATime{Store: pool}
	errs := make(chan error)
	for range 100 {
		go func() {
			_, err := store.Read(s.ctx, s.tag)
			errs <- err
		}()
	}
	for range 100 {
		s.must(<-errs)
	}
	received := s.client.InfoMap(s.ctx, "stats").Val()["Stats"]["total_connections_received"]
	// The server's own check at its start, the stand's two clients, and the three.
	var n int
	if _, err := fmt.Sscan(received, &n); err != nil || n > 6 {
		t.Fatalf("%q connections were made, want at most 6", received)
	}
}
