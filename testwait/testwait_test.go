package testwait_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spoollock/testwait"
)

// failing is a test that is told that it fails, and goes on.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) { f.said = fmt.Sprintf(format, args...) }

func TestConditionThatComesToHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		late := func() bool { return time.Since(begun) > testwait.Patience/2 }
		testwait.Until(t, "half the time is over", late)
		testwait.Within(testwait.Context(t), t, "half the time is over", late)
		if took := time.Since(begun); took > testwait.Patience/2+time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestConditionThatNeverHolds(t *testing.T) {
	t.Parallel()
	never := func() bool { return false }
	for name, wait := range map[string]func(context.Context, testing.TB){
		"until":  func(_ context.Context, t testing.TB) { testwait.Until(t, "the impossible", never) },
		"within": func(ctx context.Context, t testing.TB) { testwait.Within(ctx, t, "the impossible", never) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun, f := time.Now(), &failing{TB: t}
				wait(testwait.Context(t), f)
				if took := time.Since(begun); !strings.Contains(f.said, "the impossible") || took < testwait.Patience || took > 2*testwait.Patience {
					t.Errorf("after %v, it fails with %q", took, f.said)
				}
			})
		})
	}
}

func TestFloorThatComesLive(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || asked.Add(1) < 3 {
			http.Error(w, `{"floor":"stale"}`, http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprint(w, `{"floor":"live"}`)
	}))
	t.Cleanup(server.Close)
	testwait.Live(testwait.Context(t), t, server.URL)
	if n := asked.Load(); n != 3 {
		t.Errorf("it was asked %d times", n)
	}
	asked.Store(-1 << 32)
	f := &failing{TB: t}
	brief, cancel := context.WithTimeout(testwait.Context(t), 100*time.Millisecond)
	defer cancel()
	if testwait.Live(brief, f, server.URL); !strings.Contains(f.said, server.URL) {
		t.Errorf("it fails with %q", f.said)
	}
}
