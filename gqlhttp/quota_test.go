package gqlhttp_test

import (
	"net/http"
	"strings"
	"testing"

	"spoollock/gqlhttp"
)

// Subscriptions are counted by the network and by the caller that the hooks name, and
// in all.
func TestQuotas(t *testing.T) {
	t.Parallel()
	const counts = `{"query":"subscription{counts}"}`
	for name, test := range map[string]struct {
		limits        gqlhttp.StreamLimits
		first, second string // callers
		refused       bool
	}{
		"one network":    {gqlhttp.StreamLimits{PerNetwork: 1}, "ana@a", "bob@a", true},
		"two networks":   {gqlhttp.StreamLimits{PerNetwork: 1}, "ana@a", "ana@b", false},
		"one caller":     {gqlhttp.StreamLimits{PerCaller: 1}, "ana@a", "ana@b", true},
		"two callers":    {gqlhttp.StreamLimits{PerCaller: 1}, "ana@a", "bob@a", false},
		"two anonymous":  {gqlhttp.StreamLimits{PerCaller: 1}, "@a", "@a", false},
		"one in all":     {gqlhttp.StreamLimits{Subscriptions: 1}, "ana@a", "bob@b", true},
		"two of default": {gqlhttp.StreamLimits{}, "ana@a", "ana@a", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, gqlhttp.Config{
				StreamLimits: test.limits,
				Authenticate: func(r *http.Request, _ http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
					name, _, _ := strings.Cut(r.Header.Get("From"), "@")
					return gqlhttp.Caller{Value: name, QuotaKey: name}, nil
				},
				Network: func(r *http.Request) string {
					_, network, _ := strings.Cut(r.Header.Get("From"), "@")
					return network
				},
			})
			ask := func(from string) *http.Response {
				return a.begin(http.MethodPost, "", counts, "Content-Type", "application/json", "Accept", "text/event-stream", "From", from)
			}
			first := ask(test.first)
			if second := ask(test.second); (second.StatusCode == http.StatusTooManyRequests) != test.refused {
				t.Errorf("the second is answered %s", second.Status)
			} else {
				_ = second.Body.Close()
			}
			_ = first.Body.Close()
			a.waitFor("there is room", func() bool { return a.handler.Streams().Subscriptions == 0 })
			if again := ask(test.second); again.StatusCode != http.StatusOK {
				t.Errorf("once there is room, it is answered %s", again.Status)
			} else {
				_ = again.Body.Close()
			}
		})
	}
}
