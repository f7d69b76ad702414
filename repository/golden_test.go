package repository_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spoollock/floor"
	"spoollock/lock"
)

var update = flag.Bool("update", false, "write the newest recordings in testdata anew; add a file instead once a version of the service has written such data")

// recording is what Redis held for one spool after every kind of event, with something in
// every list, and what was published meanwhile. Times are of the server that it was made on.
type recording struct {
	At int64 `json:"recorded_at_ms"`

	Superseded  string `json:"superseded_token"`
	Forced      string `json:"forced_token"`
	Foreign     string `json:"foreign_token"`
	Expired     string `json:"expired_token"`
	Released    string `json:"released_token"`
	Barred      string `json:"barred_token"`
	Held        string `json:"held_token"`
	ForceID     string `json:"force_id"`
	ReleaseID   string `json:"release_id"`
	OfClient    string `json:"extension_of_client"`
	OfService   string `json:"extension_of_service"`
	Expires     int64  `json:"lock_expires_ms"`
	FirstGave   int64  `json:"first_extension_gave_ms"`
	BarredLists []byte `json:"barred"`

	// Of tokens that are among those that ended before the newest.
	EndedOfService string `json:"ended_token_of_service"`
	EndedOfClient  string `json:"ended_token_of_client"`

	State    []byte   `json:"state"`
	Ended    []byte   `json:"ended"`
	History  string   `json:"history"`
	Messages []string `json:"messages"` // without the tag, oldest first
}

// goldenKinds are the kinds of the recorded events, newest first.
var goldenKinds = "NZNTRTETXZYFMT" + strings.Repeat("RT", 18)

// record makes a recording with the scripts as they are.
func (s *stand) record() (r recording) {
	s.t.Helper()
	messages := s.listen()
	for i := range 18 { // until there are groups of both kinds
		cmd := s.command()
		cmd.OfClient = i%2 == 0
		s.take(cmd)
		s.wantRelease(cmd.Token, lock.OutcomeReleased)
		switch i {
		case 0:
			r.EndedOfClient = cmd.Token.Reveal()
		case 1:
			r.EndedOfService = cmd.Token.Reveal()
		}
	}
	lost := s.command()
	lost.OfClient = true
	s.take(lost)
	resume := lock.ResumeCommand{Tag: s.tag, Worker: lost.Owner.ID, Token: lock.NewToken(lost.Owner.ID, s.id()), OfClient: true}
	resumed, err := s.store.Resume(s.ctx, resume)
	s.must(err)
	force := lock.ForceReleaseCommand{Tag: s.tag, Expected: resumed.Lock.Version, Actor: "boss", Reason: "gone home", ID: s.id()}
	_, err = s.store.ForceRelease(s.ctx, force)
	s.must(err)

	s.foreignTake(foreignValue)
	s.wantHeld(0)
	s.must(s.client.PExpire(s.ctx, s.lockKey(), 2*time.Hour).Err())
	s.wantHeld(0)
	s.foreignRelease(foreignValue)
	s.wantFree(0)

	expired := s.command()
	expired.TTL = 20 * time.Millisecond
	s.take(expired)
	s.waitUntilGone()
	s.wantFree(0)

	first := s.command()
	s.take(first)
	release := lock.ReleaseCommand{Tag: s.tag, Token: first.Token, Note: "done \"3\" ñ", ID: s.id()}
	_, _, err = s.store.Release(s.ctx, release)
	s.must(err)
	barred := s.command()
	_, _, err = s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: barred.Token, ID: s.id(), Bar: true})
	s.must(err)

	held := s.command()
	held.OfClient = true
	s.take(held)
	ofClient := lock.ExtendCommand{Tag: s.tag, Token: held.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id(), OfClient: true}
	gave, err := s.store.Extend(s.ctx, ofClient)
	s.must(err)
	s.must(s.client.PExpireAt(s.ctx, s.lockKey(), gave.ExpiresAt.Add(30*time.Second)).Err())
	s.wantHeld(0)
	ofService := ofClient
	ofService.ID, ofService.OfClient = s.id(), false
	extended, err := s.store.Extend(s.ctx, ofService)
	s.must(err)
	return recording{
		EndedOfService: r.EndedOfService, EndedOfClient: r.EndedOfClient,
		At:         extended.AcquiredAt.UnixMilli(),
		Superseded: lost.Token.Reveal(), Forced: resume.Token.Reveal(), Foreign: foreignValue, Expired: expired.Token.Reveal(),
		Released: first.Token.Reveal(), Barred: barred.Token.Reveal(), Held: held.Token.Reveal(),
		ForceID: force.ID.Reveal(), ReleaseID: release.ID.Reveal(), OfClient: ofClient.ID.Reveal(), OfService: ofService.ID.Reveal(),
		Expires: extended.ExpiresAt.UnixMilli(), FirstGave: gave.ExpiresAt.UnixMilli(),
		State:       []byte(s.client.Get(s.ctx, s.stateKey()).Val()),
		BarredLists: []byte(s.client.Get(s.ctx, s.barredKey()).Val()),
		History:     s.client.Get(s.ctx, s.historyKey()).Val(),
		Ended:       []byte(s.client.Get(s.ctx, s.endedKey()).Val()),
		Messages:    messages(extended.ExpiresAt),
	}
}

// moved is the recording as if it had been made at this moment: what is remembered for a day
// would otherwise be forgotten.
func (r recording) moved(t testing.TB) recording {
	t.Helper()
	by := time.Since(time.UnixMilli(r.At)).Truncate(time.Second)
	r.At += by.Milliseconds()
	r.Expires += by.Milliseconds()
	r.FirstGave += by.Milliseconds()
	r.State = []byte(parseStored(t, string(r.State)).move(t, by).String())
	r.History, r.Ended, r.Messages = moveLines(r.History, by), slices.Clone(r.Ended), slices.Clone(r.Messages)
	for i := 0; i < len(r.Ended); i += 15 {
		if r.Ended[i+14] != 0 {
			moveToken(r.Ended[i:][:15], by)
		}
	}
	for i := range r.Messages {
		r.Messages[i] = moveLine(r.Messages[i], by)
	}
	return r
}

// restore puts a recording into Redis, as that of the spool.
func (s *stand) restore(r recording) {
	s.t.Helper()
	s.must(s.client.Set(s.ctx, s.stateKey(), r.State, memory).Err())
	s.must(s.client.Set(s.ctx, s.historyKey(), r.History, memory).Err())
	s.must(s.client.Set(s.ctx, s.endedKey(), r.Ended, memory).Err())
	s.must(s.client.Set(s.ctx, s.barredKey(), r.BarredLists, time.Hour).Err())
	s.must(s.client.Set(s.ctx, s.lockKey(), r.Held, 0).Err())
	s.must(s.client.PExpireAt(s.ctx, s.lockKey(), time.UnixMilli(r.Expires)).Err())
}

// keys are the keys of the spool.
func (s *stand) keys() []string {
	return []string{s.lockKey(), s.stateKey(), s.historyKey(), s.endedKey(), s.barredKey()}
}

func goldenFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/state-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("recordings are %v, %v", files, err)
	}
	return files
}

func loadGolden(t testing.TB, file string) (golden recording) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	return golden
}

// The newest recording has all that the scripts write.
func TestGoldenIsComplete(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	fresh := s.record()
	files := goldenFiles(t)
	newest := files[len(files)-1]
	if *update {
		text, err := json.MarshalIndent(fresh, "", "  ")
		s.must(err)
		s.must(os.WriteFile(newest, append(text, '\n'), 0o600))
	}
	golden := loadGolden(t, newest)
	for name, r := range map[string]recording{"fresh": fresh, "golden": golden} {
		state := parseStored(t, string(r.State))
		if state.counts[:7] != "4311011" || len(state.lists) != 7*15+25 || len(r.Ended) != 960+8*15 {
			t.Errorf("the counts of the %s one are %s, the lists %q, ended %q", name, state.counts, state.lists, r.Ended)
		}
		if r.History == "" || len(state.block) != 28+2*40 || len(r.BarredLists) != 10 {
			t.Errorf("of the %s one, something is empty: %+v, history %q", name, state, r.History)
		}
	}
	if got, want := len(fresh.State), len(golden.State); got != want {
		t.Errorf("the state has %d bytes, the recorded one %d", got, want)
	}
}

// What an earlier version left in Redis is read by this one, to the last field, also after it
// was saved and loaded.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, file := range goldenFiles(t) {
		golden := loadGolden(t, file)
		for name, stand := range map[string]func(*testing.T) (*stand, recording){
			"as it was written": func(t *testing.T) (*stand, recording) {
				s, r := newStand(t), golden.moved(t)
				s.restore(r)
				return s, r
			},
			"on the embedded one": func(t *testing.T) (*stand, recording) {
				s, r := newEmbeddedStand(t), golden.moved(t)
				s.restore(r)
				return s, r
			},
			"by DUMP and RESTORE": func(t *testing.T) (*stand, recording) {
				from, s, r := newStand(t), newStand(t), golden.moved(t)
				from.tag = s.tag
				from.restore(r)
				for _, key := range s.keys() {
					dump, err := from.client.Dump(s.ctx, key).Result()
					s.must(err)
					s.must(s.client.Restore(s.ctx, key, from.client.PTTL(s.ctx, key).Val(), dump).Err())
				}
				s.must(s.client.PExpireAt(s.ctx, s.lockKey(), time.UnixMilli(r.Expires)).Err()) // RESTORE took some time
				return s, r
			},
			"from an RDB file": func(t *testing.T) (*stand, recording) {
				dir := t.TempDir()
				from, r := newStand(t, "--dir", dir, "--dbfilename", "spools.rdb"), golden.moved(t)
				from.restore(r)
				from.must(from.client.Save(from.ctx).Err())
				from.server.Kill()
				s := newStand(t, "--dir", dir, "--dbfilename", "spools.rdb")
				s.tag = from.tag
				return s, r
			},
			"after a restart": func(t *testing.T) (*stand, recording) {
				s, r := newStand(t, "--appendonly", "yes", "--appendfsync", "always"), golden.moved(t)
				s.restore(r)
				s.server.Kill()
				s.server.Restart()
				return s, r
			},
		} {
			t.Run(filepath.Base(file)+" "+name, func(t *testing.T) {
				t.Parallel()
				s, r := stand(t)
				testGolden(s, r)
			})
		}
	}
}

func testGolden(s *stand, golden recording) {
	s.t.Helper()
	testGoldenMessages(s, golden)
	held := s.wantHeld(0)
	if held.Owner != (lock.Worker{ID: "93", Name: "MR(93)"}) || held.Note != "weld 3" || held.ExpiresAt.UnixMilli() != golden.Expires {
		s.t.Fatalf("lock is %+v", held)
	}
	if got := held.ExpiresAt.Sub(held.AcquiredAt); got != time.Hour+2*time.Minute+30*time.Second {
		s.t.Fatalf("the lock lasts %v, want an hour, two minutes and a half", got)
	}
	history := testGoldenHistory(s, held)

	for token, want := range map[string]lock.End{
		golden.Superseded: lock.EndSuperseded, golden.Forced: lock.EndForceReleased, golden.Foreign: lock.EndReleasedExternally,
		golden.Expired: lock.EndExpired, golden.Released: lock.EndReleased,
	} {
		cmd := s.command()
		cmd.Token = s.token(token)
		_, _, err := s.store.Take(s.ctx, cmd)
		var expired *lock.ExpiredError
		if !errors.As(err, &expired) || expired.Cause != want {
			s.t.Errorf("a token that was %s got %v", want, err)
		}
	}
	for _, token := range []string{golden.EndedOfService, golden.EndedOfClient} {
		s.wantRelease(s.token(token), lock.OutcomeAlreadyReleased)
	}
	s.wantRelease(s.token(golden.Superseded), lock.OutcomeSuperseded)
	s.wantRelease(s.token(golden.Forced), lock.OutcomeForceReleased)
	s.wantRelease(s.token(golden.Released), lock.OutcomeAlreadyReleased)
	outcome, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.token(golden.Released), ID: s.requestID(golden.ReleaseID)})
	if err != nil || outcome != lock.OutcomeReleased {
		s.t.Fatalf("the same release got %s, %v", outcome, err)
	}
	outcome, _, err = s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: s.token(golden.Barred), ID: s.id()})
	if err != nil || outcome != lock.OutcomeNotOwner {
		s.t.Fatalf("the release of the barred token is %s, %v", outcome, err)
	}
	forced, err := s.store.ForceRelease(s.ctx, lock.ForceReleaseCommand{
		Tag: s.tag, Expected: held.Version, Actor: "boss", Reason: "gone home", ID: s.requestID(golden.ForceID),
	})
	if f := history[11]; err != nil || !forced.Replayed || forced.Spool != (lock.Spool{Tag: s.tag, Version: f.Version, Change: f.Number}) ||
		forced.Released.Version != history[12].Version || forced.Released.Owner != f.Owner || forced.Released.AcquiredAt != history[13].At {
		s.t.Fatalf("the same forced release got %+v, %v", forced, err)
	}
	for id, want := range map[string]int64{golden.OfClient: golden.FirstGave, golden.OfService: golden.Expires} {
		again, err := s.store.Extend(s.ctx, lock.ExtendCommand{
			Tag: s.tag, Token: s.token(golden.Held), By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.requestID(id), SinceFirst: time.Minute,
		})
		if err != nil || again.ExpiresAt.UnixMilli() != want {
			s.t.Fatalf("the same extension got %+v, %v", again, err)
		}
	}
	s.wantRelease(s.token(golden.Held), lock.OutcomeReleased)
	free := s.wantFree(held.Version)
	barred := s.command()
	barred.Token = s.token(golden.Barred)
	s.wantEndedTake(barred, lock.EndReleased)
	if next := s.take(s.command()); next.Version <= free {
		s.t.Fatalf("version went from %d to %d", free, next.Version)
	}
	if got, want := s.kinds(), "TR"+goldenKinds; got != want {
		s.t.Fatalf("the history is %s, want %s", got, want)
	}
}

func (s *stand) requestID(text string) lock.RequestID {
	s.t.Helper()
	id, err := lock.ParseRequestID(text)
	s.must(err)
	return id
}

func (s *stand) wantEndedTake(cmd lock.TakeCommand, cause lock.End) {
	s.t.Helper()
	_, _, err := s.store.Take(s.ctx, cmd)
	var expired *lock.ExpiredError
	if !errors.As(err, &expired) || expired.Cause != cause {
		s.t.Fatalf("a take with an ended token got %v, want %s", err, cause)
	}
}

// testGoldenHistory compares the events with what record did to the spool. Their times and
// versions differ from recording to recording, but for those that the lock has.
func testGoldenHistory(s *stand, held lock.Lock) []lock.Event {
	s.t.Helper()
	history, err := s.store.History(s.ctx, lock.HistoryCommand{Tag: s.tag, Newest: lock.MaxEvents})
	s.must(err)
	if kinds := s.kinds(); len(history) != len(goldenKinds) || kinds != goldenKinds {
		s.t.Fatalf("history is %s, %+v", kinds, history)
	}
	worker, foreign := lock.Worker{ID: "93", Name: "MR(93)"}, lock.Worker{ID: "94"}
	for i, want := range []lock.Event{
		{Type: lock.EventExtended, Version: held.Version, ExpiresAt: held.ExpiresAt},
		{Type: lock.EventExtendedExternally, Version: held.Version, ExpiresAt: held.ExpiresAt.Add(-time.Minute)},
		{Type: lock.EventExtended, Version: held.Version, ExpiresAt: held.AcquiredAt.Add(time.Hour + time.Minute)},
		{Type: lock.EventTaken, Version: held.Version, At: held.AcquiredAt, ExpiresAt: held.AcquiredAt.Add(time.Hour)},
		{Type: lock.EventReleased, Note: "done \"3\" ñ"},
		{Type: lock.EventTaken, ExpiresAt: history[5].At.Add(time.Hour)},
		{Type: lock.EventExpired, At: history[7].ExpiresAt},
		{Type: lock.EventTaken, ExpiresAt: history[7].At.Add(20 * time.Millisecond)},
		{Type: lock.EventReleasedExternally, Owner: foreign},
		{Type: lock.EventExtendedExternally, Owner: foreign, Version: history[10].Version, ExpiresAt: history[9].ExpiresAt},
		{Type: lock.EventTakenExternally, Owner: foreign, ExpiresAt: history[10].ExpiresAt},
		{Type: lock.EventForceReleased, Actor: "boss", Reason: "gone home"},
		{Type: lock.EventResumed, ExpiresAt: history[13].ExpiresAt},
		{Type: lock.EventTaken, ExpiresAt: history[13].At.Add(time.Hour)},
	} {
		if want.Owner.ID == "" {
			want.Owner = worker
			if want.Note == "" {
				want.Note = "weld 3"
			}
		}
		if want.Version == 0 {
			want.Version = history[i].Version
		}
		if want.At.IsZero() {
			want.At = history[i].At
		}
		want.Number = history[i].Number
		if history[i] != want {
			s.t.Errorf("event %d is %+v, want %+v", i, history[i], want)
		}
		if i > 0 && (history[i].At.After(history[i-1].At) || history[i].Version > history[i-1].Version || history[i].Number > history[i-1].Number) {
			s.t.Errorf("event %d is newer than the one before: %+v", i, history)
		}
	}
	if until := history[9].ExpiresAt.Sub(history[10].At); until < 2*time.Hour || history[10].ExpiresAt.IsZero() {
		s.t.Errorf("the foreign lock was extended until %v after it was seen", until)
	}
	return history
}

// testGoldenMessages publishes what was published, and compares what is heard with it.
func testGoldenMessages(s *stand, golden recording) {
	s.t.Helper()
	messages := make(chan floor.Message, len(golden.Messages))
	stop := s.hear(func(message floor.Message) { messages <- message })
	for _, line := range golden.Messages {
		s.must(s.client.Publish(s.ctx, channel, s.lockKey()+"\n"+line).Err())
	}
	var kinds string
	for _, line := range golden.Messages {
		kinds = line[:1] + kinds
		select {
		case message := <-messages:
			held := message.Spool.Lock
			if message.Spool.Tag != s.tag || message.Spool.Version == 0 || message.Spool.Change == 0 || (held == nil) != (line[lineExtras:] == "{}") {
				s.t.Errorf("of %s is heard %+v", line, message)
			}
			if held != nil && (held.Owner.ID == lock.UnknownWorker || held.ExpiresAt.IsZero() || held.Version != message.Spool.Version) {
				s.t.Errorf("of %s is heard the lock %+v", line, held)
			}
		case <-s.ctx.Done():
			s.t.Fatalf("nothing is heard of %s", line)
		}
	}
	stop()
	if kinds != goldenKinds {
		s.t.Errorf("the messages are %s", kinds)
	}
}
