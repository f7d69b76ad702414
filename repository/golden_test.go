package repository_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"spoollock/lock"
)

var update = flag.Bool("update", false, "write the newest of testdata/companion-*.json anew; add a file instead once a version of the service has written such data")

// goldenFiles hold what each version of the scripts wrote, the newest last.
func goldenFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/companion-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files are %v, %v", files, err)
	}
	return files
}

// recording is what Redis held for one spool: it was taken, resumed and released by
// force; taken and released; and then taken and extended. The older ones begin with the
// second of these.
type recording struct {
	Superseded string `json:"superseded_token,omitempty"`
	Forced     string `json:"forced_token,omitempty"`
	ForceID    string `json:"force_id,omitempty"`

	At        int64             `json:"recorded_at_ms"`
	Released  string            `json:"released_token"`
	Held      string            `json:"held_token"`
	Extension string            `json:"extension_id"`
	ReleaseID string            `json:"release_id"`
	Expires   int64             `json:"lock_expires_ms"`
	Companion map[string]string `json:"companion"`
	History   []string          `json:"history,omitempty"` // newest first
}

// record makes the state that the golden file holds, with the scripts as they
// are.
func (s *stand) record() recording {
	s.t.Helper()
	lost, first, second := s.command(), s.command(), s.command()
	s.take(lost)
	resume := lock.ResumeCommand{Tag: s.tag, Worker: lost.Owner.ID, Token: lock.NewToken(lost.Owner.ID, s.id())}
	resumed, err := s.store.Resume(s.ctx, resume)
	s.must(err)
	force := lock.ForceReleaseCommand{Tag: s.tag, Expected: resumed.Lock.Version, Actor: "boss", Reason: "gone home", ID: s.id()}
	_, err = s.store.ForceRelease(s.ctx, force)
	s.must(err)
	s.take(first)
	releaseID := s.id()
	_, _, err = s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: first.Token, ID: releaseID})
	s.must(err)
	s.take(second)
	extension := lock.ExtendCommand{Tag: s.tag, Token: second.Token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: s.id()}
	extended, err := s.store.Extend(s.ctx, extension)
	s.must(err)
	return recording{
		Superseded: lost.Token.Reveal(), Forced: resume.Token.Reveal(), ForceID: force.ID.Reveal(),

		At:        extended.AcquiredAt.UnixMilli(),
		Released:  first.Token.Reveal(),
		Held:      second.Token.Reveal(),
		Extension: extension.ID.Reveal(),
		ReleaseID: releaseID.Reveal(),
		Expires:   extended.ExpiresAt.UnixMilli(),
		Companion: s.client.HGetAll(s.ctx, s.companionKey()).Val(),
		History:   s.client.LRange(s.ctx, s.historyKey(), 0, -1).Val(),
	}
}

// times says where the times in ms are in a field of the companion: digits from
// the offset on, and again after each period.
var times = map[string]struct{ offset, digits, period int }{
	"version":  {0, 13, 1000},
	"expires":  {0, 13, 1000},
	"acquired": {0, 13, 1000},
	"ended":    {1, 13, 66},
}

// restore puts a recording into Redis as if it had been made at this moment: what
// is remembered for a day would otherwise be forgotten.
func (s *stand) restore(r recording) {
	s.t.Helper()
	shift := time.Now().UnixMilli() - r.At
	move := func(text []byte, offset, digits int) {
		n, err := strconv.ParseInt(string(text[offset:offset+digits]), 10, 64)
		s.must(err)
		copy(text[offset:], fmt.Sprintf("%0*d", digits, n+shift))
	}
	for field, value := range r.Companion {
		text := []byte(value)
		if at, ok := times[field]; ok {
			for i := at.offset; i < len(text); i += at.period {
				move(text, i, at.digits)
			}
		}
		if field == "extensions" {
			move(text, 0, 16)
			for i := 16 + 36; i < len(text); i += 49 {
				move(text, i, 13)
			}
		}
		s.must(s.client.HSet(s.ctx, s.companionKey(), field, text).Err())
	}
	for _, text := range r.History {
		var event []string
		s.must(json.Unmarshal([]byte(text), &event))
		for _, i := range []int{1, 2, 6, 10, 11, 12} { // version, when, until when; and likewise of what was forced
			if i >= len(event) {
				break
			}
			if n, err := strconv.ParseInt(event[i], 10, 64); err != nil || n > 0 {
				s.must(err)
				event[i] = fmt.Sprint(n + shift)
			}
		}
		shifted, err := json.Marshal(event)
		s.must(err)
		s.must(s.client.RPush(s.ctx, s.historyKey(), shifted).Err())
	}
	s.must(s.client.Set(s.ctx, s.lockKey(), r.Held, 0).Err())
	s.must(s.client.PExpireAt(s.ctx, s.lockKey(), time.UnixMilli(r.Expires+shift)).Err())
}

// The newest golden file is what the scripts write.
func TestGoldenCompanionIsComplete(t *testing.T) {
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
	golden := s.load(newest)
	if got, want := slices.Sorted(maps.Keys(fresh.Companion)), slices.Sorted(maps.Keys(golden.Companion)); !slices.Equal(got, want) {
		t.Fatalf("the companion has the fields %v, the golden one %v", got, want)
	}
	if len(golden.History) != len(fresh.History) {
		t.Fatalf("the history is %v, the golden one %v", fresh.History, golden.History)
	}
}

func (s *stand) load(file string) (golden recording) {
	s.t.Helper()
	text, err := os.ReadFile(file)
	s.must(err)
	s.must(json.Unmarshal(text, &golden))
	return golden
}

// What an earlier version left in Redis is read by this one, to the last field.
func TestGoldenCompanion(t *testing.T) {
	t.Parallel()
	for _, file := range goldenFiles(t) {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			testGolden(s, s.load(file))
		})
	}
}

func testGolden(s *stand, golden recording) {
	s.tag = newTag()
	s.restore(golden)
	held := s.wantHeld(0)
	if held.Owner != (lock.Worker{ID: "93", Name: "MR(93)"}) || held.Note != "weld 3" {
		s.t.Fatalf("lock is %+v", held)
	}
	if got := held.ExpiresAt.Sub(held.AcquiredAt); got != time.Hour+time.Minute {
		s.t.Fatalf("the lock lasts %v, want an hour and a minute", got)
	}

	if golden.History != nil {
		testGoldenHistory(s, held, golden.Forced != "")
	}
	if golden.Forced != "" {
		testGoldenAuthority(s, golden)
	}
	first := s.command()
	first.Token = s.token(golden.Released)
	_, _, err := s.store.Take(s.ctx, first)
	var expired *lock.ExpiredError
	if !errors.As(err, &expired) || expired.Cause != lock.EndReleased {
		s.t.Fatalf("the released token got %v", err)
	}
	releaseID, err := lock.ParseRequestID(golden.ReleaseID)
	s.must(err)
	outcome, _, err := s.store.Release(s.ctx, lock.ReleaseCommand{Tag: s.tag, Token: first.Token, ID: releaseID})
	if err != nil || outcome != lock.OutcomeReleased {
		s.t.Fatalf("the same release got %s, %v", outcome, err)
	}
	s.wantRelease(first.Token, lock.OutcomeAlreadyReleased)

	extensionID, err := lock.ParseRequestID(golden.Extension)
	s.must(err)
	again, err := s.store.Extend(s.ctx, lock.ExtendCommand{
		Tag: s.tag, Token: s.token(golden.Held), By: time.Minute, MaxTTL: 12 * time.Hour, ID: extensionID,
	})
	if err != nil || again.ExpiresAt != held.ExpiresAt {
		s.t.Fatalf("the same extension got %+v, %v", again, err)
	}
	s.wantRelease(s.token(golden.Held), lock.OutcomeReleased)
	s.wantFree(held.Version)
}

// testGoldenHistory compares the events with what record did to the spool. Their times
// and versions differ from recording to recording, but for those that the lock has.
func testGoldenHistory(s *stand, held lock.Lock, forced bool) {
	s.t.Helper()
	history, err := s.store.History(s.ctx, s.tag)
	s.must(err)
	want := 4
	if forced {
		want = 7
	}
	if len(history) != want {
		s.t.Fatalf("history is %+v", history)
	}
	for len(history) < 7 { // so that those that are not there can be named below
		history = append(history, lock.Event{})
	}
	worker := lock.Worker{ID: "93", Name: "MR(93)"}
	for i, want := range []lock.Event{
		{Type: lock.EventExtended, Version: held.Version, At: history[0].At, ExpiresAt: held.ExpiresAt},
		{Type: lock.EventTaken, Version: held.Version, At: held.AcquiredAt, ExpiresAt: held.AcquiredAt.Add(time.Hour)},
		{Type: lock.EventReleased, Version: history[2].Version, At: history[2].At},
		{Type: lock.EventTaken, Version: history[3].Version, At: history[3].At, ExpiresAt: history[3].At.Add(time.Hour)},
		{Type: lock.EventForceReleased, Version: history[4].Version, At: history[4].At, Actor: "boss", Reason: "gone home"},
		{Type: lock.EventResumed, Version: history[5].Version, At: history[5].At, ExpiresAt: history[6].ExpiresAt},
		{Type: lock.EventTaken, Version: history[6].Version, At: history[6].At, ExpiresAt: history[6].At.Add(time.Hour)},
	}[:want] {
		want.Owner, want.Note = worker, "weld 3"
		if history[i] != want {
			s.t.Errorf("event %d is %+v, want %+v", i, history[i], want)
		}
		if i > 0 && (history[i].At.After(history[i-1].At) || history[i].Version > history[i-1].Version) {
			s.t.Errorf("event %d is newer than the one before: %+v", i, history)
		}
	}
}

// testGoldenAuthority sees that tokens that were superseded and forced out are told so,
// and that the forced release, sent again, is answered what it was.
func testGoldenAuthority(s *stand, golden recording) {
	s.t.Helper()
	s.wantRelease(s.token(golden.Superseded), lock.OutcomeSuperseded)
	s.wantRelease(s.token(golden.Forced), lock.OutcomeForceReleased)
	id, err := lock.ParseRequestID(golden.ForceID)
	s.must(err)
	history, err := s.store.History(s.ctx, s.tag)
	s.must(err)
	forced, err := s.store.ForceRelease(s.ctx, lock.ForceReleaseCommand{
		Tag: s.tag, Expected: history[5].Version, Actor: "boss", Reason: "gone home", ID: id,
	})
	released := forced.Released
	if err != nil || forced.Spool.Lock != nil || forced.Spool.Version != history[4].Version || released.Version != history[5].Version ||
		!released.ExpiresAt.Equal(history[5].ExpiresAt) || !released.AcquiredAt.Equal(history[6].At) || released.Owner != history[5].Owner {
		s.t.Fatalf("the same forced release got %+v, %v", forced, err)
	}
}
