//go:build soak

// Package soak_test measures the live floor as it is deployed: the built program,
// a real Redis, many subscribers, faults, many locks. It fails where something is not
// right; times are printed beside what is aimed at.
package soak_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/floor/floortest"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// The sizes, each with its full measure.
var (
	subscribers = flag.Int("subscribers", 1000, "subscribers of TestSubscribers")
	many        = flag.Int("many", 5000, "subscribers of TestManySubscribers")
	rate        = flag.Int("rate", 50, "changes a second")
	loadTime    = flag.Duration("load", 2*time.Minute, "how long TestSubscribers changes spools")
	stepTime    = flag.Duration("step", 15*time.Second, "how long each comparison and each rate is measured")
	lapses      = flag.Int("lapses", 2000, "locks of TestLapses")
	otherKeys   = flag.Int("otherkeys", 100_000, "other keys in Redis in TestLapses")
	faults      = flag.Int("faults", 20, "faults of TestFaults")
	longFault   = flag.Duration("longfault", 30*time.Second, "the length of two of the faults")
	shortFault  = flag.Duration("shortfault", 4*time.Second, "the length of the other ones")
	silence     = flag.Duration("silence", time.Minute, "how long slow subscribers do not read")
	foreign     = flag.Int("foreign", 200, "locks of another program in TestForeignLocks")
	large       = flag.Int("large", 100_000, "locks of the large floors")
	huge        = flag.Int("huge", 1_000_000, "locks of the huge floor")
	reportFile  = flag.String("report", "", "where the report is kept if nothing failed")
)

var (
	binary string
	report strings.Builder // of the tests, which run one after the other
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system clears it, too
	if binary, err = servicetest.Build("..", dir); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Fprintf(&report, "# The live floor, measured\n\nPrinted and kept by `make soak`: the built program with its limits lifted, a real Redis,\n"+
		"the load and the subscribers all on one machine, so that whoever measures takes its\nshare of the cores. Times are by that machine's one clock.\n\n%s, %d cores, %s\n",
		runtime.Version(), runtime.NumCPU(), redisVersion())
	code := m.Run()
	fmt.Printf("\n%s\n", &report)
	if code == 0 && *reportFile != "" {
		if err := os.WriteFile(*reportFile, []byte(report.String()), 0o644); err != nil { //nolint:gosec // everybody may read it
			fmt.Println(err)
			return 1
		}
	}
	return code
}

func redisVersion() string {
	out, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return "no Redis"
	}
	fields := strings.Fields(string(out))
	return "Redis " + strings.TrimPrefix(fields[min(2, len(fields)-1)], "v=")
}

// scenario begins a section of the report. Its context ends at the deadline, and not
// before the cleanup.
func scenario(t *testing.T, title string, deadline time.Duration) context.Context {
	t.Helper()
	fmt.Fprintf(&report, "\n## %s\n\n", title)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func printf(format string, args ...any) { fmt.Fprintf(&report, format+"\n", args...) }

// progress says where the run is.
func progress(t *testing.T, format string, args ...any) {
	t.Helper()
	fmt.Printf("%s %s: %s\n", time.Now().Format(time.TimeOnly), t.Name(), fmt.Sprintf(format, args...))
}

// aim says whether a time is what is aimed at. It is no condition.
func aim(d, most time.Duration) string {
	if d <= most {
		return fmt.Sprintf("aim of %v met", most)
	}
	return fmt.Sprintf("aim of %v not met", most)
}

// during waits while something else goes on.
func during(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// service is the program under test.
type service struct{ *servicetest.Service }

// launch starts the program without limits on the Redis at redisURL, and stops it when the
// test ends. The environment is given as NAME=value.
func launch(t *testing.T, redisURL string, env ...string) *service {
	t.Helper()
	env = append(env, "REDIS_URL="+redisURL, "AUTH_MODE=none", "LIMITS=off")
	return &service{servicetest.Launch(t, redistest.NewLog(t), env, binary)}
}

func (s *service) post(ctx context.Context, query string, variables map[string]any, answer any) error {
	return servicetest.Post(ctx, s.URL, query, variables, answer)
}

// take takes a spool and answers the version of the change.
func (s *service) take(ctx context.Context, tag, note string, ttl time.Duration) (token string, version int64, err error) {
	var answer struct {
		TomarSpool struct {
			LockToken string
			Lock      struct{ Version int64 }
		}
	}
	err = s.post(ctx, `mutation($input:TomarSpoolInput!){tomarSpool(input:$input){lockToken lock{version}}}`, map[string]any{"input": map[string]any{
		"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)", "note": note, "ttlSeconds": int(ttl.Seconds()),
	}}, &answer)
	return answer.TomarSpool.LockToken, answer.TomarSpool.Lock.Version, err
}

// release releases a spool and answers the version of the change.
func (s *service) release(ctx context.Context, tag, token string) (version int64, err error) {
	var answer struct {
		ReleaseSpool struct {
			Released bool
			Spool    struct{ Version int64 }
		}
	}
	err = s.post(ctx, `mutation($input:ReleaseSpoolInput!){releaseSpool(input:$input){released spool{version}}}`,
		map[string]any{"input": map[string]any{"tagSpool": tag, "lockToken": token}}, &answer)
	if err == nil && !answer.ReleaseSpool.Released {
		err = fmt.Errorf("%s is not released", tag)
	}
	return answer.ReleaseSpool.Spool.Version, err
}

// load takes and releases spools at a steady rate.
type load struct {
	service *service
	prefix  string // of the tags
	rate    int    // changes a second
	keep    int    // how many each worker holds
	note    string // of the takes

	// changed, if it is set, is called with the version of each change.
	changed func(version int64)
}

// loaded is what became of a load.
type loaded struct {
	changes  int
	takes    []time.Duration
	failures []error
	lasted   time.Duration
}

// workers are fewer than the connections of the pool, so that no operation has to
// wait for another one's.
const workers = 3

// tagsOfWorker is how many spools a worker goes through before the first comes again.
const tagsOfWorker = 2000

// run changes spools until ctx is done, and what it has begun is answered.
func (l load) run(ctx context.Context) loaded {
	var result loaded
	var mu sync.Mutex
	begun := time.Now()
	due := make(chan struct{})
	var done sync.WaitGroup
	for worker := range workers {
		done.Go(func() {
			type holding struct{ tag, token string }
			var held []holding
			next := 0
			for range due {
				var version int64
				var err error
				took := time.Duration(0)
				if len(held) >= l.keep {
					version, err = l.service.release(context.WithoutCancel(ctx), held[0].tag, held[0].token)
					held = held[1:]
				} else {
					h := holding{tag: fmt.Sprintf("%s-%d-%05d", l.prefix, worker, next%tagsOfWorker)}
					next++
					sent := time.Now()
					h.token, version, err = l.service.take(context.WithoutCancel(ctx), h.tag, l.note, time.Hour)
					took = time.Since(sent)
					if err == nil {
						held = append(held, h)
					}
				}
				if err == nil && l.changed != nil {
					l.changed(version)
				}
				mu.Lock()
				switch {
				case err != nil:
					result.failures = append(result.failures, err)
				default:
					result.changes++
				}
				if err == nil && took > 0 {
					result.takes = append(result.takes, took)
				}
				mu.Unlock()
			}
		})
	}
	for i := 1; ctx.Err() == nil; i++ {
		select {
		case due <- struct{}{}:
		case <-ctx.Done():
		}
		during(ctx, time.Until(begun.Add(time.Duration(i)*time.Second/time.Duration(l.rate))))
	}
	close(due)
	done.Wait()
	result.lasted = time.Since(begun)
	return result
}

// start runs the load until stop is called, which returns what became of it.
func (l load) start(ctx context.Context) (stop func() loaded) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan loaded, 1)
	go func() { result <- l.run(ctx) }()
	return func() loaded {
		cancel()
		return <-result
	}
}

func (l loaded) check(t *testing.T) {
	t.Helper()
	if len(l.failures) > 0 {
		t.Errorf("%d of %d changes failed, the first with %v", len(l.failures), l.changes+len(l.failures), l.failures[0])
	}
}

func (l loaded) rate() float64 { return float64(l.changes) / l.lasted.Seconds() }

// percentile sorts in place. It is zero of nothing.
func percentile(samples []time.Duration, p float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(len(samples)-1, int(p*float64(len(samples))))].Round(100 * time.Microsecond)
}

const megabyte = 1 << 20

// follower is a subscriber that keeps its set, and connects anew when it is cut off.
type follower struct {
	service *service

	mu         sync.Mutex
	held       map[string]floortest.Held
	stale      bool
	connection int // how many there were
}

// follow starts n followers, and waits until they have their first messages. They
// end with ctx.
func follow(ctx context.Context, t *testing.T, s *service, n int) []*follower {
	t.Helper()
	followers := make([]*follower, n)
	var ended sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(func() {
		cancel()
		ended.Wait()
	})
	for i := range followers {
		f := &follower{service: s}
		followers[i] = f
		ended.Go(func() {
			for ctx.Err() == nil {
				f.connect(ctx)
				during(ctx, 20*time.Millisecond)
			}
		})
	}
	for _, f := range followers {
		testwait.Within(ctx, t, "a first message", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.held != nil
		})
	}
	return followers
}

// connect follows until the connection ends.
func (f *follower) connect(ctx context.Context) {
	c, err := floortest.Dial(ctx, f.service.URL)
	if err != nil {
		return
	}
	defer c.Close()
	for begun := false; ; begun = true {
		text, err := c.Receive(ctx)
		if err != nil {
			return
		}
		f.mu.Lock()
		update, err := c.Apply(text)
		f.held, f.stale = c.Held(), update.Stale || update.More
		if !begun {
			f.connection++
		}
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shows reports whether the follower has just these spools of those that begin with
// the prefix, and was not told that it is stale.
func (f *follower) shows(prefix string, want map[string]floortest.Held) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stale {
		return false
	}
	n := 0
	for tag, held := range f.held {
		if strings.HasPrefix(tag, prefix) {
			if want[tag] != held {
				return false
			}
			n++
		}
	}
	return n == len(want)
}

// converge waits until all followers show what Redis has, which nothing changes
// meanwhile, and returns how long after the given moment each of them did.
func converge(ctx context.Context, t *testing.T, followers []*follower, plain *redis.Client, prefix string, since time.Time) []time.Duration {
	t.Helper()
	truth := servicetest.Must[map[string]floortest.Held](t)(floortest.Truth(ctx, plain, prefix))
	took := make([]time.Duration, len(followers))
	testwait.Until(t, fmt.Sprintf("all show the %d spools that Redis has", len(truth)), func() bool {
		all := true
		for i, f := range followers {
			if took[i] != 0 {
				continue
			}
			if f.shows(prefix, truth) {
				took[i] = time.Since(since)
			} else {
				all = false
			}
		}
		return all
	})
	return took
}
