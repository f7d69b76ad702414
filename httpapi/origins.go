package httpapi

import (
	"net/http"

	"github.com/rs/cors"

	"spoollock/gqlhttp"
	"spoollock/graph"
)

// ownOrigins lets through only what a page of our own, or of an allowed origin, can
// have sent, and tells browsers what an allowed one may do.
func ownOrigins(next http.Handler, allowed []string) http.Handler {
	protection := http.NewCrossOriginProtection()
	for _, origin := range allowed {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			panic(err) // config has checked them
		}
	}
	protection.SetDenyHandler(forbidden("A page of another origin may not change anything here."))
	next = protection.Handler(handshakes(next, protection))
	if len(allowed) == 0 { // an empty list would be every origin to cors
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: allowed,
		AllowedMethods: []string{http.MethodGet, http.MethodPost},
		AllowedHeaders: []string{"Content-Type", "Accept", headerBearer, headerKey},
		MaxAge:         600,
	}).Handler(next)
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

func forbidden(message string) *gqlhttp.Refusal {
	return &gqlhttp.Refusal{Status: http.StatusForbidden, Code: graph.CodeForbidden, Message: message}
}
