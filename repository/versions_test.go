package repository_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spoollock/floor"
	"spoollock/lock"
	"spoollock/repository"
)

// Processes of different versions of the service work on the same Redis, at least during an
// upgrade. The scripts of testdata/scripts-1 are what the first version runs, and stay as they
// are once there is such a version.
const firstScripts = "testdata/scripts-1"

func TestFirstScriptsAreAllThere(t *testing.T) {
	t.Parallel()
	texts := repository.Scripts()
	for name, text := range texts {
		if *update {
			if err := os.WriteFile(filepath.Join(firstScripts, name+".lua"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(firstScripts + "/*.lua")
	if err != nil || len(files) != len(texts) {
		t.Fatalf("the scripts of the first version are %v, %v", files, err)
	}
}

// runFirst runs a script of the first version, as that version did, and returns what it
// decided.
func (s *stand) runFirst(name string, args ...any) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(firstScripts, name+".lua"))
	s.must(err)
	reply, err := s.client.Eval(s.ctx, string(text), s.keys(), append([]any{fmt.Sprint(memory.Milliseconds(), " ", channel)}, args...)...).Result()
	s.must(err)
	if list, ok := reply.([]any); ok {
		reply = list[0]
	}
	decision, _, _ := strings.Cut(reply.(string), " ")
	return decision
}

// worker is what a version of the service does.
type worker struct {
	take    func(lock.TakeCommand)
	extend  func(lock.ExtendCommand)
	resume  func(lock.ResumeCommand)
	release func(lock.ReleaseCommand)
	read    func()
}

// workers are the first version and this one.
func (s *stand) workers() map[string]worker {
	want := func(want string, name string, args ...any) {
		s.t.Helper()
		if got := s.runFirst(name, args...); got != want {
			s.t.Fatalf("the %s of the first version decides %s, want %s", name, got, want)
		}
	}
	return map[string]worker{
		"first": {
			take: func(cmd lock.TakeCommand) {
				of := fmt.Sprintf(`{"owner":%q,"name":%q,"note":%q}`, cmd.Owner.ID, cmd.Owner.Name, cmd.Note)
				want("TAKEN", "take", cmd.Token.Reveal(), firstTake(cmd.Token.Reveal(), cmd.TTL, of))
			},
			extend: func(cmd lock.ExtendCommand) {
				want("EXTENDED", "extend", cmd.Token.Reveal(), fmt.Sprintf("%s%sc%d,%d,0", digestOf(cmd.Token.Reveal()),
					digestOf(cmd.ID.Reveal()), cmd.By.Milliseconds(), cmd.MaxTTL.Milliseconds()))
			},
			resume: func(cmd lock.ResumeCommand) {
				want("RESUMED", "resume", cmd.Token.Reveal(), "s"+digestOf(cmd.Token.Reveal()), string(cmd.Worker))
			},
			release: func(cmd lock.ReleaseCommand) {
				want("RELEASED", "release", cmd.Token.Reveal(),
					digestOf(cmd.Token.Reveal())+fmt.Sprintf(`0,"by":%q,"done":%q`, hexDigest(cmd.ID)[:12], cmd.Note))
			},
			read: func() { want("HELD", "read"); want("HELD", "history", 100) },
		},
		"this": {
			take: func(cmd lock.TakeCommand) { s.take(cmd) },
			extend: func(cmd lock.ExtendCommand) {
				cmd.OfClient = true
				_, err := s.store.Extend(s.ctx, cmd)
				s.must(err)
			},
			resume: func(cmd lock.ResumeCommand) { _, err := s.store.Resume(s.ctx, cmd); s.must(err) },
			release: func(cmd lock.ReleaseCommand) {
				outcome, _, err := s.store.Release(s.ctx, cmd)
				if err != nil || outcome != lock.OutcomeReleased {
					s.t.Fatalf("release is %s, %v", outcome, err)
				}
			},
			read: func() { s.wantHeld(0) },
		},
	}
}

// firstTake is what the first version tells the script take of a token that the service made.
func firstTake(token string, ttl time.Duration, extras string) string {
	return fmt.Sprintf("s%s%015d0---------------%s", digestOf(token), ttl.Milliseconds(), extras)
}

// What a newer version writes that is not known here.
const (
	unknownExtra = `"shift":"B","crew":{"93":["x"]}`
	unknownTail  = "\x00 of the spool\n\n003\xff"
	unknownLine  = `Q001795985706663001795985706663000000007001795985706663001795985706663{"what":"new"}`
)

// takeAsNewer takes the spool as a newer version may: the lock, the spool and the history have
// what no one here knows.
func (s *stand) takeAsNewer(cmd lock.TakeCommand) {
	s.t.Helper()
	s.take(cmd)
	s.edit(func(state *stored) {
		state.line = strings.TrimSuffix(state.line, "}") + "," + unknownExtra + "}"
		state.older += "\n" + unknownLine
		state.lists += unknownTail
	})
	s.must(s.client.Append(s.ctx, s.historyKey(), "\n"+unknownLine).Err())
}

// An older version carries over what a newer one wrote, and reads the rest.
func TestOlderVersionsCarryOver(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"first", "this"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			onBothServers(t, func(s *stand) { testCarryOver(s, s.workers()[who]) })
		})
	}
}

func testCarryOver(s *stand, old worker) {
	s.t.Helper()
	heard := make(chan floor.Message, 100)
	defer s.hear(func(message floor.Message) { heard <- message })()
	messages := s.client.Subscribe(s.ctx, channel)
	defer messages.Close() //nolint:errcheck // all was heard
	_, err := messages.Receive(s.ctx)
	s.must(err)

	first, cmd := s.command(), s.command()
	old.take(first)
	old.release(lock.ReleaseCommand{Tag: s.tag, Token: first.Token, Note: "done", ID: s.id()})
	s.takeAsNewer(cmd)
	old.read()
	wantUnknown := func() {
		s.t.Helper()
		state := s.stored()
		if !strings.Contains(state.line, unknownExtra) || !strings.HasSuffix(state.lists, unknownTail) {
			s.t.Fatalf("what is not known is not carried over: %+v", state)
		}
		s.wantHeld(0)
	}
	for range 20 {
		old.extend(lock.ExtendCommand{Tag: s.tag, Token: cmd.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id()})
		wantUnknown()
	}
	s.must(s.client.PExpire(s.ctx, s.lockKey(), 2*time.Hour).Err())
	old.read()
	wantUnknown()
	resume := lock.ResumeCommand{Tag: s.tag, Worker: cmd.Owner.ID, Token: lock.NewToken(cmd.Owner.ID, s.id())}
	old.resume(resume)
	wantUnknown()
	old.release(lock.ReleaseCommand{Tag: s.tag, Token: resume.Token, Note: "done", ID: s.id()})
	if state := s.stored(); !strings.HasSuffix(state.lists, unknownTail) {
		s.t.Fatalf("what is not known of the spool is not carried over: %+v", state)
	}

	var of string
	for _, line := range s.lines() {
		if strings.Contains(line, unknownExtra) {
			of += line[:1]
		}
	}
	if of != "RMZNT" {
		s.t.Fatalf("what is not known is in the events %s, want those of the lock: %q", of, s.lines())
	}
	history, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: lock.MaxEvents})
	s.must(err)
	var types []lock.EventType
	for _, event := range history {
		types = append(types, event.Type)
		if event.Owner != cmd.Owner || event.Note != cmd.Note && event.Type != lock.EventReleased {
			s.t.Errorf("event is %+v", event)
		}
	}
	if !slices.Equal(types, []lock.EventType{
		lock.EventReleased, lock.EventResumed, lock.EventExtendedExternally, lock.EventExtended, lock.EventTaken, lock.EventReleased, lock.EventTaken,
	}) {
		s.t.Fatalf("history is %v", types)
	}

	next := s.command()
	old.take(next)
	if state := s.stored(); strings.Contains(state.line, unknownExtra) || !strings.HasSuffix(state.lists, unknownTail) {
		s.t.Fatalf("the next lock has %+v", state)
	}
	testUnknownMessages(s, heard, func() string {
		message, err := messages.ReceiveMessage(s.ctx)
		s.must(err)
		return message.Payload
	}, s.stored().line)
}

// testUnknownMessages sees that what is not known was published, and heard as if it were not
// there, up to the message of the line.
func testUnknownMessages(s *stand, heard <-chan floor.Message, receive func() string, last string) {
	s.t.Helper()
	var of string
	for {
		payload := receive()
		key, line, _ := strings.Cut(payload, "\n")
		if key != s.lockKey() {
			continue
		}
		if strings.Contains(line, unknownExtra) {
			of += line[:1]
		}
		select {
		case message := <-heard:
			if held := message.Spool.Lock; held != nil && (held.Owner != lock.Worker{ID: "93", Name: "MR(93)"} || held.Note != "weld 3") {
				s.t.Errorf("of %s is heard %+v", line, held)
			}
		case <-s.ctx.Done():
			s.t.Fatalf("nothing is heard of %s", line)
		}
		if line == last {
			break
		}
	}
	if want := strings.Repeat("N", 20) + "ZM"; of != want {
		s.t.Errorf("what is not known is in the messages %s, want %s", of, want)
	}
}

// What is carried over takes no room that the rest needs, however full the state is.
func TestCarryOverInAFullState(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	cmd := s.fill(s.wantBounded)
	const ofLock, ofSpool = 100, 156
	extra, tail := `,"shift":"`+strings.Repeat("B", ofLock-len(`,"shift":""`))+`"`, strings.Repeat("t", ofSpool)
	s.edit(func(state *stored) {
		state.line = strings.TrimSuffix(state.line, "}") + extra + "}"
		state.lists += tail
	})
	want := func(withExtra bool) {
		s.t.Helper()
		s.wantBounded()
		state := s.stored()
		if !strings.HasSuffix(state.lists, tail) || strings.Contains(state.line, extra) != withExtra {
			s.t.Fatalf("the state has %d bytes: %+v", len(state.String()), state)
		}
	}
	want(true)
	for i := range 40 {
		_, err := s.store.Extend(s.ctx, lock.ExtendCommand{
			Tag: s.tag, Token: cmd.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id(), OfClient: i%2 == 0,
		})
		s.must(err)
		want(true)
	}
	s.must(s.client.PExpire(s.ctx, s.lockKey(), 2*time.Hour).Err())
	s.wantHeld(0)
	want(true)
	resume := lock.ResumeCommand{Tag: s.tag, Worker: cmd.Owner.ID, Token: lock.NewToken(cmd.Owner.ID, s.id()), OfClient: true}
	_, err := s.store.Resume(s.ctx, resume)
	s.must(err)
	want(true)
	s.releaseWithNote(resume.Token, cmd.Note)
	want(false)
	if history, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: lock.MaxEvents}); err != nil || len(history) < 5 {
		t.Fatalf("the history has %d events, %v", len(history), err)
	}
}

// The first version works with what this one wrote.
func TestFirstVersionReadsThisOne(t *testing.T) {
	t.Parallel()
	onBothServers(t, func(s *stand) {
		cmd := s.command()
		s.take(cmd)
		_, err := s.extend(cmd.Token)
		s.must(err)
		token := cmd.Token.Reveal()
		steps := func(steps [][]any) {
			s.t.Helper()
			for _, step := range steps {
				if got := s.runFirst(step[1].(string), step[2:]...); got != step[0] {
					s.t.Fatalf("%v decides %s", step[:2], got)
				}
			}
		}
		other := s.command().Token.Reveal()
		release := func(token, by string) string { return digestOf(token) + "0" + `,"by":"` + by + `"` }
		extend := func(token string) string { return digestOf(token) + "0123456789s1000,1000000000,0" }
		version := func(v lock.Version) string { return fmt.Sprintf("%015d", v) }
		steps([][]any{
			{"HELD", "read"}, {"HELD", "history", 10}, {"HOLDS", "check", token}, {"HOLDS_NOT", "check", other},
			{"OCCUPIED", "take", other, firstTake(other, time.Second, `{"owner":"94"}`)},
			{"REPLAYED", "take", token, firstTake(token, time.Second, `{"owner":"93"}`)},
			{"OCCUPIED", "extend", other, extend(other)},
			{"EXTENDED", "extend", token, extend(token)},
			{"CONFLICT", "force", version(1), "0123456789", `,"actor":"boss","reason":"gone"`},
			{"UNKNOWN", "release", other, release(other, "0123456789ab")},
			{"RELEASED", "release", token, release(token, "0123456789ab")},
			{"RELEASED", "release", token, release(token, "0123456789ab")},
			{"ENDED-R", "release", token, release(token, "123456789abc")},
			{"ENDED-R", "take", token, firstTake(token, time.Second, `{"owner":"93"}`)},
			{"FREE", "read"},
		})
		s.wantRelease(cmd.Token, lock.OutcomeAlreadyReleased)
		s.wantEvents("RELEASED 93", "EXTENDED 93", "TAKEN 93")
		held := s.take(s.command())
		steps([][]any{
			{"FORCED", "force", version(held.Version), "0123456789", `,"actor":"boss","reason":"gone"`},
			{"REPLAYED", "force", version(held.Version), "0123456789", `,"actor":"boss","reason":"gone"`},
			{"ENDED", "force", version(held.Version), "1234567890", `,"actor":"boss","reason":"gone"`},
			{"TAKEN", "take", other, firstTake(other, 1000*time.Second, `{"owner":"93","name":"XY"}`)},
		})
		if held := s.wantHeld(held.Version); held.Owner.Name != "XY" {
			s.t.Fatalf("lock is %+v", held)
		}
		s.wantEvents("TAKEN 93", "FORCE_RELEASED 93", "TAKEN 93", "RELEASED 93", "EXTENDED 93", "TAKEN 93")
		s.wantRelease(s.token(other), lock.OutcomeReleased)
	})
}
