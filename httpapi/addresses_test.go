package httpapi_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"spoollock/httpapi"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "served")
	}))
	log := redistest.NewLog(t)
	server.Listener = httpapi.NewAddresses(3, nil).Listener(server.Listener, log.Logger())
	server.Start()
	t.Cleanup(server.Close)
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	served := func(conn net.Conn) bool {
		_ = conn.SetDeadline(time.Now().Add(testwait.Patience))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return false
		}
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}
	open := []net.Conn{dial(), dial(), dial()}
	for _, conn := range open {
		if !served(conn) {
			t.Fatal("a connection within the limit is not served")
		}
	}
	said := func() int {
		return strings.Count(log.String(), `level=WARN msg="an address has as many connections as it may have, and more are closed" address=127.0.0.1 limit=3`)
	}
	wantSaid := func(times int) {
		t.Helper()
		if n := said(); n != times {
			t.Fatalf("it is said %d times, want %d:\n%s", n, times, log)
		}
	}
	wantSaid(0)
	for range 3 {
		if served(dial()) {
			t.Fatal("a connection above the limit is served")
		}
		wantSaid(1)
	}
	_ = open[0].Close()
	testwait.Until(t, "a connection that was closed does not count", func() bool {
		open[0] = dial()
		return served(open[0])
	})
	wantSaid(1) // it lasts as long as any of them

	for _, conn := range open {
		_ = conn.Close()
	}
	testwait.Until(t, "it is said again when it begins again", func() bool {
		again := []net.Conn{dial(), dial(), dial(), dial()}
		for _, conn := range again {
			served(conn)
		}
		for _, conn := range again {
			_ = conn.Close()
		}
		return said() > 1
	})
}

// What a proxy says of whom it forwards for is believed of trusted ones only, and
// only as far as trusted ones have written it.
func TestForwardedAddresses(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"direct":                 {"192.0.2.1:5000", nil, "192.0.2.1:5000"},
		"direct with a claim":    {"192.0.2.1:5000", []string{"198.51.100.7"}, "192.0.2.1:5000"},
		"forwarded":              {"10.1.2.3:5000", []string{"198.51.100.7"}, "198.51.100.7:0"},
		"forwarded with a claim": {"10.1.2.3:5000", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7:0"},
		"forwarded twice":        {"10.1.2.3:5000", []string{"198.51.100.7, 10.9.9.9"}, "198.51.100.7:0"},
		"in two headers":         {"10.1.2.3:5000", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7:0"},
		"version 6":              {"[fd00::1]:5000", []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		"version 4 in 6":         {"[::ffff:10.1.2.3]:5000", []string{"::ffff:198.51.100.7"}, "198.51.100.7:0"},
		"with a port":            {"10.1.2.3:5000", []string{"198.51.100.7:4000"}, "198.51.100.7:0"},
		"version 6 with a port":  {"10.1.2.3:5000", []string{"[2001:db8::7]:4000, 10.9.9.9:4000"}, "[2001:db8::7]:0"},
		"nobody":                 {"10.1.2.3:5000", nil, "10.1.2.3:5000"},
		"only proxies":           {"10.1.2.3:5000", []string{"10.4.4.4"}, "10.1.2.3:5000"},
		"no address":             {"10.1.2.3:5000", []string{"198.51.100.7, unknown"}, "10.1.2.3:5000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got string
			handler := httpapi.NewAddresses(1, proxies).Handler(http.HandlerFunc(
				func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
			for range 2 { // one at a time, so the second is not one too many
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.RemoteAddr = c.remote
				r.Header["X-Forwarded-For"] = c.forwarded
				handler.ServeHTTP(httptest.NewRecorder(), r)
				if got != c.want {
					t.Fatalf("the client is %q, want %q", got, c.want)
				}
			}
		})
	}
}

// Behind a trusted proxy, the limit is that of the address behind it.
func TestRequestsPerForwardedAddress(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	addresses := httpapi.NewAddresses(2, loopback)
	arrived, done := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(addresses.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-done
		}
	})))
	server.Listener = addresses.Listener(server.Listener, slog.New(slog.DiscardHandler))
	server.Start()
	t.Cleanup(server.Close)
	get := func(path, client string) (response *http.Response, body string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Error(err)
			return nil, ""
		}
		request.Header.Set("X-Forwarded-For", client)
		response, err = server.Client().Do(request)
		if err != nil {
			t.Error(err)
			return nil, ""
		}
		text, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Error(err)
		}
		return response, string(text)
	}
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() { get("/wait", "198.51.100.7") })
		<-arrived
	}
	refused, body := get("/", "198.51.100.7")
	if refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") != "1" ||
		!strings.Contains(body, `{"code":"RATE_LIMITED","reason":"CONCURRENT_REQUESTS","retryAfterSeconds":1}`) {
		t.Errorf("one request too many is answered %s %s", refused.Status, body)
	}
	if other, _ := get("/", "198.51.100.8"); other.StatusCode != http.StatusOK {
		t.Errorf("a request of another address is answered %s", other.Status)
	}
	close(done)
	waiting.Wait()
	if again, _ := get("/", "198.51.100.7"); again.StatusCode != http.StatusOK {
		t.Errorf("a request that is over still counts: %s", again.Status)
	}
}
