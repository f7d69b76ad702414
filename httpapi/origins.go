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
	next = protection.Handler(likePosts(next, protection))
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

// likePosts holds a GET of /graphql to the rules of a POST, a WebSocket's handshake too. A query
// makes the service work, but the protection lets each GET through, and a browser sends it
// without asking first. Pages can be linked to from anywhere.
func likePosts(next http.Handler, protection *http.CrossOriginProtection) http.Handler {
	refused := forbidden("A page of another origin may not use /graphql.")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == graphQLPath && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			post := *r
			post.Method = http.MethodPost
			if protection.Check(&post) != nil {
				refused.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func forbidden(message string) *gqlhttp.Refusal {
	return &gqlhttp.Refusal{Status: http.StatusForbidden, Code: graph.CodeForbidden, Message: message}
}
