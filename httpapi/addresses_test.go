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
		"the proxy's own":        {"10.1.2.3:5000", nil, "10.1.2.3:0"},
		"no element":             {"10.1.2.3:5000", []string{" , "}, "10.1.2.3:0"},
		"proxies only":           {"10.1.2.3:5000", []string{"10.4.4.4, 10.9.9.9"}, "10.4.4.4:0"},
		"no address":             {"10.1.2.3:5000", []string{"198.51.100.7, unknown"}, "unknown:0"},
		"in brackets":            {"10.1.2.3:5000", []string{"[2001:db8::7]"}, "[2001:db8::7]:0"},
		"with a zone":            {"10.1.2.3:5000", []string{"fe80::1%eth0"}, "[fe80::1]:0"},
		"in upper case":          {"10.1.2.3:5000", []string{"2001:DB8::A"}, "[2001:db8::a]:0"},
		"4 in 6, hexadecimal":    {"10.1.2.3:5000", []string{"::FFFF:C633:6407"}, "198.51.100.7:0"},
		"a comma at the end":     {"10.1.2.3:5000", []string{"198.51.100.7,"}, "198.51.100.7:0"},
		"empty elements":         {"10.1.2.3:5000", []string{"203.0.113.9", "198.51.100.7,\t, ,", "", " "}, "198.51.100.7:0"},
		"white space":            {"10.1.2.3:5000", []string{"\t 198.51.100.7 \t, 10.9.9.9 "}, "198.51.100.7:0"},
		"a proxy in brackets":    {"10.1.2.3:5000", []string{"198.51.100.7, [fd00::2]:443"}, "198.51.100.7:0"},
		"garbage before":         {"10.1.2.3:5000", []string{"garbage, 198.51.100.7"}, "198.51.100.7:0"},
		"garbage before a proxy": {"10.1.2.3:5000", []string{"198.51.100.7, garbage, 10.9.9.9"}, "unknown:0"},
		"in quotation marks":     {"10.1.2.3:5000", []string{`"198.51.100.7"`}, "unknown:0"},
		"as in Forwarded":        {"10.1.2.3:5000", []string{"for=198.51.100.7;proto=https"}, "unknown:0"},
		"a Unix socket":          {"10.1.2.3:5000", []string{"unix:"}, "unknown:0"},
		"10 KB of garbage":       {"10.1.2.3:5000", []string{strings.Repeat("garbage ", 1280)}, "unknown:0"},
		"10 KB of commas":        {"10.1.2.3:5000", []string{"198.51.100.7" + strings.Repeat(",", 10<<10)}, "198.51.100.7:0"},
		"10 KB of addresses":     {"10.1.2.3:5000", []string{strings.Repeat("203.0.113.9,", 853) + "198.51.100.7"}, "198.51.100.7:0"},
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
	// Each element is one client, which has two requests under way.
	for _, client := range []struct{ first, second, third, other string }{
		{"198.51.100.7", "198.51.100.7:4000", "::ffff:c633:6407", "198.51.100.8"},
		{"2001:db8::7", "[2001:db8::8]:4000", "[2001:DB8:0:0:1::9]", "2001:db8:0:1::7"},
		{"unknown", "unix:", "2001:db8::x", "198.51.100.7"},
		{"", ",", "", "198.51.100.7"}, // the proxy itself
	} {
		var waiting sync.WaitGroup
		for _, address := range []string{client.first, client.second} {
			waiting.Go(func() { get("/wait", address) })
			select {
			case <-arrived:
			case <-t.Context().Done():
				t.Fatalf("%q is not served", address)
			}
		}
		refused, body := get("/", client.third)
		if refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") != "1" ||
			!strings.Contains(body, `{"code":"RATE_LIMITED","reason":"CONCURRENT_REQUESTS","retryAfterSeconds":1}`) {
			t.Errorf("after %q and %q, %q is answered %s %s", client.first, client.second, client.third, refused.Status, body)
		}
		if other, _ := get("/", client.other); other.StatusCode != http.StatusOK {
			t.Errorf("next to %q, %q is answered %s", client.first, client.other, other.Status)
		}
		done <- struct{}{}
		done <- struct{}{}
		waiting.Wait()
		if again, _ := get("/", client.third); again.StatusCode != http.StatusOK {
			t.Errorf("a request of %q that is over still counts: %s", client.first, again.Status)
		}
	}
}

// connFrom is a connection of which another address is the remote one.
type connFrom struct {
	net.Conn
	address string
}

func (c connFrom) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.address))
}

// listenerFrom accepts connections that come from the addresses, one after the other.
type listenerFrom struct {
	net.Listener
	addresses []string
}

func (l *listenerFrom) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || len(l.addresses) == 0 {
		return conn, err
	}
	conn, l.addresses = connFrom{conn, l.addresses[0]}, l.addresses[1:]
	return conn, nil
}

// The connections of an IPv6 network are those of one client.
func TestConnectionsPerNetwork(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // the test is over
	from := []struct {
		address string
		served  bool
	}{
		{"[2001:db8::1]:4000", true},
		{"[2001:db8::2]:4000", true},
		{"[2001:db8::3:3:3:3]:4000", false},
		{"[2001:db8:0:1::1]:4000", true},
		{"192.0.2.1:4000", true},
		{"[::ffff:192.0.2.1]:4000", true},
		{"192.0.2.1:4001", false},
		{"192.0.2.2:4000", true},
	}
	listening := &listenerFrom{Listener: listener}
	for _, f := range from {
		listening.addresses = append(listening.addresses, f.address)
	}
	log := redistest.NewLog(t)
	limited := httpapi.NewAddresses(2, nil).Listener(listening, log.Logger())
	for _, f := range from {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close() //nolint:errcheck // the test is over
		if !f.served {
			continue // Accept closes it, and goes on to the next one
		}
		conn, err := limited.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // the test is over
		if got := conn.RemoteAddr().String(); got != net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.address)).String() {
			t.Errorf("%s is accepted, want %s", got, f.address)
		}
	}
	if !strings.Contains(log.String(), "address=2001:db8::/64 limit=2") {
		t.Errorf("the log is\n%s", log)
	}
}
