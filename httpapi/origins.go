package httpapi

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/rs/cors"

	"spoollock/gqlhttp"
	"spoollock/graph"
)

// protect lets through only what a page of our own, or of an allowed origin, can have
// sent, and tells browsers what they may do with the answer.
func protect(next http.Handler, config Config) http.Handler {
	protection := http.NewCrossOriginProtection()
	for _, origin := range config.AllowedOrigins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			panic(err) // config has checked them
		}
	}
	protection.SetDenyHandler(forbidden("A page of another origin may not change anything here."))
	next = protection.Handler(handshakes(next, protection))
	if len(config.AllowedOrigins) > 0 { // an empty list would be every origin to cors
		next = cors.New(cors.Options{
			AllowedOrigins: config.AllowedOrigins,
			AllowedMethods: []string{http.MethodGet, http.MethodPost},
			AllowedHeaders: []string{"Content-Type", "Accept", headerBearer, headerKey},
			MaxAge:         600,
		}).Handler(next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if !ownHost(r.Host, config.AllowedHosts) {
			forbidden("This host name is not served here; see ALLOWED_HOSTS.").ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// handshakes holds a WebSocket's handshake to the rules of a POST: it comes by GET,
// which the protection lets through, and no browser asks before it sends one.
func handshakes(next http.Handler, protection *http.CrossOriginProtection) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gqlhttp.IsHandshake(r) {
			post := *r
			post.Method = http.MethodPost
			if protection.Check(&post) != nil {
				forbidden("A page of another origin may not open a WebSocket here.").ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ownHost reports whether a Host header names this service: by an address, which
// no rebinding of a name can stand behind, as localhost, or by an allowed name.
func ownHost(host string, allowed []string) bool {
	name := host
	if withoutPort, _, err := net.SplitHostPort(host); err == nil {
		name = withoutPort
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || net.ParseIP(strings.Trim(name, "[]")) != nil || slices.Contains(allowed, name)
}

func forbidden(message string) *gqlhttp.Refusal {
	return &gqlhttp.Refusal{Status: http.StatusForbidden, Code: graph.CodeForbidden, Message: message}
}
