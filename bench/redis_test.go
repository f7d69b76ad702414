//go:build bench

package bench_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

const (
	cycles     = 4    // in a row on each spool: extend, release, take
	fullSpools = 2000 // of a round; each has some 20 KB
	variants   = 8    // of a full spool, each a cycle further, as not each cycle writes to the history
)

// TestRedisTime prints the time that each script takes of Redis, as multiples of the bare
// ones: with what is remembered of a new spool, and with as much as is ever remembered.
func TestRedisTime(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		b := newBench(t)
		newScripts(b, connections).print(fmt.Sprintf("Time in Redis, %d at a time", connections))
	})
	t.Run("append-only file", func(t *testing.T) {
		// It is not rewritten meanwhile: that would be by chance.
		b := newBench(t, "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
		newScripts(b, connections).print(fmt.Sprintf("Time in Redis with an append-only file (everysec), %d at a time", connections))
	})
}

// scripts measures the scripts on one Redis.
type scripts struct {
	*bench
	goroutines int

	tags, tokens []string // of the round
	templates    []held   // of full spools

	sums       map[string]cost      // of the round, by step
	took, work map[string][]float64 // µs of a call, by step; a sample a round
}

// held is a spool, and the token that holds it.
type held struct{ tag, token string }

// cost is what calls took.
type cost struct{ calls, took, work float64 } // took: by INFO commandstats, work: by INFO cpu, in µs

func newScripts(b *bench, goroutines int) *scripts {
	return &scripts{bench: b, goroutines: goroutines, took: map[string][]float64{}, work: map[string][]float64{}}
}

const (
	bareTake    = "bare: SET NX"
	bareRefused = "bare: SET NX, refused, and GET"
	bareRelease = "bare: compare and delete"
	bareTwoKeys = "bare: SET NX and a second SET"
	full        = " (full)"
)

// rows are the steps in the order in which they are printed, each with the one that its time
// is divided by.
var rows = []struct{ name, by string }{
	{bareTake, ""}, {bareRefused, ""}, {bareRelease, ""}, {bareTwoKeys, bareTake},
	{"take, unknown", bareTake}, {"take, remembered", bareTake}, {"take, refused", bareRefused},
	{"read", bareRefused}, {"release", bareRelease}, {"extend", bareRelease},
}

// print runs all rounds, and prints what they took.
func (s *scripts) print(title string) {
	for range rounds {
		s.round()
	}
	fmt.Printf("%s\n\n", title)
	fmt.Println("| script | µs | divided by | ratio | with full lists: µs | ratio | to that with empty ones | CPU of Redis, µs | with full lists |\n|---|---|---|---|---|---|---|---|---|")
	for _, row := range rows {
		took, by := median(s.took[row.name]), ""
		line := fmt.Sprintf("| %s | %.1f |", row.name, took)
		bare := took
		if row.by != "" {
			by, bare = row.by, median(s.took[row.by])
			line += fmt.Sprintf(" %s | %.1f |", by, took/bare)
		} else {
			line += " | |"
		}
		if samples := s.took[row.name+full]; samples != nil {
			line += fmt.Sprintf(" %.1f | %.1f | %.2f | %.1f | %.1f |", median(samples), median(samples)/bare, median(samples)/took,
				median(s.work[row.name]), median(s.work[row.name+full]))
		} else {
			line += fmt.Sprintf(" | | | %.1f | |", median(s.work[row.name]))
		}
		fmt.Println(line)
	}
	fmt.Println()
}

// round measures every step once.
func (s *scripts) round() {
	s.sums = map[string]cost{}
	s.tags, s.tokens = nil, make([]string, calls)
	for range calls {
		s.tags = append(s.tags, s.fresh())
	}
	s.bare()
	s.measure("take, unknown", s.take)
	s.measure("take, refused", s.takeRefused)
	s.measure("read", s.read)
	for range cycles {
		s.measure("extend", s.extend)
		s.measure("release", s.release)
		s.measure("take, remembered", s.take)
	}
	s.flush()

	s.copyFull()
	s.measure("take, refused"+full, s.takeRefused)
	s.measure("read"+full, s.read)
	s.measure("extend"+full, s.extend)
	s.measure("release"+full, s.release)
	s.measure("take, remembered"+full, s.take)
	s.flush()

	for name, sum := range s.sums {
		s.took[name] = append(s.took[name], sum.took/sum.calls)
		s.work[name] = append(s.work[name], sum.work/sum.calls)
	}
}

// bare measures the scripts that the others are compared with.
func (s *scripts) bare() {
	const value = "93:8b6f5a1e-7c1d-4f5e-9a39-0d6f2f1b7c11"
	take := redis.NewScript(`if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return false end
return redis.call('GET', KEYS[1])`)
	release := redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)
	twoKeys := redis.NewScript(`redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
return redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[2])`)
	run := func(script *redis.Script, key string, args ...any) {
		keys := []string{"bare:" + key, "bare:{bare:" + key + "}"}
		if err := script.Run(s.t.Context(), s.client, keys, args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
			s.t.Error(err)
		}
	}
	s.measure(bareTake, func(i int) { run(take, s.tags[i], value, 3600) })
	s.measure(bareRefused, func(i int) { run(take, s.tags[i], value, 3600) })
	s.measure(bareRelease, func(i int) { run(release, s.tags[i], value) })
	s.measure(bareTwoKeys, func(i int) { run(twoKeys, "2"+s.tags[i], value, 3600, "MR(93) weld 3 of 5") })
}

func (s *scripts) take(i int) { s.tokens[i] = s.hold(s.tags[i], nil) }

// hold takes the spool and returns the token.
func (b *bench) hold(tag string, requestID *string) string {
	return must[lock.Taken](b)(b.service.Take(b.t.Context(), lock.TakeRequest{
		Tag: tag, WorkerID: "93", WorkerName: "MR(93)", Note: "weld 3 of 5", RequestID: requestID,
	})).Token.Reveal()
}

func (s *scripts) takeRefused(i int) {
	_, err := s.service.Take(s.t.Context(), lock.TakeRequest{Tag: s.tags[i], WorkerID: "93", WorkerName: "MR(93)", Note: "weld 3 of 5"})
	if !errors.As(err, new(*lock.OccupiedError)) {
		s.t.Error(err)
	}
}

func (s *scripts) read(i int) { must[lock.Spool](s.bench)(s.service.Spool(s.t.Context(), s.tags[i])) }

func (s *scripts) extend(i int) { s.prolong(s.tags[i], s.tokens[i], nil) }

func (b *bench) prolong(tag, token string, requestID *string) {
	must[lock.Lock](b)(b.service.Extend(b.t.Context(), lock.ExtendRequest{Tag: tag, Token: token, By: time.Minute, RequestID: requestID}))
}

func (s *scripts) release(i int) { s.letGo(s.tags[i], s.tokens[i]) }

func (b *bench) letGo(tag, token string) {
	released := must[lock.Released](b)(b.service.Release(b.t.Context(), lock.ReleaseRequest{Tag: tag, Token: token}))
	if released.Outcome != lock.OutcomeReleased {
		b.t.Errorf("%s: %s", tag, released.Outcome)
	}
}

// measure makes a call on each spool of the round.
func (s *scripts) measure(name string, call func(i int)) {
	if err := s.client.ConfigResetStat(s.t.Context()).Err(); err != nil {
		s.t.Fatal(err)
	}
	begun := s.cpu()
	var next atomic.Int64
	run(len(s.tags), s.goroutines, func() { call(int(next.Add(1) - 1)) })
	sum, n := s.sums[name], float64(len(s.tags))
	s.sums[name] = cost{sum.calls + n, sum.took + s.scriptTime()*n, sum.work + s.cpu() - begun}
}

// scriptTime is what a call of a script took since the statistics were reset, in µs.
func (b *bench) scriptTime() float64 {
	b.t.Helper()
	for line := range strings.Lines(must[string](b)(b.client.Info(b.t.Context(), "commandstats").Result())) {
		var n, total int64
		if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d,usec=%d,", &n, &total); err == nil {
			return float64(total) / float64(n)
		}
	}
	b.t.Fatal("no evalsha was called")
	return 0
}

// cpu is what the thread that serves Redis' clients has used so far, in µs.
func (b *bench) cpu() float64 {
	b.t.Helper()
	return (b.infoNumber("cpu", "used_cpu_sys_main_thread") + b.infoNumber("cpu", "used_cpu_user_main_thread")) * 1e6
}

// infoNumber is a number of INFO.
func (b *bench) infoNumber(section, name string) float64 {
	b.t.Helper()
	for line := range strings.Lines(must[string](b)(b.client.Info(b.t.Context(), section).Result())) {
		var n float64
		if _, err := fmt.Sscanf(line, name+":%f", &n); err == nil {
			return n
		}
	}
	b.t.Fatalf("INFO %s has no %s", section, name)
	return 0
}

func (s *scripts) flush() {
	if err := s.client.FlushAll(s.t.Context()).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// copyFull makes the spools of the round full ones that are held.
func (s *scripts) copyFull() {
	s.templates = nil
	for i := range variants {
		s.templates = append(s.templates, s.fullSpool(i))
	}
	s.tags, s.tokens = nil, nil
	for i := range fullSpools {
		s.tags = append(s.tags, s.fresh())
		s.tokens = append(s.tokens, s.templates[i%variants].token)
	}
	for i, template := range s.templates {
		var tags []string
		for j := i; j < fullSpools; j += variants {
			tags = append(tags, s.tags[j])
		}
		s.copySpool(template.tag, tags)
	}
}

// copySpool makes the spools what the one with the tag template is, in all its keys.
func (b *bench) copySpool(template string, tags []string) {
	keys := b.keysOf(template)
	for len(tags) > 0 {
		n := min(len(tags), 1000)
		_, err := b.client.Pipelined(b.t.Context(), func(pipe redis.Pipeliner) error {
			for _, tag := range tags[:n] {
				for _, key := range keys {
					pipe.Copy(b.t.Context(), key, strings.ReplaceAll(key, template, tag), 0, true)
				}
			}
			return nil
		})
		if err != nil {
			b.t.Fatal(err)
		}
		tags = tags[n:]
	}
}

func (b *bench) keysOf(tag string) []string {
	return must[[]string](b)(b.client.Keys(b.t.Context(), "*"+tag+"*").Result())
}

// fullSpool holds a spool of which as much is remembered as ever is: 256 tokens of clients'
// request ids, 64 other ones, 4 forced releases, 100 events, and 32 extensions of the lock.
// So many more cycles went before it.
func (b *bench) fullSpool(cycles int) held {
	tag := b.fresh()
	newID := func() *string {
		id := uuid.NewString()
		return &id
	}
	for range 256 {
		b.letGo(tag, b.hold(tag, newID()))
	}
	for range 4 {
		b.hold(tag, nil)
		b.force(tag)
	}
	for range 64 {
		b.letGo(tag, b.hold(tag, nil))
	}
	for range cycles {
		token := b.hold(tag, nil)
		b.prolong(tag, token, nil)
		b.letGo(tag, token)
	}
	token := b.hold(tag, nil)
	for range 16 {
		b.prolong(tag, token, newID())
		b.prolong(tag, token, nil)
	}
	return held{tag, token}
}

// force ends the lock of a spool.
func (b *bench) force(tag string) {
	admin := lock.Caller{Worker: lock.Worker{ID: "1", Name: "Admin"}, Role: lock.RoleAdmin}
	ctx := lock.WithCaller(b.t.Context(), admin)
	spool := must[lock.Spool](b)(b.service.Spool(ctx, tag))
	must[lock.Forced](b)(b.service.ForceRelease(ctx, lock.ForceReleaseRequest{
		Tag: tag, Reason: "left on the bench", ExpectedVersion: spool.Version,
	}))
}

// TestCommandTime prints what commands cost within a script: those that a spool in one
// string needs, and those of a spool in a hash.
func TestCommandTime(t *testing.T) {
	const repeated = 10 // in a script
	b := newBench(t)
	ctx := t.Context()
	for key, size := range map[string]int{"small": 700, "large": 7000} {
		if err := b.client.Set(ctx, key, strings.Repeat("x", size), time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	must[int64](b)(b.client.HSet(ctx, "hash", "a", 1, "b", 2, "c", 3, "d", 4, "e", 5, "f", "MR(93)", "g", "weld 3 of 5").Result())
	fmt.Println("| within a script | µs |\n|---|---|")
	empty := 0.0
	for _, command := range []struct{ name, lua string }{
		{"an empty script", ``},
		{"TIME", `redis.call('TIME')`},
		{"PEXPIRETIME", `redis.call('PEXPIRETIME', 'small')`},
		{"GETRANGE of 700 bytes", `redis.call('GETRANGE', 'small', '0', '8192')`},
		{"GETRANGE of 7,000 bytes", `redis.call('GETRANGE', 'large', '0', '8192')`},
		{"HMGET of 7 fields", `redis.call('HMGET', 'hash', 'a', 'b', 'c', 'd', 'e', 'f', 'g')`},
		{"PSETEX of 700 bytes", `redis.call('PSETEX', 'written', '3600000', ARGV[1])`},
		{"PSETEX of 7,000 bytes", `redis.call('PSETEX', 'written', '3600000', ARGV[2])`},
		{"HSET of 7 fields, PEXPIRE", `redis.call('HSET', 'hash', 'a', '1', 'b', '2', 'c', '3', 'd', '4', 'e', '5', 'f', 'MR(93)', 'g', 'weld 3 of 5')
redis.call('PEXPIRE', 'hash', '3600000')`},
		{"LPUSH, LTRIM to 100, PEXPIRE", `redis.call('LPUSH', 'list', 'an event of some hundred bytes, as JSON or as digits, which is about as long as this one is here')
redis.call('LTRIM', 'list', '0', '99')
redis.call('PEXPIRE', 'list', '3600000')`},
		{"PUBLISH to no subscriber", `redis.call('PUBLISH', 'channel', ARGV[1])`},
		{"a text of 700 bytes made of two", `local text = ARGV[1] .. i`},
		{"a text of 7,000 bytes made of two", `local text = ARGV[2] .. i`},
	} {
		script := redis.NewScript(fmt.Sprintf("for i = 1, %d do\n%s\nend", repeated, command.lua))
		var samples []float64
		for range rounds {
			if err := b.client.ConfigResetStat(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			run(calls, connections, func() {
				err := script.Run(ctx, b.client, nil, strings.Repeat("x", 700), strings.Repeat("x", 7000)).Err()
				if err != nil && !errors.Is(err, redis.Nil) {
					t.Error(err)
				}
			})
			samples = append(samples, b.scriptTime())
		}
		if took := median(samples); command.lua == "" {
			empty = took
			fmt.Printf("| %s | %.2f |\n", command.name, empty)
		} else {
			fmt.Printf("| %s | %.2f |\n", command.name, (took-empty)/repeated)
		}
	}
	fmt.Println()
}

// TestEmbeddedTime prints the time of an operation on the embedded server.
func TestEmbeddedTime(t *testing.T) {
	b := &bench{t: t, service: newService(t, "embedded://", 10*time.Second, 1)}
	const spools = 1000
	for _, goroutines := range []int{1, connections} {
		samples := map[string][]float64{}
		s := newScripts(b, goroutines)
		for range rounds {
			s.tags, s.tokens = nil, make([]string, spools)
			for range spools {
				s.tags = append(s.tags, b.fresh())
			}
			for _, step := range []struct {
				name string
				call func(int)
			}{
				{"take, unknown", s.take},
				{"take, refused", s.takeRefused},
				{"read", s.read},
				{"extend", s.extend},
				{"release", s.release},
				{"take, remembered", s.take},
			} {
				var next atomic.Int64
				took := run(spools, goroutines, func() { step.call(int(next.Add(1) - 1)) })
				samples[step.name] = append(samples[step.name], float64(took.Microseconds()))
			}
		}
		fmt.Printf("Time of an operation on the embedded server, %d at a time\n\n| operation | µs |\n|---|---|\n", goroutines)
		for _, row := range rows {
			if samples[row.name] != nil {
				fmt.Printf("| %s | %.0f |\n", row.name, median(samples[row.name]))
			}
		}
		fmt.Println()
	}
}
