// Package testwait waits in tests, by polling: for a condition, and for the live floor of a
// service.
package testwait

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits. It is a guard against hanging, never a measurement.
const Patience = time.Minute

// pause is the time between two looks at a condition.
const pause = 5 * time.Millisecond

// Context returns a context that ends with the test, and after [Patience] at the latest.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Poll waits until the condition holds, and reports whether it did within [Patience].
// Any goroutine may call it.
func Poll(condition func() bool) bool {
	deadline := time.Now().Add(Patience)
	return poll(condition, func() bool { return time.Now().After(deadline) })
}

func poll(condition, over func() bool) bool {
	for !condition() {
		if over() {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// Until waits until the condition holds, and fails the test if it does not within
// [Patience]. The test's own goroutine calls it.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !Poll(condition) {
		t.Fatalf("not seen in %v: %s", Patience, what)
	}
}

// Within waits until the condition holds, and fails the test if ctx is done before. The
// test's own goroutine calls it.
func Within(ctx context.Context, t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !poll(condition, func() bool { return ctx.Err() != nil }) {
		t.Fatalf("not seen (%v): %s", ctx.Err(), what)
	}
}

// Live waits until the service at url says in /readyz that its floor is live, and fails
// the test if ctx is done before.
func Live(ctx context.Context, t testing.TB, url string) {
	t.Helper()
	var readiness string
	if !poll(func() bool {
		readiness = get(ctx, url+"/readyz")
		return strings.Contains(readiness, `"floor":"live"`)
	}, func() bool { return ctx.Err() != nil }) {
		t.Fatalf("the floor of %s is not live (%v): readiness is %s", url, ctx.Err(), readiness)
	}
}

// client keeps no connection, so that none is left when a test ends.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get returns what is answered, or else the error.
func get(ctx context.Context, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Sprintf("%s, %v", body, err)
	}
	return string(body)
}
