//go:build faults

package faults_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spoollock/faults"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
)

// balancer hands requests to the processes that are in, in turn, and to the next where
// one does not take the connection. What was sent to one it does not send to another.
type balancer struct {
	mu    sync.Mutex
	hosts []string
}

// put puts a process in, or takes it out.
func (b *balancer) put(service *servicetest.Service, in bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	host := strings.TrimPrefix(service.URL, "http://")
	b.hosts = slices.DeleteFunc(b.hosts, func(h string) bool { return h == host })
	if in {
		b.hosts = append(b.hosts, host)
	}
}

func (b *balancer) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hosts = append(b.hosts[1:], b.hosts[0])
	return b.hosts[0]
}

// RoundTrip implements [http.RoundTripper].
func (b *balancer) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	for {
		sent := request.Clone(request.Context())
		sent.URL.Host, sent.Body = b.next(), io.NopCloser(bytes.NewReader(body))
		response, err := http.DefaultTransport.RoundTrip(sent)
		if failed := (*net.OpError)(nil); errors.As(err, &failed) && failed.Op == "dial" {
			continue
		}
		return response, err
	}
}

// TestRollingRestart restarts one process after the other under load, first in order,
// then by SIGKILL.
func TestRollingRestart(t *testing.T) {
	ctx := scenario(t, 5*time.Minute)
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	proxy := redistest.StartProxy(t, server.Addr, nil)
	s := &system{urls: []string{proxy.URL, proxy.URL, proxy.URL}}
	s.launch(ctx, t, seeded(*seed, 0), io.Discard)
	b := &balancer{}
	for _, service := range s.services {
		b.put(service, true)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme = "http" },
		Transport: b, ErrorLog: log.New(io.Discard, "", 0),
	})
	t.Cleanup(front.Close)
	d := newDriver(*seed, (&client{urls: []string{front.URL}}).carry, nil, usual)
	e := keep(t, directory(t), d, faults.Bounds{}, nil)
	// So that there is always something under way.
	proxy.Delay(100 * time.Millisecond)

	printf("\n## A rolling restart\n\nThree processes behind a balancer that sends no request twice, one restarted after the other, %d workers.\n\n"+
		"| | operations | sent again | sent again more than once |\n|---|---|---|---|", workers)
	for _, way := range []struct {
		name string
		most int // operations in a request that fails; 0: none may
		end  func(*servicetest.Service)
	}{
		{"taken out of the balancer, then SIGTERM", 0, func(service *servicetest.Service) {
			b.put(service, false)
			during(ctx, 50*time.Millisecond) // what was sent has arrived, and is not answered
			service.Stop()
		}},
		{"SIGKILL", workers * atOnce, (*servicetest.Service).Kill},
	} {
		before := len(d.history)
		stop := d.start(ctx)
		for _, service := range s.services {
			during(ctx, time.Second)
			way.end(service)
			during(ctx, time.Second)
			service.Restart()
			b.put(service, true)
		}
		during(ctx, time.Second)
		history := stop()[before:]
		again, often := 0, 0
		for _, o := range history {
			if o.Sent > 1 {
				again++
			}
			if o.Sent > 2 {
				often++
			}
		}
		printf("| %s | %d | %d | %d |", way.name, len(history), again, often)
		if again > way.most*len(s.services) || often > 0 {
			t.Errorf("%s: %d of %d operations were sent again, %d more than once", way.name, again, len(history), often)
		}
	}
	verdict := e.judge()
	e.wantLegal(verdict)
	e.wantChecked(verdict)
}
