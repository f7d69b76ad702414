package httpapi

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// ownHosts lets through only what is for a host of this service.
func ownHosts(next http.Handler, allowed []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ownHost(r.Host, allowed) {
			forbidden("This host name is not served here; see ALLOWED_HOSTS.").ServeHTTP(w, r)
			return
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
