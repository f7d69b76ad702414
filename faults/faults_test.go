//go:build faults

package faults_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"spoollock/faults"
	"spoollock/floor/floortest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

var (
	runs       = flag.Int("runs", 100, "runs of TestRuns, over the set-ups in turn")
	seed       = flag.Int("seed", 1, "seed of the first run; the next ones count on")
	length     = flag.Duration("length", 15*time.Second, "how long each run loads and breaks its servers")
	steady     = flag.Duration("steady", 10*time.Minute, "how long TestSteady goes on")
	chosen     = flag.String("setups", "standalone,clock,sentinel,sentinel-ack2,sentinel-ack0,cluster,cluster-ack0", "the set-ups, with commas between")
	kept       = flag.String("kept", "", "a history that a run kept, to be judged again in the place of all tests")
	reportFile = flag.String("report", "", "where the report is kept if nothing failed")
)

var (
	binary, commit string
	crew           *callers
	report         strings.Builder // of the tests, which run one after the other
)

func TestMain(m *testing.M) {
	flag.Parse()
	redis.SetLogger(&logging.VoidLogger{}) // that servers are gone is what the tests are about
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *kept != "" {
		return judgeAgain(*kept)
	}
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system clears it, too
	if binary, err = servicetest.Build("..", dir); err != nil {
		fmt.Println(err)
		return 1
	}
	if crew, err = newCallers(dir); err != nil {
		fmt.Println(err)
		return 1
	}
	described, _ := exec.Command("git", "describe", "--always", "--dirty").Output()
	commit = cmp.Or(strings.TrimSpace(string(described)), "unknown")
	fmt.Fprintf(&report, "# The service under faults, measured\n\nPrinted and kept by `make faults`: the built program, three processes of it, real servers, and the\n"+
		"load all on one machine.\n\n%s, %d cores, commit %s, `-runs %d -length %v -steady %v -setups %s -seed %d`\n",
		runtime.Version(), runtime.NumCPU(), commit, *runs, *length, *steady, *chosen, *seed)
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

// scenario begins a section of the report. Its context ends at the deadline, and not
// before the cleanup.
func scenario(t *testing.T, deadline time.Duration) context.Context {
	t.Helper()
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

// checkTime is the most that the check of one spool may take; lossTime where many are
// expected to have lost something, which takes the longest to find out.
const checkTime, lossTime = 30 * time.Second, 3 * time.Second

// outcome is what became of a run.
type outcome struct {
	operations int
	faults     map[string]int
	faults.Verdict
	losses int
}

// TestRuns breaks each set-up under load, time and again, and has every history judged.
func TestRuns(t *testing.T) {
	names := strings.Split(*chosen, ",")
	printf("\n## Runs\n\n| set-up | seed | operations | faults | checked | not checked | violations | losses | late takes |\n|---|---|---|---|---|---|---|---|---|")
	var total outcome
	broken := map[string]int{}
	for i := range *runs {
		name, seed := names[i%len(names)], *seed+i
		t.Run(fmt.Sprintf("%s-%d", name, seed), func(t *testing.T) {
			o := runOnce(t, name, seed)
			n := 0
			for fault, times := range o.faults {
				n += times
				broken[fault] += times
			}
			line := fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d | %d |", name, seed, o.operations, n, o.Checked, len(o.Unchecked), len(o.Illegal)-o.losses, o.losses, o.Late)
			printf("%s", line)
			progress(t, "%s", line)
			total.operations += o.operations
			total.Checked += o.Checked
			total.Unchecked = append(total.Unchecked, o.Unchecked...)
			total.Illegal = append(total.Illegal, o.Illegal...)
			total.losses += o.losses
			total.Late += o.Late
		})
	}
	printf("\n%d runs of %v. %d operations, %d checked; the check of %d spools ran out of time. %d spools broke a promise,", *runs, *length,
		total.operations, total.Checked, len(total.Unchecked), len(total.Illegal)-total.losses)
	printf("%d lost a lock that they may lose. %d takes came late.\n\n| fault | times |\n|---|---|", total.losses, total.Late)
	for _, fault := range slices.Sorted(maps.Keys(broken)) {
		printf("| %s | %d |", fault, broken[fault])
	}
}

func runOnce(t *testing.T, name string, seed int) outcome {
	ctx := scenario(t, *length+5*time.Minute)
	dir := directory(t)
	log := servicetest.Must[*os.File](t)(os.Create(filepath.Join(dir, "services.log")))
	t.Cleanup(func() { _ = log.Close() }) // after the services

	random := seeded(seed, 0)
	s := setups[name](t, random)
	s.launch(ctx, t, random, log)
	c := newClient(s.services)
	d := newDriver(seed, c.carry, s.foreign, usual)
	n := &nemesis{breaks: s.breaks, random: random, log: log, struck: map[string]int{}}
	e := keep(t, dir, d, s.bounds, n)
	e.mayLose = s.mayLose
	stop := d.start(ctx)
	for end := time.Now().Add(*length); time.Now().Before(end) && ctx.Err() == nil; {
		n.strike(ctx)
	}
	o := outcome{operations: len(stop()), faults: n.struck}
	e.wantGrowing(s.mayLose)
	s.checkFloor(ctx, t) // while there are locks on it
	s.checkHistories(ctx, e, d)
	for _, odd := range c.odd[:min(len(c.odd), 10)] {
		t.Errorf("one of %d odd answers: %s", len(c.odd), odd)
	}
	o.Verdict = e.judge()
	if s.mayLose {
		o.losses = len(o.Illegal)
		return o
	}
	e.wantLegal(o.Verdict)
	e.wantChecked(o.Verdict)
	return o
}

// judgeAgain judges a history that a failed run has left, in the place of all tests.
func judgeAgain(path string) (status int) {
	file, err := os.Open(path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer file.Close() //nolint:errcheck // it was read
	bounds, history, err := faults.ReadFrom(file)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	verdict := bounds.Check(history, checkTime)
	fmt.Printf("%+v\n", verdict)
	if len(verdict.Illegal)+len(verdict.Unchecked) > 0 {
		return 1
	}
	return 0
}

// checkFloor waits until each process shows the locks that Redis has.
func (s *system) checkFloor(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, testwait.Patience)
	defer cancel()
	for _, service := range s.services {
		var shown, truth map[string]floortest.Held
		testwait.Within(ctx, t, "the floor is what Redis has", func() bool {
			var err error
			if shown, err = floorOf(ctx, service.URL); err != nil {
				return false
			}
			truth = map[string]floortest.Held{}
			for _, plain := range s.plain() {
				part, err := floortest.Truth(ctx, plain, "")
				if err != nil {
					return false
				}
				maps.Copy(truth, part)
			}
			return maps.Equal(shown, truth)
		})
	}
}

func floorOf(ctx context.Context, url string) (map[string]floortest.Held, error) {
	held := map[string]floortest.Held{}
	var after *string
	for {
		var data struct {
			SpoolLocks struct {
				Edges []struct {
					Node struct {
						TagSpool string
						floortest.Held
					}
				}
				PageInfo struct {
					HasNextPage bool
					EndCursor   *string
				}
			}
		}
		err := servicetest.PostAs(ctx, crew.admin, url, `query($after:String){spoolLocks(first:100,after:$after){edges{node{tagSpool ownerId version expiresAt}}pageInfo{hasNextPage endCursor}}}`,
			map[string]any{"after": after}, &data)
		if err != nil {
			return nil, err
		}
		for _, edge := range data.SpoolLocks.Edges {
			held[edge.Node.TagSpool] = edge.Node.Held
		}
		if after = data.SpoolLocks.PageInfo.EndCursor; !data.SpoolLocks.PageInfo.HasNextPage {
			return held, nil
		}
	}
}

// checkHistories compares what the service remembers of each spool with what was done.
func (s *system) checkHistories(ctx context.Context, e *evidence, d *driver) {
	e.t.Helper()
	done := map[string][]*faults.Operation{}
	for _, o := range d.history {
		done[o.Spool] = append(done[o.Spool], o)
	}
	for i, spool := range d.spools {
		var data struct {
			Spool struct {
				History struct {
					Edges []struct{ Node faults.Event }
				}
			}
		}
		err := servicetest.PostAs(ctx, crew.admin, s.services[i%len(s.services)].URL, `query($tag:ID!){spool(tagSpool:$tag){history(first:100){edges{node{type ownerId version}}}}}`,
			map[string]any{"tag": spool.tag}, &data)
		if err != nil {
			e.t.Error(err)
			return
		}
		var events []faults.Event
		for _, edge := range data.Spool.History.Edges {
			events = append(events, edge.Node)
		}
		for _, difference := range faults.CheckEvents(events, done[spool.tag]) {
			e.t.Errorf("%s: %s", spool.tag, difference)
			e.about(spool.tag)
		}
	}
}
