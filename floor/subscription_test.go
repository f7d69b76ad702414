package floor

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"spoollock/lock"
)

// client keeps a set of spools by the rule of the schema, and nothing else.
type client struct {
	spools   map[lock.Tag]lock.Spool
	building bool // between the first and the last part of a snapshot
}

func (c *client) take(t *testing.T, update *Update) {
	t.Helper()
	if len(update.Changed) > MaxUpdateSpools || update.More && !c.building && !update.Snapshot {
		t.Fatalf("a message has %d spools, more %t, snapshot %t", len(update.Changed), update.More, update.Snapshot)
	}
	if update.Snapshot {
		c.spools = map[lock.Tag]lock.Spool{}
	}
	c.building = update.More
	for _, spool := range update.Changed {
		if had, ok := c.spools[spool.Tag]; ok && ignored(spool, had) {
			continue
		}
		c.spools[spool.Tag] = spool
	}
	for _, tag := range update.Gone {
		delete(c.spools, tag)
	}
}

// ignored is the rule of the schema: a lower version; or the same one, and an earlier
// expiry.
func ignored(a, b lock.Spool) bool {
	if a.Version != b.Version || a.Lock == nil || b.Lock == nil {
		return a.Version < b.Version
	}
	return a.Lock.ExpiresAt.Before(b.Lock.ExpiresAt)
}

func (c *client) held() map[lock.Tag]string {
	held := map[lock.Tag]string{}
	for tag, spool := range c.spools {
		if spool.Lock != nil {
			held[tag] = describe(*spool.Lock)
		}
	}
	return held
}

func describe(l lock.Lock) string {
	return fmt.Sprintf("%s@%d until %d", l.Owner.ID, l.Version, l.ExpiresAt.UnixMilli())
}

// world is a store that changes at random, and everything that it ever said.
type world struct {
	random  *rand.Rand
	tags    []lock.Tag
	spools  map[lock.Tag]lock.Spool
	said    []lock.Spool
	version lock.Version
}

func newWorld(seed uint64, tags int) *world {
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a test that can be repeated
	w := &world{random: random, spools: map[lock.Tag]lock.Spool{}, version: 1}
	for i := range tags {
		tag := lock.Tag(fmt.Sprintf("%c-%02d", 'A'+i%3, i))
		w.tags = append(w.tags, tag)
		w.spools[tag] = lock.Spool{Tag: tag}
	}
	return w
}

// change changes one spool: a take, an extension, a resume, or a release. Whoever says
// so may know the token.
func (w *world) change() lock.Spool {
	spool := w.spools[w.tags[w.random.IntN(len(w.tags))]]
	spool.Change++
	if spool.Lock != nil && w.random.IntN(3) == 0 {
		extended := *spool.Lock
		extended.ExpiresAt = extended.ExpiresAt.Add(time.Second)
		spool.Lock = &extended
	} else {
		w.version += 1 + lock.Version(w.random.IntN(3))
		spool.Version, spool.Fingerprint = w.version, uint64(w.version) //nolint:gosec // it is positive
		if spool.Lock != nil && w.random.IntN(4) == 0 {
			resumed := *spool.Lock
			resumed.Version = spool.Version
			spool.Lock = &resumed
		} else if spool.Lock != nil && w.random.IntN(4) > 0 {
			spool.Lock, spool.Fingerprint = nil, 0
		} else {
			// Also where it is held: its end was never said.
			spool.Lock = &lock.Lock{
				Tag: spool.Tag, Version: spool.Version, Remaining: time.Hour,
				Owner:     lock.Worker{ID: lock.WorkerID(fmt.Sprint(w.random.IntN(3)))},
				ExpiresAt: time.UnixMilli(int64(w.version) * 1000),
			}
		}
	}
	w.spools[spool.Tag] = spool
	if w.random.IntN(2) == 0 {
		spool.Fingerprint = 0
	}
	w.said = append(w.said, spool)
	return spool
}

func (w *world) held(f Filter) map[lock.Tag]string {
	held := map[lock.Tag]string{}
	for tag, spool := range w.spools {
		if spool.Lock != nil && f.matches(tag, spool.Lock.Owner.ID) {
			held[tag] = describe(*spool.Lock)
		}
	}
	return held
}

// beat has a beat come back at once, which was sent when the store's clock showed at.
func (v *View) beat(sent, at time.Time) {
	v.beatReturned(sent, map[string]Clock{"": {At: at, Received: sent}})
}

// makeLive makes the view live, as a feed and a rebuild would.
func (v *View) makeLive() {
	v.beat(time.Now().Add(time.Hour), time.Now()) // for longer than any test
	v.subscribed()
	v.finishRebuild(0, v.beginRebuild())
}

// Whatever the order in which a view learns, whatever it misses until a rebuild,
// and however slow its subscribers are: each of them ends up with the truth, and
// none is ever told that something older is the present.
func TestSubscribersConverge(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			converge(t, seed)
		})
	}
}

func converge(t *testing.T, seed uint64) {
	w := newWorld(seed, 20+int(seed%3)*600)
	v := NewView()
	defer v.stop()
	owner, prefix := "1", "B"
	var filters []Filter
	for _, request := range []FilterRequest{
		{}, {OwnerID: &owner}, {TagPrefix: &prefix}, {Tags: []string{"A-00", "B-01", "C-02"}}, {OwnerID: &owner, TagPrefix: &prefix},
	} {
		f, err := ParseFilter(lock.TagParser{}, request)
		if err != nil {
			t.Fatal(err)
		}
		filters = append(filters, f, f) // two subscribers that share what they are told
	}
	clients := make([]client, len(filters))
	subscriptions := make([]*Subscription, len(filters))
	for i, f := range filters {
		subscriptions[i] = v.Subscribe(f)
		defer subscriptions[i].Close()
	}
	newest := make([]map[lock.Tag]lock.Version, len(filters)) // what each client was told
	for i := range newest {
		newest[i] = map[lock.Tag]lock.Version{}
	}
	read := func(i int) bool {
		update, worth, _ := subscriptions[i].collect()
		if !worth {
			return false
		}
		for _, spool := range update.Changed {
			if spool.Version < newest[i][spool.Tag] {
				t.Fatalf("subscriber %d is told version %d of %s after %d", i, spool.Version, spool.Tag, newest[i][spool.Tag])
			}
			newest[i][spool.Tag] = spool.Version
		}
		clients[i].take(t, update)
		return true
	}

	for range 3000 {
		switch r := w.random.IntN(20); {
		case r < 10: // learned in order
			v.Apply(w.change())
		case r < 12: // never said: until a rebuild nobody knows
			w.change()
		case r < 16 && len(w.said) > 0: // said again, or late
			v.Apply(w.said[max(0, len(w.said)-1-w.random.IntN(40))])
		case r == 16:
			v.disconnected()
			w.rebuild(v, func() {})
			v.makeLive()
		default: // a subscriber reads; the last is slow
			if i := w.random.IntN(len(filters)); i < len(filters)-1 || w.random.IntN(50) == 0 {
				read(i)
			}
		}
	}
	w.rebuild(v, func() {})
	v.makeLive()
	for i, f := range filters {
		for read(i) { //nolint:revive // until there is nothing more
		}
		if got, want := clients[i].held(), w.held(f); !maps.Equal(got, want) {
			t.Fatalf("subscriber %d has %d spools, want %d:\n%v\n%v", i, len(got), len(want), got, want)
		}
		page, err := v.List(f, lock.MaxPage, "")
		if err != nil || page.Total != len(w.held(f)) {
			t.Fatalf("the view counts %d, %v; want %d", page.Total, err, len(w.held(f)))
		}
	}
}

// rebuild does what Run does, with this world as the store. Between what it asks
// and what it does with the answer, it calls meanwhile.
func (w *world) rebuild(v *View, meanwhile func()) {
	ask := func(tags []lock.Tag) {
		var answers []lock.Spool
		for _, tag := range tags {
			answers = append(answers, w.spools[tag])
		}
		meanwhile()
		for _, spool := range answers {
			v.Apply(spool)
		}
	}
	generation := v.beginRebuild().generation
	var found []Found
	for _, spool := range w.spools {
		if l := spool.Lock; l != nil {
			found = append(found, Found{
				Tag: l.Tag, Owner: l.Owner.ID, Fingerprint: spool.Fingerprint, ExpiresAt: l.ExpiresAt, Remaining: time.Hour,
			})
		}
	}
	meanwhile()
	ask(v.compare(found))
	unseen, _, _ := v.unconfirmed(generation, "")
	ask(unseen)
}

// What changes while a view is rebuilt, and is said, is in it afterwards.
func TestRebuildBesideChanges(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		w := newWorld(seed, 60)
		v := NewView()
		defer v.stop()
		for range 100 {
			w.change() // before anybody listened
		}
		for range 20 {
			w.rebuild(v, func() {
				for range w.random.IntN(30) {
					v.Apply(w.change())
				}
			})
			v.makeLive()
			page, err := v.List(Filter{}, lock.MaxPage, "")
			if err != nil {
				t.Fatal(err)
			}
			got := map[lock.Tag]string{}
			for _, l := range page.Locks {
				got[l.Tag] = describe(l)
			}
			if want := w.held(Filter{}); !maps.Equal(got, want) {
				t.Fatalf("seed %d: the view has\n%v, want\n%v", seed, got, want)
			}
		}
	}
}

// An answer from before a rebuild is no look of it: what it is about may be gone.
func TestLateAnswerIsNoLook(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	v.Apply(take("A", 5))
	begun := v.beginRebuild()
	v.compare(nil) // it was released while nobody listened
	l := v.held["A"].lockAt(0)
	v.Apply(lock.Spool{Tag: "A", Version: 5, Change: 1, Lock: &l})
	if tags, _, _ := v.unconfirmed(begun.generation, ""); len(tags) != 1 {
		t.Fatalf("the store is asked about %v", tags)
	}
}

// A message that lay in the socket while the process was stopped does not put off when
// the store is asked about the lapse, whether its lock is known already or not.
func TestMessageThatLay(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			v := NewView()
			defer v.stop()
			v.subscribed()
			v.beat(time.Now(), time.Now())
			v.finishRebuild(0, v.beginRebuild())
			taken := time.Now() // on the store's clock, which is this one
			spool := func() lock.Spool {
				spool := take("A", 5)
				spool.Lock.ExpiresAt, spool.Lock.Remaining = taken.Add(10*time.Second), 10*time.Second
				return spool
			}
			if known {
				v.Apply(spool())
			}
			time.Sleep(8 * time.Second)
			v.applyMessage(Message{At: taken, Spool: spool()})
			time.Sleep(2100 * time.Millisecond)
			if tags := v.takeDue(10); len(tags) != 1 {
				t.Errorf("known %t: the lapse is not due", known)
			}
		})
	}
}

// A message of what this process did is known; one of anything else is not.
func TestKnownStates(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	v.makeLive()
	spool := func(version lock.Version, change int64, expires time.Time) lock.Spool {
		spool := take("A", version)
		spool.Change, spool.Lock.ExpiresAt = change, expires
		return spool
	}
	expires := time.Now().Add(time.Hour)
	if v.knows(spool(5, 1, expires)) {
		t.Error("a spool that was never seen is known")
	}
	v.Apply(spool(5, 1, expires))
	if !v.knows(spool(5, 1, expires.UTC())) {
		t.Error("the state that was applied is not known")
	}
	for name, other := range map[string]lock.Spool{
		"version": spool(6, 1, expires), "change": spool(5, 2, expires),
		"expiry": spool(5, 1, expires.Add(time.Millisecond)), "end": spool(5, 1, time.Time{}),
	} {
		if v.knows(other) {
			t.Errorf("one with another %s is known", name)
		}
	}
	known := func(change int64) Message {
		return Message{Known: true, Spool: lock.Spool{Tag: "A", Version: 5, Change: change, Lock: &lock.Lock{}}}
	}
	if v.applyMessage(known(1)) || !v.applyMessage(known(3)) {
		t.Error("a gap before a known state is not noticed")
	}
	if e := v.held["A"]; e.owner.Value().ID == "" {
		t.Error("a known state has taken away the owner")
	}
}

// A rebuild that finds a lock as it is known sees when it lapses.
func TestRebuildMendsWhatIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := NewView()
		defer v.stop()
		spool := take("A", 5)
		expires := time.Now().Add(2 * time.Second)
		spool.Lock.ExpiresAt, spool.Lock.Remaining = expires, 10*time.Second
		v.Apply(spool)
		v.compare([]Found{{Tag: "A", Owner: "93", Fingerprint: 5, ExpiresAt: expires, Remaining: 2 * time.Second}})
		time.Sleep(2100 * time.Millisecond)
		if len(v.takeDue(10)) != 1 {
			t.Error("it is not due")
		}
	})
}

// A rebuild that began before a gap cannot vouch for what the gap left out.
func TestGapDuringARebuild(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	v.makeLive()
	v.applyMessage(Message{Spool: lock.Spool{Tag: "A", Version: 5, Change: 1}})
	begun := v.beginRebuild()
	if gap := v.applyMessage(Message{Spool: lock.Spool{Tag: "A", Version: 6, Change: 3}}); !gap {
		t.Fatal("a message is left out, and there is no gap")
	}
	if complete := v.finishRebuild(0, begun); complete || v.Status().Live {
		t.Fatal("the view is live")
	}
}

// What another program does right behind a rebuild is found within the interval.
func TestPauseBetweenRebuilds(t *testing.T) {
	t.Parallel()
	for range 1000 {
		interval := time.Second + jitter(time.Minute)
		k := runner{config: Config{RebuildInterval: interval}}
		took := jitter(interval / 4)
		since := took + interval/4
		if pause := k.untilNextRebuild(since, took); pause < 0 || since+pause+took > interval*9/10+1 {
			t.Fatalf("after a rebuild that took %v, %v since it began, the pause is %v of %v", took, since, pause, interval)
		}
	}
}

func take(tag lock.Tag, version lock.Version) lock.Spool {
	fingerprint := uint64(version) //nolint:gosec // it is positive
	return lock.Spool{Tag: tag, Version: version, Change: 1, Fingerprint: fingerprint, Lock: &lock.Lock{
		Tag: tag, Version: version, Owner: lock.Worker{ID: "93"}, Remaining: time.Hour, ExpiresAt: time.Now().Add(time.Hour),
	}}
}

func next(t *testing.T, s *Subscription) *Update {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	update, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return update
}

// A snapshot comes at once, in parts of at most 500, and then changes.
func TestSnapshotInParts(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	v.makeLive()
	for i := range 1001 {
		v.Apply(take(lock.Tag(fmt.Sprintf("MK-%04d", i)), 5))
	}
	s := v.Subscribe(Filter{})
	defer s.Close()
	for i, want := range []struct {
		snapshot, more bool
		spools         int
	}{{true, true, 500}, {false, true, 500}, {false, false, 1}} {
		update := next(t, s)
		if update.Snapshot != want.snapshot || update.More != want.more || len(update.Changed) != want.spools || update.Stale || update.AsOf.IsZero() {
			t.Fatalf("part %d is snapshot %t, more %t, %d spools, stale %t", i, update.Snapshot, update.More, len(update.Changed), update.Stale)
		}
	}
	v.Apply(lock.Spool{Tag: "MK-0007", Version: 6, Change: 2})
	update := next(t, s)
	if update.Snapshot || len(update.Changed) != 1 || update.Changed[0].Version != 6 || update.Changed[0].Lock != nil || !slices.Equal(update.Gone, []lock.Tag{"MK-0007"}) {
		t.Fatalf("the change is %+v", update)
	}
}

// Nothing to say is said every three seconds, and at once that the view is stale.
func TestHeartbeatAndStaleness(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	s := v.Subscribe(Filter{})
	defer s.Close()
	if first := next(t, s); !first.Snapshot || !first.Stale || !first.AsOf.IsZero() {
		t.Fatalf("a view that knows nothing says %+v", first)
	}
	begun := time.Now() // before the second is told, so that no pause of the machine counts
	v.makeLive()
	if second := next(t, s); !second.Snapshot || second.Stale {
		t.Fatalf("a view that became live says %+v", second)
	}
	if third := next(t, s); third.Snapshot || len(third.Changed)+len(third.Gone) > 0 || time.Since(begun) < heartbeat/2 {
		t.Fatalf("after %v comes %+v", time.Since(begun), third)
	}
	v.makeLive()
	for next(t, s).Stale { //nolint:revive // until it is live again
	}
	v.disconnected()
	if last := next(t, s); !last.Stale {
		t.Fatalf("a view that was cut off says %+v", last)
	}
}

// A process that was paused for longer than a beat lasts begins anew, though the next
// beat is the first thing that it sees.
func TestPause(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	v.makeLive()
	s := v.Subscribe(Filter{})
	defer s.Close()
	if first := next(t, s); !first.Snapshot || first.Stale {
		t.Fatalf("the first message is %+v", first)
	}
	v.mu.Lock()
	v.beatSent = time.Now().Add(-freshness) // as if so much time had passed
	v.mu.Unlock()
	v.beat(time.Now().Add(time.Hour), time.Now())
	if after := next(t, s); !after.Snapshot || after.Stale {
		t.Fatalf("after the pause comes %+v", after)
	}
}

// A subscriber that is further behind than the log begins anew.
func TestTooSlowSubscriber(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	v.makeLive()
	s := v.Subscribe(Filter{})
	defer s.Close()
	next(t, s)
	for i := range logLength + 1 {
		v.Apply(take("MK-1", lock.Version(i+1)))
	}
	update := next(t, s)
	if !update.Snapshot || len(update.Changed) != 1 || update.Changed[0].Version != logLength+1 {
		t.Fatalf("the message is %+v", update)
	}
	if n := v.Status().Snapshots; n != 1 {
		t.Fatalf("%d snapshots are counted", n)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	text := func(n int) *string { s := string(slices.Repeat([]byte("x"), n)); return &s }
	for name, request := range map[string]FilterRequest{
		"owner":     {OwnerID: text(0)},
		"owner id":  {OwnerID: text(257)},
		"prefix":    {TagPrefix: text(65)},
		"no tags":   {Tags: []string{}},
		"many tags": {Tags: make([]string, 101)},
		"no tag":    {Tags: []string{"a{b}"}},
	} {
		if _, err := ParseFilter(lock.TagParser{}, request); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f, err := ParseFilter(lock.TagParser{UpperCase: true}, FilterRequest{TagPrefix: ptr("mk-"), Tags: []string{"mk-2", " MK-1", "mk-1"}})
	if err != nil || f.prefix != "MK-" || !slices.Equal(f.tags, []lock.Tag{"MK-1", "MK-2"}) {
		t.Fatalf("filter is %+v, %v", f, err)
	}
}

func ptr(s string) *string { return &s }

// A store that lost what it said is believed by the subscribers, too, though they
// ignore what is older than what they have.
func TestSubscriberOfAStoreThatForgot(t *testing.T) {
	v := NewView()
	v.makeLive()
	said := lock.Spool{Tag: "A", Version: 9, Change: 2, Lock: &lock.Lock{
		Tag: "A", Version: 9, Owner: lock.Worker{ID: "93"}, ExpiresAt: time.UnixMilli(9000), Remaining: time.Hour,
	}}
	v.Apply(said)
	subscription, follower := v.Subscribe(Filter{}), client{}
	defer subscription.Close()
	next := func() {
		update, err := subscription.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		follower.take(t, update)
	}
	next()

	// Another program can shorten a lock.
	l := *said.Lock
	l.ExpiresAt = time.UnixMilli(8000)
	v.Apply(lock.Spool{Tag: "A", Version: 9, Change: 3, Lock: &l})
	next()
	if want := map[lock.Tag]string{"A": describe(l)}; !maps.Equal(follower.held(), want) {
		t.Fatalf("the subscriber has %v, want %v", follower.held(), want)
	}

	l.Version, l.Owner.ID = 7, "94"
	v.reconcile(v.viewed([]lock.Tag{"A"}), []lock.Result[lock.Spool]{{Value: lock.Spool{Tag: "A", Version: 7, Change: 1, Lock: &l}}})
	next()
	if want := map[lock.Tag]string{"A": describe(l)}; !maps.Equal(follower.held(), want) {
		t.Fatalf("the subscriber has %v, want %v", follower.held(), want)
	}
}
