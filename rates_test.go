package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"spoollock/config"
	"spoollock/lock"
	"spoollock/ratelimit"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// Fifty tablets behind one address, as docs/OPERATIONS.md counts them, do not meet the default
// rates of queries.
func TestTabletsBehindOneAddress(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(environment(map[string]string{"AUTH_MODE": "none"}), false, "")
	if err != nil || !cfg.QueryRates.Limited {
		t.Fatalf("the rates are %+v, %v", cfg.QueryRates, err)
	}
	synctest.Test(t, func(t *testing.T) {
		limiter := ratelimit.New(ratelimit.Config{PerIdentity: cfg.QueryRates.PerIdentity, PerAddress: cfg.QueryRates.PerAddress})
		eachAsks := func(what string, units int) {
			for i := range 50 {
				tablet := lock.Caller{Worker: lock.Worker{ID: lock.WorkerID(fmt.Sprint(i))}, Address: lock.ParseAddress("10.0.0.1")}
				if err := limiter.AdmitUnits(lock.WithCaller(t.Context(), tablet), units); err != nil {
					t.Fatalf("%s, the tablet %d is told: %v", what, i, err)
				}
			}
		}
		const spool, history, pages = 1, 1, 3
		eachAsks("when all reconnect", spool+history+pages)
		for range 1000 {
			eachAsks("when all scan at the same time", spool+history)
			time.Sleep(3 * time.Second)
		}
		for range 1000 {
			eachAsks("when all scan without a pause", spool+history)
			time.Sleep(time.Second / 4)
		}
		eachAsks("when all reconnect after that", spool+history+pages)
	})
}

// The program has the rates of queries that its variables say.
func TestQueryRatesOfTheProgram(t *testing.T) {
	t.Parallel()
	url, _ := start(t, map[string]string{
		"REDIS_URL": "embedded://", "AUTH_MODE": "none", "MAX_UNITS": "2", "RATE_LIMIT_QUERIES_PER_IDENTITY": "1", "RATE_LIMIT_QUERIES_PER_ADDRESS": "1",
	})
	testwait.Until(t, "a query is refused", func() bool {
		return strings.Contains(post(t, url, `{"query":"{spools(tagSpools:[\"MK-1\",\"MK-2\"]){version}}"}`), `"reason":"ADDRESS"`)
	})
}

// release is a mutation by a worker.
const release = `{"query":"mutation{releaseSpool(input:{tagSpool:\"MK-1\",lockToken:\"%s:x\"}){outcome}}"}`

// Each limit on what callers change is the variable's that is named after it.
func TestLimitsOfChanges(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	take := func(url, tag string) string {
		return post(t, url, fmt.Sprintf(`{"query":"mutation{tomarSpool(input:{tagSpool:\"%s\",workerId:\"93\",workerNombre:\"MR(93)\"}){replayed}}"}`, tag))
	}
	t.Run("MAX_LOCKS_PER_WORKER", func(t *testing.T) {
		url, _ := start(t, map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none", "MAX_LOCKS_PER_WORKER": "2"})
		testwait.Live(testwait.Context(t), t, url)
		for i, want := range []string{`"replayed":false`, `"replayed":false`, `"code":"LOCK_LIMIT_REACHED","held":2,"limit":2`} {
			if got := take(url, fmt.Sprint("MK-LOCKS-", i)); !strings.Contains(got, want) {
				t.Errorf("the take %d is answered %s", i, got)
			}
		}
	})
	// A rate so low that no time makes up for what is too much.
	for name, reason := range map[string]string{"RATE_LIMIT_PER_ADDRESS": "ADDRESS", "RATE_LIMIT_PER_IDENTITY": "IDENTITY"} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"REDIS_URL": server.URL, "HOST": "127.0.0.1", "AUTH_MODE": "none", name: "1"}
			args, worker := []string(nil), "93"
			if reason == "IDENTITY" {
				args, worker = []string{"-dev"}, "dev"
			}
			url, _ := start(t, env, args...)
			testwait.Until(t, "the rate is too high", func() bool {
				got := post(t, url, fmt.Sprintf(release, worker))
				return strings.Contains(got, `"code":"RATE_LIMITED","reason":"`+reason+`","retryAfterSeconds":1`)
			})
		})
	}
	t.Run("RATE_LIMIT_SHARED", func(t *testing.T) {
		env := map[string]string{"REDIS_URL": server.URL, "AUTH_MODE": "none", "RATE_LIMIT_PER_ADDRESS": "1", "RATE_LIMIT_SHARED": "true"}
		one, _ := start(t, env)
		two, _ := start(t, env)
		client := server.Client()
		defer client.Close() //nolint:errcheck // a client of the moment
		testwait.Until(t, "a burst of both is told", func() bool {
			post(t, one, fmt.Sprintf(release, "93"))
			post(t, two, fmt.Sprintf(release, "93"))
			left, err := client.PTTL(t.Context(), "spool_rate:address:127.0.0.1").Result()
			return err == nil && left > 2*time.Second // beyond what one may have
		})
		testwait.Until(t, "one waits for what the other had", func() bool {
			got := post(t, two, fmt.Sprintf(release, "93"))
			return strings.Contains(got, `"RATE_LIMITED"`) && !strings.Contains(got, `"retryAfterSeconds":1`)
		})
	})
}

// The program bounds how many fresh spools a caller takes, whatever its rate of changes.
func TestFreshSpoolsOfACaller(t *testing.T) {
	t.Parallel()
	url, _ := start(t, map[string]string{
		"REDIS_URL": redistest.Start(t).URL, "AUTH_MODE": "none", "RATE_LIMIT": "off", "MAX_LOCKS_PER_WORKER": "10000",
	})
	take := func(tags ...string) string {
		var items []string
		for _, tag := range tags {
			items = append(items, fmt.Sprintf(`{tagSpool:\"%s\",workerId:\"93\",workerNombre:\"MR(93)\"}`, tag))
		}
		return post(t, url, `{"query":"mutation{tomarSpools(input:{items:[`+strings.Join(items, ",")+`]}){failed results{error{code reason}}}}"}`)
	}
	for i := range 40 {
		var tags []string
		for j := range 50 {
			tags = append(tags, fmt.Sprintf("MK-%d-%d", i, j))
		}
		if got := take(tags...); !strings.HasPrefix(got, `{"data":{"tomarSpools":{"failed":0,`) {
			t.Fatalf("the batch %d is answered %.300s", i, got)
		}
	}
	want := `{"data":{"tomarSpools":{"failed":2,"results":[{"error":{"code":"RATE_LIMITED","reason":"ADDRESS"}},{"error":{"code":"SPOOL_OCCUPIED","reason":null}}]}}}`
	if got := take("MK-2000", "MK-0-0"); got != want {
		t.Errorf("one more, and one that is held, are answered %s", got)
	}
}

// Each limit on queries is the variable's that is named after it. A mutation is no query.
func TestLimitsOfQueries(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, reason := range map[string]string{"RATE_LIMIT_QUERIES_PER_ADDRESS": "ADDRESS", "RATE_LIMIT_QUERIES_PER_IDENTITY": "IDENTITY"} {
		t.Run(name, func(t *testing.T) {
			url, _ := start(t, map[string]string{"REDIS_URL": server.URL, "HOST": "127.0.0.1", "MAX_UNITS": "2", name: "1"}, "-dev")
			testwait.Until(t, "the rate is too high", func() bool {
				got := post(t, url, `{"query":"{spool(tagSpool:\"MK-1\"){id}}"}`)
				return strings.Contains(got, `"code":"RATE_LIMITED","reason":"`+reason+`","retryAfterSeconds":1`)
			})
			if got := post(t, url, fmt.Sprintf(release, "dev")); !strings.Contains(got, `"outcome"`) {
				t.Errorf("a mutation is answered %s", got)
			}
		})
	}
}
