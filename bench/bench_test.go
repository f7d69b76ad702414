//go:build bench

// Package bench_test measures what an operation costs: in Redis beside the
// barest scripts, and over GraphQL beside a plain JSON handler. Everything that is
// compared runs in turns in one run, as the machine's pace changes meanwhile.
package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/redis/go-redis/v9"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/auth"
	"spoollock/graph"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/metrics"
	"spoollock/repository"
	"spoollock/repository/redistest"
)

const (
	rounds      = 7    // of everything; the median counts
	calls       = 5000 // of an operation in a round
	connections = 16   // in the parallel runs
)

// bench is the service on a real Redis.
type bench struct {
	t       *testing.T
	client  *redis.Client
	service *lock.Service
	spool   atomic.Int64
}

// newBench starts a Redis with the options given.
func newBench(t *testing.T, options ...string) *bench {
	server := redistest.Start(t, options...)
	b := &bench{t: t, client: server.Client(), service: newService(t, server.URL, 10*time.Second, 1)}
	t.Cleanup(func() { _ = b.client.Close() })
	info, err := b.client.InfoMap(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s, %d cores, Redis %s\n\n", runtime.Version(), runtime.NumCPU(), info["Server"]["redis_version"])
	return b
}

// newService is a service on the Redis with this address.
func newService(t *testing.T, url string, timeout time.Duration, attempts int) *lock.Service {
	log := slog.New(slog.DiscardHandler)
	store := redistest.Open(t, url, log, repository.Config{MaxConnections: connections, Timeout: timeout})
	service := lock.NewService(store, lock.Config{
		Limits:   lock.Limits{DefaultTTL: time.Hour, MaxTTL: 365 * 24 * time.Hour},
		Timeout:  timeout,
		Attempts: attempts,
	}, log)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		service.Close(ctx) // which may wait for a Redis that is gone
	})
	return service
}

// fresh is a spool that nobody has taken before.
func (b *bench) fresh() string { return fmt.Sprintf("MK-%08d", b.spool.Add(1)) }

// must fails the run on an error.
func must[T any](b *bench) func(T, error) T {
	return func(v T, err error) T {
		if err != nil {
			b.t.Error(err)
		}
		return v
	}
}

// run calls op n times on the given number of goroutines and returns the time per
// call.
func run(n, goroutines int, op func()) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	var done sync.WaitGroup
	begun := time.Now()
	for range goroutines {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				op()
			}
		})
	}
	done.Wait()
	return time.Since(begun) / time.Duration(n)
}

// median sorts in place.
func median(samples []float64) float64 {
	slices.Sort(samples)
	return samples[len(samples)/2]
}

// TestLayers prints the time per operation of the service alone, behind a plain
// JSON handler, behind gqlgen's stock transport, and over GraphQL as it is served.
func TestLayers(t *testing.T) {
	b := newBench(t)
	api := b.serve(auth.Static(lock.Caller{Role: lock.RoleWorker}))
	stock := httptest.NewServer(stockHandler(b.service))
	t.Cleanup(stock.Close)
	plain := httptest.NewServer(plainHandler(b.service))
	t.Cleanup(plain.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	t.Cleanup(client.CloseIdleConnections)

	layers := []string{"service", "plain JSON", "stock", "GraphQL"}
	for _, goroutines := range []int{1, connections} {
		samples := map[string][]float64{}
		operations := b.operations(client, plain.URL, stock.URL, api.URL+"/graphql")
		for range rounds {
			for _, operation := range operations {
				for i, layer := range layers {
					took := run(calls, goroutines, operation.layers[i])
					samples[operation.name+layer] = append(samples[operation.name+layer], float64(took.Nanoseconds())/1000)
				}
			}
		}
		fmt.Printf("Time per operation, %d at a time\n\n", goroutines)
		fmt.Println("| operation | service, µs | plain JSON, µs | stock gqlgen, µs | GraphQL, µs | GraphQL : service | GraphQL : plain | GraphQL : stock |\n|---|---|---|---|---|---|---|---|")
		for _, operation := range operations {
			of := func(layer string) float64 { return median(samples[operation.name+layer]) }
			graphQL := of("GraphQL")
			fmt.Printf("| %s | %.0f | %.0f | %.0f | %.0f | %.2f | %.2f | %.2f |\n", operation.name,
				of("service"), of("plain JSON"), of("stock"), graphQL,
				graphQL/of("service"), graphQL/of("plain JSON"), graphQL/of("stock"))
		}
		fmt.Println()
	}
}

// serve is the service over GraphQL, for callers who are identified so.
func (b *bench) serve(identify auth.Identify) *httptest.Server {
	server := httptest.NewServer(httpapi.New(httpapi.Config{
		Schema: graph.NewSchema(b.service, nil, slog.New(slog.DiscardHandler)), Log: slog.New(slog.DiscardHandler),
		Health: func() (bool, map[string]string) { return true, nil }, RequestTimeout: 10 * time.Second,
		FloorLive: func() bool { return false }, Eviction: func() string { return "unknown" }, Metrics: http.NotFoundHandler(), Addresses: httpapi.NewAddresses(400, nil),
		Observe:  metrics.New(metrics.Sources{}).Operation,
		Identify: identify,
	}))
	b.t.Cleanup(server.Close)
	return server
}

type operation struct {
	name   string
	layers [4]func() // service, plain JSON, stock gqlgen, GraphQL
}

// operations are the same calls through each layer. Each layer has a spool of its
// own for what needs a held one.
func (b *bench) operations(client *http.Client, plainURL, stockURL, graphQLURL string) []operation {
	ctx := b.t.Context()
	hold := func() (tag, token string) {
		tag = b.fresh()
		taken := must[lock.Taken](b)(b.service.Take(ctx, lock.TakeRequest{Tag: tag, WorkerID: "93", WorkerName: "MR(93)", Note: "weld 3 of 5"}))
		return tag, taken.Token.Reveal()
	}
	send := func(url string, body any) []byte {
		text := must[[]byte](b)(json.Marshal(body))
		response, err := client.Post(url, "application/json", bytes.NewReader(text))
		if err != nil {
			b.t.Error(err)
			return nil
		}
		defer response.Body.Close() //nolint:errcheck // it was read
		return must[[]byte](b)(io.ReadAll(response.Body))
	}
	expect := func(answer []byte, text string) {
		if !bytes.Contains(answer, []byte(text)) {
			b.t.Errorf("%s is not in %s", text, answer)
		}
	}
	const fields = `{id tagSpool ownerId ownerName note version acquiredAt expiresAt remainingSeconds}`
	graphQL := func(url, query string, input map[string]any) []byte {
		return send(url, map[string]any{"query": query, "variables": input})
	}
	takeQuery := `mutation($input: TomarSpoolInput!){tomarSpool(input: $input){lockToken replayed lock ` + fields + `}}`
	input := func(tag string) map[string]any {
		return map[string]any{"input": map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)", "note": "weld 3 of 5"}}
	}
	plainTake := func(tag string) plainRequest {
		return plainRequest{Tag: tag, WorkerID: "93", WorkerName: "MR(93)", Note: "weld 3 of 5"}
	}
	held, _ := hold()
	var extendTags, extendTokens [4]string
	for i := range 4 {
		extendTags[i], extendTokens[i] = hold()
	}
	tokenOf := func(answer []byte) string {
		_, rest, _ := bytes.Cut(answer, []byte(`"lockToken":"`))
		token, _, _ := bytes.Cut(rest, []byte(`"`))
		return string(token)
	}
	overGraphQL := func(name string, service, plain func(), call func(url string, i int)) operation {
		return operation{name, [4]func(){
			service, plain, func() { call(stockURL, 2) }, func() { call(graphQLURL, 3) },
		}}
	}
	return []operation{
		overGraphQL("take",
			func() {
				must[lock.Taken](b)(b.service.Take(ctx, lock.TakeRequest{Tag: b.fresh(), WorkerID: "93", WorkerName: "MR(93)", Note: "weld 3 of 5"}))
			},
			func() { expect(send(plainURL+"/take", plainTake(b.fresh())), "lockToken") },
			func(url string, _ int) { expect(graphQL(url, takeQuery, input(b.fresh())), "lockToken") },
		),
		overGraphQL("take, refused",
			func() {
				_, err := b.service.Take(ctx, lock.TakeRequest{Tag: held, WorkerID: "94", WorkerName: "JP(94)"})
				if !errors.As(err, new(*lock.OccupiedError)) {
					b.t.Error(err)
				}
			},
			func() { expect(send(plainURL+"/take", plainTake(held)), "SPOOL_OCCUPIED") },
			func(url string, _ int) { expect(graphQL(url, takeQuery, input(held)), "SPOOL_OCCUPIED") },
		),
		overGraphQL("read",
			func() { must[lock.Spool](b)(b.service.Spool(ctx, held)) },
			func() { expect(send(plainURL+"/read", plainRequest{Tag: held}), "MR(93)") },
			func(url string, _ int) {
				expect(graphQL(url, `query($tag: ID!){spoolLock(tagSpool: $tag)`+fields+`}`, map[string]any{"tag": held}), "MR(93)")
			},
		),
		overGraphQL("extend",
			func() {
				must[lock.Lock](b)(b.service.Extend(ctx, lock.ExtendRequest{Tag: extendTags[0], Token: extendTokens[0], By: time.Second}))
			},
			func() {
				expect(send(plainURL+"/extend", plainRequest{Tag: extendTags[1], Token: extendTokens[1], Seconds: 1}), "expiresAt")
			},
			func(url string, i int) {
				expect(graphQL(url, `mutation($input: ExtendLockInput!){extendLock(input: $input){lock `+fields+`}}`, map[string]any{
					"input": map[string]any{"tagSpool": extendTags[i], "lockToken": extendTokens[i], "additionalSeconds": 1},
				}), "expiresAt")
			},
		),
		overGraphQL("take and release",
			func() {
				tag, token := hold()
				must[lock.Released](b)(b.service.Release(ctx, lock.ReleaseRequest{Tag: tag, Token: token}))
			},
			func() {
				tag := b.fresh()
				token := tokenOf(send(plainURL+"/take", plainTake(tag)))
				expect(send(plainURL+"/release", plainRequest{Tag: tag, Token: token}), `"RELEASED"`)
			},
			func(url string, _ int) {
				tag := b.fresh()
				token := tokenOf(graphQL(url, takeQuery, input(tag)))
				expect(graphQL(url, `mutation($input: ReleaseSpoolInput!){releaseSpool(input: $input){released outcome spool{version}}}`,
					map[string]any{"input": map[string]any{"tagSpool": tag, "lockToken": token}}), `"RELEASED"`)
			},
		),
	}
}

// stockHandler is the same schema behind gqlgen's own POST transport, without any
// limit.
func stockHandler(service *lock.Service) http.Handler {
	server := handler.New(graph.NewSchema(service, nil, slog.New(slog.DiscardHandler)))
	server.AddTransport(transport.POST{})
	server.SetQueryCache(lru.New[*ast.QueryDocument](1000))
	server.SetErrorPresenter(graph.Presenter(slog.New(slog.DiscardHandler)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.ServeHTTP(w, r.WithContext(lock.WithCaller(r.Context(), lock.Caller{Role: lock.RoleWorker})))
	})
}

// plainRequest is what the plain handler takes, whatever the operation.
type plainRequest struct {
	Tag        string `json:"tagSpool"`
	WorkerID   string `json:"workerId,omitempty"`
	WorkerName string `json:"workerNombre,omitempty"`
	Note       string `json:"note,omitempty"`
	Token      string `json:"lockToken,omitempty"`
	Seconds    int    `json:"additionalSeconds,omitempty"`
}

type plainLock struct {
	ID               string    `json:"id"`
	Tag              string    `json:"tagSpool"`
	OwnerID          string    `json:"ownerId"`
	OwnerName        string    `json:"ownerName"`
	Note             string    `json:"note"`
	Version          int64     `json:"version"`
	AcquiredAt       time.Time `json:"acquiredAt"`
	ExpiresAt        time.Time `json:"expiresAt"`
	RemainingSeconds int       `json:"remainingSeconds"`
}

func toPlain(l lock.Lock) plainLock {
	return plainLock{
		ID: fmt.Sprintf("lock:%s@%d", l.Tag, l.Version), Tag: string(l.Tag),
		OwnerID: string(l.Owner.ID), OwnerName: l.Owner.Name, Note: l.Note, Version: int64(l.Version),
		AcquiredAt: l.AcquiredAt, ExpiresAt: l.ExpiresAt, RemainingSeconds: int(l.Remaining / time.Second),
	}
}

// plainHandler is the same service behind encoding/json, and nothing else.
func plainHandler(service *lock.Service) http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, operation func(context.Context, plainRequest) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var request plainRequest
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			answer, err := operation(r.Context(), request)
			if occupied := (*lock.OccupiedError)(nil); errors.As(err, &occupied) {
				answer = map[string]any{"code": "SPOOL_OCCUPIED", "lock": toPlain(occupied.Lock)}
			} else if err != nil {
				answer = map[string]any{"code": "OTHER"}
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	handle("/take", func(ctx context.Context, r plainRequest) (any, error) {
		taken, err := service.Take(ctx, lock.TakeRequest{Tag: r.Tag, WorkerID: r.WorkerID, WorkerName: r.WorkerName, Note: r.Note})
		if err != nil {
			return nil, err
		}
		return map[string]any{"lockToken": taken.Token.Reveal(), "replayed": taken.Replayed, "lock": toPlain(taken.Lock)}, nil
	})
	handle("/read", func(ctx context.Context, r plainRequest) (any, error) {
		spool, err := service.Spool(ctx, r.Tag)
		if err != nil || spool.Lock == nil {
			return nil, err
		}
		return toPlain(*spool.Lock), nil
	})
	handle("/extend", func(ctx context.Context, r plainRequest) (any, error) {
		extended, err := service.Extend(ctx, lock.ExtendRequest{Tag: r.Tag, Token: r.Token, By: time.Duration(r.Seconds) * time.Second})
		if err != nil {
			return nil, err
		}
		return toPlain(extended), nil
	})
	handle("/release", func(ctx context.Context, r plainRequest) (any, error) {
		released, err := service.Release(ctx, lock.ReleaseRequest{Tag: r.Tag, Token: r.Token})
		if err != nil {
			return nil, err
		}
		return map[string]any{"outcome": released.Outcome, "version": released.Spool.Version}, nil
	})
	return mux
}
