package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"spoollock/httpapi"
	"spoollock/redisurl"
)

const (
	allowedOrigin = "https://board.example"
	foreignOrigin = "https://evil.example"
)

// fetchSites are the values of Sec-Fetch-Site, with none and an unknown one, and for each the
// origins that may use /graphql. The service's own origin is "own", and "" is none.
var fetchSites = map[string][]string{
	"":            {"", "own", allowedOrigin}, // no browser, or one over plain HTTP
	"same-origin": {"", "own", allowedOrigin, foreignOrigin, "null"},
	"none":        {"", "own", allowedOrigin, foreignOrigin, "null"}, // a person typed the address
	"same-site":   {allowedOrigin},
	"cross-site":  {allowedOrigin},
	"unknown":     {allowedOrigin},
}

// eachFetch calls do for each Sec-Fetch-Site with each of the Sec-Fetch-Modes and each Origin:
// with the headers, and with whether they may use /graphql.
func eachFetch(own string, modes []string, do func(name string, allowed bool, headers []string)) {
	for site, allowed := range fetchSites {
		for _, mode := range modes {
			for _, origin := range []string{"", "own", allowedOrigin, foreignOrigin, "null"} {
				var headers []string
				if site != "" {
					headers = append(headers, "Sec-Fetch-Site", site)
				}
				if mode != "" {
					headers = append(headers, "Sec-Fetch-Mode", mode)
				}
				if origin != "" {
					headers = append(headers, "Origin", strings.ReplaceAll(origin, "own", own))
				}
				do(strings.Join(headers, " "), slices.Contains(allowed, origin), headers)
			}
		}
	}
}

func allowBoard(c *httpapi.Config) {
	c.AllowedOrigins, c.Playground = []string{allowedOrigin}, true
}

// A page of another origin uses /graphql by GET as little as by POST, be it by a link to it.
// The pages can be linked to from anywhere.
func TestFetches(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, allowBoard)
	query := "/graphql?query=" + url.QueryEscape("{lockLimits{batchSize}}")
	modes := []string{"", "navigate", "no-cors", "cors", "same-origin"}
	eachFetch(a.server.URL, modes, func(name string, allowed bool, headers []string) {
		for method, path := range map[string]string{
			http.MethodGet: query, http.MethodPost: "/graphql", http.MethodHead: query, "SSE": "/graphql?query=subscription{floorUpdates{stale}}",
		} {
			status, body, more := http.StatusOK, "", []string{"Content-Type", "application/json"}
			switch method {
			case http.MethodPost:
				body = good
			case http.MethodHead:
				status = http.StatusMethodNotAllowed
			case "SSE":
				method, status, more = http.MethodGet, http.StatusNotAcceptable, []string{"Accept", "text/event-stream"}
			}
			if !allowed {
				status = http.StatusForbidden
			}
			response, text := a.do(method, path, body, append(more, headers...)...)
			if response.StatusCode != status || status == 200 && text != goodAnswer ||
				status == 403 && method != http.MethodHead && !strings.Contains(text, `"code":"FORBIDDEN"`) {
				t.Errorf("%s %s with %s is answered %d %s, want %d", method, path, name, response.StatusCode, text, status)
			}
		}
		for _, path := range []string{"/", "/playground", "/schema.graphql", "/healthz"} {
			if response, _ := a.do(http.MethodGet, path, "", headers...); response.StatusCode != http.StatusOK {
				t.Errorf("%s with %s is answered %d", path, name, response.StatusCode)
			}
		}
	})
}

// A page of another origin opens no WebSocket.
func TestFetchesOfWebSockets(t *testing.T) {
	t.Parallel()
	a := newStreamAPI(t, func(c *httpapi.Config, _ *httptest.Server) { allowBoard(c) })
	eachFetch(a.server.URL, []string{"", "websocket"}, func(name string, allowed bool, headers []string) {
		_, response, err := a.dial(headers...)
		if (err == nil) != allowed || err != nil && response.StatusCode != http.StatusForbidden {
			t.Errorf("with %s, a handshake is answered %v, %v", name, response, err)
		}
	})
}
