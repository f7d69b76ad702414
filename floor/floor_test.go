package floor_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"spoollock/floor"
	"spoollock/floor/floortest"
	"spoollock/lock"
	"spoollock/lock/locktest"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is what one process of the service has: a pool of connections, and a
// view that is kept.
type process struct {
	t     *testing.T
	store locktest.OneAtATime
	redis *repository.Redis
	view  *floor.View
	log   *redistest.Log
}

// start starts a process on the Redis at url. Its rebuilds come only when something
// asks for them, unless interval says otherwise.
func start(t *testing.T, url string, interval time.Duration) *process {
	t.Helper()
	return startSeeing(t, url, interval, func(lock.Spool) {})
}

// startSeeing calls saw with each answer of Redis before the view gets it.
func startSeeing(t *testing.T, url string, interval time.Duration, saw func(lock.Spool)) *process {
	t.Helper()
	log := redistest.NewLog(t)
	view := floor.NewView()
	store := redistest.Open(t, url, log.Logger(), repository.Config{Timeout: 5 * time.Second, OnSpool: func(spool lock.Spool) {
		saw(spool)
		view.Apply(spool)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		floor.Run(ctx, view, store, floor.Config{RebuildInterval: interval, Timeout: 5 * time.Second}, log.Logger())
	}()
	t.Cleanup(func() {
		cancel()
		<-kept
	})
	return &process{t: t, store: locktest.OneAtATime{Store: store}, redis: store, view: view, log: log}
}

const seldom = time.Hour

func (p *process) awaitLive() {
	p.t.Helper()
	testwait.Until(p.t, "the view is live", func() bool { return p.view.Status().Live })
}

func (p *process) take(tag string, ttl time.Duration) (lock.Lock, lock.Token) {
	p.t.Helper()
	token := lock.NewToken("93", newID(p.t))
	taken, _, err := p.store.Take(testwait.Context(p.t), lock.TakeCommand{
		Tag: lock.Tag(tag), Owner: lock.Worker{ID: "93", Name: "MR(93)"}, TTL: ttl, Token: token,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return taken, token
}

func (p *process) release(tag string, token lock.Token) {
	p.t.Helper()
	outcome, _, err := p.store.Release(testwait.Context(p.t), lock.ReleaseCommand{Tag: lock.Tag(tag), Token: token, ID: newID(p.t)})
	if err != nil || outcome != lock.OutcomeReleased {
		p.t.Fatalf("release is %s, %v", outcome, err)
	}
}

func newID(t *testing.T) lock.RequestID {
	t.Helper()
	id, err := lock.NewRequestID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// listed are the tags that the view lists, with their owners.
func (p *process) listed() []string {
	p.t.Helper()
	var listed []string
	for after := lock.Tag(""); ; {
		page, err := p.view.List(floor.Filter{}, lock.MaxPage, after)
		if err != nil {
			return []string{err.Error()}
		}
		for _, l := range page.Locks {
			listed = append(listed, fmt.Sprintf("%s %s", l.Tag, l.Owner.ID))
			after = l.Tag
		}
		if !page.More {
			return listed
		}
	}
}

func (p *process) awaitListed(want ...string) {
	p.t.Helper()
	testwait.Until(p.t, fmt.Sprintf("the view lists %q", want), func() bool { return slices.Equal(p.listed(), want) })
}

// A process' own writes are in its view at once, other processes' shortly after.
func TestWritesReachEveryView(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL
	a, b := start(t, url, seldom), start(t, url, seldom)
	a.awaitLive()
	b.awaitLive()
	_, token := a.take("MK-2", time.Hour)
	if got := a.listed(); !slices.Equal(got, []string{"MK-2 93"}) {
		t.Fatalf("the view lists %q after its own take", got)
	}
	b.awaitListed("MK-2 93")
	b.take("MK-1", time.Hour)
	a.awaitListed("MK-1 93", "MK-2 93")
	a.release("MK-2", token)
	if got := a.listed(); !slices.Equal(got, []string{"MK-1 93"}) {
		t.Fatalf("the view lists %q after its own release", got)
	}
	b.awaitListed("MK-1 93")
}

// What was there before the process is found by its first rebuild.
func TestViewBeginsWithWhatThereIs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first := start(t, server.URL, seldom)
	var want []string
	for i := range 250 {
		tag := fmt.Sprintf("MK-%03d", i)
		first.take(tag, time.Hour)
		want = append(want, tag+" 93")
	}
	second := start(t, server.URL, seldom)
	second.awaitLive()
	if got := second.listed(); !slices.Equal(got, want) {
		t.Fatalf("the view lists %d locks, want %d", len(got), len(want))
	}
}

// A lapse is on the floor and in the history, once, at the time it happened, with
// three processes racing to tell.
func TestLapsesAreToldOnce(t *testing.T) {
	t.Parallel()
	const locks = 60
	server := redistest.Start(t)
	processes := []*process{start(t, server.URL, seldom), start(t, server.URL, seldom), start(t, server.URL, seldom)}
	for _, p := range processes {
		p.awaitLive()
	}
	taken := map[string]lock.Lock{}
	for i := range locks {
		tag := fmt.Sprintf("MK-%02d", i)
		taken[tag], _ = processes[i%3].take(tag, 100*time.Millisecond+time.Duration(i)*10*time.Millisecond)
	}
	for _, p := range processes {
		p.awaitListed()
	}
	// Read as it is in Redis: an operation would record what nobody had yet.
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	for tag, l := range taken {
		if kinds, err := floortest.Kinds(testwait.Context(t), client, tag); err != nil || kinds != "ET" {
			t.Fatalf("history of %s is %q, %v", tag, kinds, err)
		}
		events, err := processes[0].redis.History(testwait.Context(t), lock.HistoryCommand{Tag: lock.Tag(tag), Newest: lock.MaxEvents})
		if err != nil || len(events) != 2 || events[0].Type != lock.EventExpired || events[0].At != l.ExpiresAt {
			t.Fatalf("history of %s is %+v, %v after a lapse at %v", tag, events, err, l.ExpiresAt)
		}
	}
}

// editLine changes the LINE in the state of a spool.
func editLine(t *testing.T, client *redis.Client, tag string, edit func(string) string) {
	t.Helper()
	key := "spool_state2:{spool_lock:" + tag + "}"
	state, err := client.Get(testwait.Context(t), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	mark, rest, _ := strings.Cut(state[15:], "\n")
	line, rest, _ := strings.Cut(rest, "\n")
	if err := client.Set(testwait.Context(t), key, state[:15]+mark+"\n"+edit(line)+"\n"+rest, redis.KeepTTL).Err(); err != nil {
		t.Fatal(err)
	}
}

// An extension moves the time at which the store is asked.
func TestExtendedLockStays(t *testing.T) {
	t.Parallel()
	p := start(t, redistest.Start(t).URL, seldom)
	p.awaitLive()
	taken, token := p.take("MK-1", 300*time.Millisecond)
	if _, err := p.store.Extend(testwait.Context(t), lock.ExtendCommand{
		Tag: "MK-1", Token: token, By: 400 * time.Millisecond, MaxTTL: time.Hour, ID: newID(t),
	}); err != nil {
		t.Fatal(err)
	}
	p.awaitListed()
	events, err := p.redis.History(testwait.Context(t), lock.HistoryCommand{Tag: "MK-1", Newest: lock.MaxEvents})
	if want := taken.ExpiresAt.Add(400 * time.Millisecond); err != nil || len(events) != 3 || events[0].Type != lock.EventExpired || events[0].At != want {
		t.Fatalf("history is %+v, %v, want a lapse at %v", events, err, want)
	}
}

// What another program does is on the floor within a rebuild, its odd keys too.
func TestForeignLocksAreRebuilt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, 100*time.Millisecond)
	p.awaitLive()
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	set := func(tag, value string, ttl time.Duration) {
		if err := client.Set(ctx, "spool_lock:"+tag, value, ttl).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("MK-1", "94:"+uuid.NewString(), time.Hour)
	set("MK-2", "95:"+uuid.NewString()+":24-11-2026 08:00:00", 0)
	set("a{b}", "96:x", 0)
	set(" MK-1", "nobody", time.Hour)
	if err := client.HSet(ctx, "spool_lock:no-text", "a", "b").Err(); err != nil {
		t.Fatal(err)
	}
	p.awaitListed(" MK-1 unknown", "MK-1 94", "MK-2 95", "a{b} 96")
	if n := p.view.Status().Foreign; n != 2 {
		t.Fatalf("%d tags count as not canonical, want 2", n)
	}
	set("MK-1", "97:"+uuid.NewString(), time.Hour)
	set("a{b}", "98:x", 0)
	if err := client.Del(ctx, "spool_lock: MK-1", "spool_lock:MK-2").Err(); err != nil {
		t.Fatal(err)
	}
	p.awaitListed("MK-1 97", "a{b} 98")
	if err := client.Expire(ctx, "spool_lock:MK-1", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "a shortened lock is seen", func() bool {
		page, err := p.view.List(floor.Filter{}, 1, "")
		return err == nil && page.Locks[0].Remaining <= time.Minute
	})
}

// A key that is no string holds no lock, and the log does not speak of it at each rebuild.
func TestALockThatBecomesAList(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, 100*time.Millisecond)
	p.awaitLive()
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(client.Set(ctx, "spool_lock:MK-1", "94:x", time.Hour).Err())
	must(client.Set(ctx, "spool_lock:MK-2", "95:x", time.Hour).Err())
	p.awaitListed("MK-1 94", "MK-2 95")
	must(client.Del(ctx, "spool_lock:MK-2").Err())
	must(client.LPush(ctx, "spool_lock:MK-2", "95:x").Err())
	p.awaitListed("MK-1 94")
	must(client.Del(ctx, "spool_lock:MK-2").Err())
	must(client.Set(ctx, "spool_lock:MK-2", "96:x", time.Hour).Err())
	p.awaitListed("MK-1 94", "MK-2 96")
}

// A view that is cut off says so, and is true again when the feed is back.
func TestCutFeed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	other := start(t, server.URL, seldom)
	other.awaitLive()
	proxy := redistest.StartProxy(t, server.Addr, nil)
	p := start(t, proxy.URL, seldom)
	p.awaitLive()
	_, token := other.take("MK-1", time.Hour)
	p.awaitListed("MK-1 93")
	before := p.view.Status().AsOf

	proxy.Cut()
	other.release("MK-1", token)
	other.take("MK-2", time.Hour)
	testwait.Until(t, "the view is not live", func() bool { return !p.view.Status().Live })
	var unavailable *lock.UnavailableError
	if _, err := p.view.List(floor.Filter{}, 1, ""); !errors.As(err, &unavailable) || unavailable.Outcome != lock.NotApplied {
		t.Fatalf("a view that is not live lists, or says %v", err)
	}
	stood := p.view.Status().AsOf
	if stood.Before(before) {
		t.Fatal("the view's time went back")
	}
	proxy.Mend()
	p.awaitListed("MK-2 93")
	if !p.view.Status().AsOf.After(stood) {
		t.Fatal("the view's time stands still")
	}
	testwait.Until(t, "the log says so", func() bool { return strings.Contains(p.log.String(), "the view of the floor is live again") })
}

// A feed that never was connected is not said to be cut, nor its view to be live again.
func TestStartWithoutFeed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	p := start(t, server.URL, seldom)
	p.log.Find(t, "WARN.*the feed of the floor")
	server.Restart()
	p.log.Find(t, "INFO.*the view of the floor is live")
	for _, wrong := range []string{"is cut", "again"} {
		if strings.Contains(p.log.String(), wrong) {
			t.Errorf("%q is in the log:\n%s", wrong, p.log)
		}
	}
}

// A message that the feed left out is noticed by the next one about the same spool.
func TestGapAsksForARebuild(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, seldom)
	p.awaitLive()
	p.take("MK-1", time.Hour)
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	// Another program's take leaves no message; neither does a counter that jumps.
	if err := client.Set(ctx, "spool_lock:MK-9", "94:x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "its message came", func() bool { return p.view.Status().Rebuilds > 0 })
	editLine(t, client, "MK-1", func(line string) string { return line[:31] + "000000006" + line[40:] })
	other := start(t, server.URL, seldom)
	if err := client.Del(ctx, "spool_lock:MK-1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.store.Read(ctx, "MK-1"); err != nil {
		t.Fatal(err)
	}
	p.awaitListed("MK-9 94")
	if p.view.Status().Gaps != 1 {
		t.Fatalf("%d gaps were counted, want 1", p.view.Status().Gaps)
	}
}

// What others publish on the channel is counted, and changes nothing.
func TestOddMessages(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, seldom)
	p.awaitLive()
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	const key = "spool_lock:MK-1"
	const line = "T001795985280829001795985280829000000001001795985280829001795985280829"
	odd := []string{
		"", "x", "null", "[]", "\n", key, key + "\n", key + "\nT",
		"MK-1\nT001795985280829001795985280829000000001001795985280829001795985280829{}",
		"spool_lock:\nT001795985280829001795985280829000000001001795985280829001795985280829{}",
		key + "\nt001795985280829001795985280829000000001001795985280829001795985280829{}",
		key + "\nQ001795985280829001795985280829000000001001795985280829001795985280829{}",
		key + "\nT000000000000000001795985280829000000001001795985280829001795985280829{}",
		key + "\nT001795985280829000000000000000000000001001795985280829001795985280829{}",
		key + "\nT001795985280829            nan000000001001795985280829001795985280829{}",
		key + "\nT001795985280829-00000000000005000000001001795985280829001795985280829{}",
		key + "\nT001795985280829253402300800000000000001001795985280829001795985280829{}",
		key + "\nT001795985280829001795985280829-00000001001795985280829001795985280829{}",
		"\nB001795985280829000000000000000000000000000000000000000000000000000000000{}",
		"\nB999999999999999000000000000000000000000000000000000000000000000000000000{\"id\":\"x\"}",
		"\nB001795985280829000000000000000000000000000000000000000000000000000000000{\"id\":\"" + strings.Repeat("x", 1<<20) + "\"}",
		key + "\nT999999999999999001795985280829000000001001795985280829001795985280829{}",
		key + "\nT001795985280829001795985280829000000001999999999999999001795985280829{}",
		key + "\nT001795985280829001795985280829000000001            inf001795985280829{}",
		key + "\nT001795985280829001795985280829000000001001795985280829999999999999999{}",
		key + "\nT00179598528082900179598528082900000000109223372036854775807001795985280829{}",
		key + strings.Repeat("x", 256) + "\n" + line + "{}",
		"spool_lock: MK-1\n" + line + "{}",
		"spool_lock:{MK}-1\n" + line + "{}", // of which a Cluster could not be asked
		key + strings.Repeat("x", 1<<20) + "\n" + line + "{}",
		key + "\n" + line + `{"owner":"` + strings.Repeat("9", 769) + `"}`,
		key + "\n" + line + `{"name":"` + strings.Repeat("ñ", 101) + `"}`,
		key + "\n" + line + `{"note":"` + strings.Repeat("ñ", 141) + `"}`,
		key + "\n" + line + `{"note":"` + strings.Repeat("x", 2<<20) + `"}`,
		key + "\n" + line + `{"shift":"` + strings.Repeat("x", 1<<20) + `"}`,
		key + "\n" + line + `{"shift":` + strings.Repeat("[", 1<<20) + `}`,
		key + "\n" + line + strings.Repeat(" ", 1<<20) + "{}",
	}
	for i, message := range odd {
		if err := client.Publish(testwait.Context(t), "spool_floor2:0", message).Err(); err != nil {
			t.Fatal(err)
		}
		testwait.Until(t, fmt.Sprintf("%.120q is counted", message), func() bool { return p.redis.Stats().ForeignMessages == int64(i+1) })
	}
	if got := p.listed(); len(got) != 0 {
		t.Fatalf("the view lists %q", got)
	}
}

// However many follow it, the feed is one connection, and the pool stays as it is.
func TestOneConnectionForTheFeed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, seldom)
	p.awaitLive()
	for range 100 {
		subscription := p.view.Subscribe(floor.Filter{})
		defer subscription.Close()
		if _, err := subscription.Next(testwait.Context(t)); err != nil {
			t.Fatal(err)
		}
	}
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	followers, err := client.PubSubNumSub(testwait.Context(t), "spool_floor2:0").Result()
	if err != nil || !maps.Equal(followers, map[string]int64{"spool_floor2:0": 1}) {
		t.Fatalf("the channel is followed by %v, %v", followers, err)
	}
	if n := p.view.Status().Subscribers; n != 100 {
		t.Fatalf("%d subscribers are counted", n)
	}
}

// A Redis that comes back with nothing, or with older versions, is believed.
func TestRedisThatForgot(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, 100*time.Millisecond)
	p.awaitLive()
	p.take("MK-1", time.Hour)
	p.take("MK-2", time.Hour)
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	editLine(t, client, "MK-2", func(line string) string {
		return line[:16] + "000000000000007" + "000000000" + line[40:70] + `{"owner":"93","name":"XY"}`
	})
	if err := client.Del(ctx, "spool_lock:MK-1", "spool_state2:{spool_lock:MK-1}").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Expire(ctx, "spool_lock:MK-2", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	p.awaitListed("MK-2 93")
	testwait.Until(t, "the older version is listed", func() bool {
		page, err := p.view.List(floor.Filter{}, 1, "")
		return err == nil && page.Locks[0].Version == 7 && page.Locks[0].Owner.Name == "XY"
	})
}

// The first message about a spool that has a past is no gap.
func TestPastIsNoGap(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first := start(t, server.URL, seldom)
	first.awaitLive()
	for range 3 {
		_, token := first.take("MK-1", time.Hour)
		first.release("MK-1", token)
	}
	second := start(t, server.URL, seldom)
	second.awaitLive()
	first.take("MK-1", time.Hour)
	second.awaitListed("MK-1 93")
	if n := second.view.Status().Gaps; n != 0 {
		t.Fatalf("%d gaps are counted", n)
	}
}

// An extension that is sent again is answered as it was then. That is no news of
// the spool: it may have been extended since.
func TestReplayedExtensionIsNoNews(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	other := start(t, server.URL, seldom)
	_, token := other.take("MK-1", time.Hour)
	extension := lock.ExtendCommand{Tag: "MK-1", Token: token, By: time.Minute, MaxTTL: 12 * time.Hour, ID: newID(t)}
	first, err := other.store.Extend(testwait.Context(t), extension)
	if err != nil {
		t.Fatal(err)
	}
	second := extension
	second.ID = newID(t)
	extended, err := other.store.Extend(testwait.Context(t), second)
	if err != nil {
		t.Fatal(err)
	}

	view := floor.NewView()
	log := redistest.NewLog(t).Logger()
	store := redistest.Open(t, server.URL, log, repository.Config{Timeout: 5 * time.Second, OnSpool: view.Apply})
	again, err := locktest.OneAtATime{Store: store}.Extend(testwait.Context(t), extension)
	if err != nil || !again.ExpiresAt.Equal(first.ExpiresAt) {
		t.Fatalf("sent again, the extension is answered %v, %v, want %v", again.ExpiresAt, err, first.ExpiresAt)
	}
	ctx, cancel := context.WithCancel(context.Background())
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		floor.Run(ctx, view, store, floor.Config{RebuildInterval: seldom, Timeout: 5 * time.Second}, log)
	}()
	defer func() {
		cancel()
		<-kept
	}()
	testwait.Until(t, "the view is live", func() bool { return view.Status().Live })
	page, err := view.List(floor.Filter{}, 1, "")
	if err != nil || len(page.Locks) != 1 || !page.Locks[0].ExpiresAt.Equal(extended.ExpiresAt) {
		t.Fatalf("the view lists %+v, %v, want an expiry at %v", page.Locks, err, extended.ExpiresAt)
	}
}

// A full Redis does not number what another program changes; what it says is
// believed all the same.
func TestExpiryOnAFullRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, 100*time.Millisecond)
	p.awaitLive()
	p.take("MK-1", time.Hour)
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	if err := client.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Expire(ctx, "spool_lock:MK-1", 2*time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, "the new expiry is listed", func() bool {
		page, err := p.view.List(floor.Filter{}, 1, "")
		return err == nil && page.Locks[0].Remaining > time.Hour
	})
}

// A view that Redis does not let in says so, once.
func TestRefusedView(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]struct{ rule, command, want string }{
		"the feed":  {"resetchannels", "subscribe", "feed of the floor"},
		"the locks": {"-scan", "scan", "could not be rebuilt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			client := server.Client()
			defer client.Close() //nolint:errcheck // the test is over
			ctx := testwait.Context(t)
			if err := client.Do(ctx, "ACL", "SETUSER", "shut", "on", ">pw", "~*", "+@all", "allchannels", refused.rule).Err(); err != nil {
				t.Fatal(err)
			}
			view, log := floor.NewView(), redistest.NewLog(t)
			store := redistest.Open(t, "redis://shut:pw@"+server.Addr, log.Logger(), repository.Config{Timeout: 5 * time.Second, OnSpool: view.Apply})
			keeping, cancel := context.WithCancel(ctx)
			kept := make(chan struct{})
			go func() {
				defer close(kept)
				floor.Run(keeping, view, store, floor.Config{RebuildInterval: seldom, Timeout: 5 * time.Second}, log.Logger())
			}()
			defer func() {
				cancel()
				<-kept
			}()
			third := regexp.MustCompile(`rejected_calls=([3-9]|\d\d)`)
			testwait.Until(t, "it is refused three times", func() bool {
				stats, err := client.InfoMap(ctx, "commandstats").Result()
				return err == nil && third.MatchString(stats["Commandstats"]["cmdstat_"+refused.command])
			})
			if n := strings.Count(log.String(), refused.want); n != 1 {
				t.Fatalf("it is said %d times, want once:\n%s", n, log)
			}
		})
	}
}

// A lock whose key was made no text leaves the floor when it is due, and is not asked about over
// and over.
func TestSpoolThatCannotBeRead(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, seldom)
	p.awaitLive()
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	tag := ""
	for n, inTime := 0, int64(0); inTime == 0; n++ {
		tag = fmt.Sprintf("MK-%d", n)
		p.take(tag, 500*time.Millisecond)
		pipe := client.TxPipeline()
		deleted := pipe.Del(ctx, "spool_lock:"+tag)
		pipe.LPush(ctx, "spool_lock:"+tag, "x")
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		inTime = deleted.Val() // else the lock had lapsed before
	}
	p.log.Find(t, "is not a string.* tag="+tag)
	p.take("Z", time.Hour)
	p.awaitListed("Z 93")
	if n := strings.Count(p.log.String(), "tag="+tag); n != 1 {
		t.Fatalf("it was asked about %d times, want once", n)
	}
}

// Another program's lock without an expiry that is taken anew by the same worker is
// another lock, though nothing but its value tells.
func TestForeignLockWithoutExpiryIsTakenAnew(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, 100*time.Millisecond)
	p.awaitLive()
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	set := func(value string) {
		if err := client.Set(ctx, "spool_lock:MK-1", value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	version := func() lock.Version {
		page, err := p.view.List(floor.Filter{}, 1, "")
		if err != nil || len(page.Locks) == 0 {
			return 0
		}
		return page.Locks[0].Version
	}
	set("94:" + uuid.NewString())
	testwait.Until(t, "it is listed", func() bool { return version() > 0 })
	first := version()
	set("94:" + uuid.NewString())
	testwait.Until(t, "the next one is listed", func() bool { return version() > first })
}

// Tags that cannot be shown are left out.
func TestUnfitTags(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	ctx := testwait.Context(t)
	for _, tag := range []string{"", strings.Repeat("x", 257), strings.Repeat("x", 256)} {
		if err := client.Set(ctx, "spool_lock:"+tag, "94:x", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, server.URL, seldom)
	p.awaitLive()
	p.awaitListed(strings.Repeat("x", 256) + " 94")
	if page, err := p.view.List(floor.Filter{}, 1, ""); err != nil || page.Total != 1 {
		t.Fatalf("%d locks are counted, %v", page.Total, err)
	}
}

// What is released while the first rebuild asks about it does not come back with the
// answer.
func TestReleaseDuringTheFirstRebuild(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	other := start(t, server.URL, seldom)
	other.awaitLive()
	_, token := other.take("MK-1", time.Hour)
	asked, answered := make(chan struct{}), make(chan struct{})
	var first sync.Once
	p := startSeeing(t, server.URL, seldom, func(spool lock.Spool) {
		if spool.Tag == "MK-1" {
			first.Do(func() {
				close(asked)
				<-answered
			})
		}
	})
	<-asked
	other.release("MK-1", token)
	other.take("MK-2", time.Hour)
	testwait.Until(t, "the feed was heard", func() bool { return p.view.Status().Held == 1 })
	close(answered)
	p.awaitLive()
	if got := p.listed(); !slices.Equal(got, []string{"MK-2 93"}) {
		t.Fatalf("listed are %q", got)
	}
}

// A Redis that is back with what it had before a release is believed.
func TestRedisBackFromASnapshot(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := start(t, server.URL, time.Second)
	p.awaitLive()
	_, token := p.take("MK-1", time.Hour)
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	if err := client.Save(testwait.Context(t)).Err(); err != nil {
		t.Fatal(err)
	}
	p.release("MK-1", token)
	server.Kill()
	testwait.Until(t, "the view is stale", func() bool { return !p.view.Status().Live })
	server.Restart()
	p.awaitListed("MK-1 93")
}

// A view of a Cluster has what any of its masters keeps, and one that Sentinels watch
// goes on with the next master.
func TestForms(t *testing.T) {
	t.Parallel()
	sentinels, cluster := redistest.StartSentinels(t), redistest.StartCluster(t)
	for name, form := range map[string]struct {
		url      string
		failover func()
	}{
		"Sentinel": {sentinels.URL, func() { sentinels.Failover() }},
		"Cluster":  {cluster.URL, func() { cluster.Failover(cluster.Masters()[0]) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, other := start(t, form.url, seldom), start(t, form.url, seldom)
			held := 0
			takeSome := func() {
				t.Helper()
				for range 20 { // so many that each master has some
					testwait.Until(t, "a take", func() bool {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						_, _, err := other.store.Take(ctx, lock.TakeCommand{
							Tag: lock.Tag("MK-" + uuid.NewString()), Owner: lock.Worker{ID: "93"}, TTL: time.Hour, Token: lock.NewToken("93", newID(t)),
						})
						return err == nil
					})
					held++
				}
				testwait.Until(t, "the view is live, and has them", func() bool {
					status := p.view.Status()
					return status.Live && status.Held >= held
				})
			}
			takeSome()
			form.failover()
			takeSome()
		})
	}
}
