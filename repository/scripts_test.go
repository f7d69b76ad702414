package repository_test

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // as the scripts have it
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// monitor returns what the clients of the server send it, scripts left out, until
// stop is called.
func (s *stand) monitor() (stop func() []string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.server.Addr)
	s.must(err)
	s.must(conn.SetDeadline(time.Now().Add(testwait.Patience)))
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
		answer := testwait.Poll(func() bool { return mayAnswer.Load().(func() bool)() })
		if !answer {
			t.Error("the client waits for an answer before it has sent everything")
		}
		return !answer
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
		await(digestOf(extensions[len(extensions)-1].ID.Reveal()))
		for _, result := range store.Extend(s.ctx, extensions) {
			s.must(result.Err)
		}
		await("")
		for _, result := range store.Read(s.ctx, tags) {
			s.must(result.Err)
		}
		await(hexDigest(releases[len(releases)-1].ID)[:12])
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

// hexDigest is how the scripts are told the id of a release.
func hexDigest(id lock.RequestID) string { return hex.EncodeToString([]byte(digestOf(id.Reveal()))) }

func digestOf(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // no secret is kept by it
	return string(sum[:10])
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
