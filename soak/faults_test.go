//go:build soak

package soak_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"spoollock/floor/floortest"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// returnAim is how soon all is to be right again.
const returnAim = 3 * time.Second

// TestFaults breaks the feed under load, time and again.
func TestFaults(t *testing.T) {
	ctx := scenario(t, "A feed that is cut", time.Duration(*faults)*(*shortFault+20*time.Second)+2*(*longFault)+2*time.Minute)
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	proxy := redistest.StartProxy(t, server.Addr, nil)
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // the test is over
	// What breaks is between this one and Redis; the other one makes the changes.
	s, other := launch(t, proxy.URL), launch(t, server.URL)
	testwait.Live(ctx, t, s.URL)
	testwait.Live(ctx, t, other.URL)
	const many = 50
	followers := follow(ctx, t, s, many)
	stop := load{service: other, prefix: "L", rate: *rate, keep: 50}.start(ctx)

	kinds := []struct {
		name         string
		begin, again func()
	}{
		{"the connections to Redis are cut", proxy.Cut, proxy.Mend},
		{"Redis is killed, and started again", server.Kill, server.Restart},
		{"the process is stopped (SIGSTOP)", func() { s.Signal(syscall.SIGSTOP) }, func() { s.Signal(syscall.SIGCONT) }},
	}
	took := make([][]time.Duration, len(kinds))
	slowest := make([][]time.Duration, len(kinds))
	for i := range *faults {
		kind := i % len(kinds)
		length := *shortFault
		if kinds[kind].name == kinds[2].name && i < 2*len(kinds) {
			length = *longFault
		}
		prefix := fmt.Sprintf("K%02d", i)
		all := broken(ctx, t, other, server, followers, prefix, length, kind == 1, kinds[kind].begin, kinds[kind].again)
		took[kind] = append(took[kind], all...)
		slowest[kind] = append(slowest[kind], percentile(all, 1))
		progress(t, "%d of %d, %s for %v: right again after %v", i+1, *faults, kinds[kind].name, length, percentile(all, 1))
	}
	result := stop()
	converge(ctx, t, followers, plain, "", time.Now())
	again := 0
	for _, f := range followers {
		f.mu.Lock()
		again += f.connection - 1
		f.mu.Unlock()
	}
	printf("%d faults under %d changes a second of another process, with %d subscribers: two of %v (the first two", *faults, *rate, many, *longFault)
	printf("stops), the others of %v. From the return, which is when Redis answers again or the", *shortFault)
	printf("process goes on, until a subscriber's set is equal to what Redis has. Each was, and all of")
	printf("them in the end; %d connected anew. %d changes, %d failed while Redis was down.\n", again, result.changes, len(result.failures))
	printf("| fault | times | p50 of subscribers | p99 | largest | the slowest subscriber of each |  |\n|---|---|---|---|---|---|---|")
	for i, kind := range kinds {
		each := ""
		for _, d := range slowest[i] {
			each += fmt.Sprintf("%v ", d.Round(10*time.Millisecond))
		}
		printf("| %s | %d | %v | %v | %v | %s| %s |", kind.name, len(slowest[i]), percentile(took[i], .5), percentile(took[i], .99), percentile(took[i], 1), each, aim(percentile(took[i], 1), returnAim))
	}
}

// broken lets one fault happen for a while, and returns how long after its end each
// subscriber was right again about the spools of the prefix, which are changed during
// the fault and not after it.
func broken(
	ctx context.Context, t *testing.T, other *service, server *redistest.Server, followers []*follower,
	prefix string, length time.Duration, redisIsGone bool, begin, again func(),
) []time.Duration {
	t.Helper()
	plain := server.Client()
	defer plain.Close() //nolint:errcheck // a client of the moment
	ttl := time.Hour
	if redisIsGone {
		ttl = max(time.Second, length/2).Truncate(time.Second) // nobody can change them; they lapse
	}
	testwait.Within(ctx, t, "the other process takes spools", func() bool {
		_, _, err := other.take(ctx, prefix, note, time.Hour)
		return err == nil
	})
	for i := range 20 {
		if _, _, err := other.take(ctx, fmt.Sprintf("%s-STAYS-%02d", prefix, i), note, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, _, err := other.take(ctx, fmt.Sprintf("%s-GOES-%02d", prefix, i), note, ttl); err != nil {
			t.Fatal(err)
		}
	}
	if !redisIsGone {
		converge(ctx, t, followers, plain, prefix, time.Now())
	}
	begin()
	if redisIsGone {
		during(ctx, length)
	} else {
		changing, over := context.WithTimeout(ctx, length)
		load{service: other, prefix: prefix + "-NEW", rate: 50, keep: 30}.run(changing).check(t)
		over()
	}
	again()
	since := time.Now()
	if redisIsGone {
		testwait.Within(ctx, t, "short locks have lapsed", func() bool {
			return len(servicetest.Must[map[string]floortest.Held](t)(floortest.Truth(ctx, plain, prefix))) == 21
		})
	}
	return converge(ctx, t, followers, plain, prefix, since)
}
