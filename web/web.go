// Package web holds the pages that are served to people, inside the binary: no
// page asks any other machine for anything.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// playground is GraphiQL: its files and React's, see the script refresh, and a page
// of our own.
//
//go:embed playground/*.html playground/*.css playground/*.js
var playground embed.FS

// playgroundPolicy lets the page load its own files and ask its own server. The
// editor sets styles in its elements.
const playgroundPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Playground returns the handler of /playground and what is below it. Files are
// served with an ETag and are asked for anew each time.
func Playground() http.Handler {
	files := map[string]file{}
	entries, err := fs.ReadDir(playground, "playground")
	if err != nil {
		panic(err) // they are in the binary
	}
	for _, entry := range entries {
		content, err := fs.ReadFile(playground, path.Join("playground", entry.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		files[entry.Name()] = file{name: entry.Name(), content: string(content), etag: `"` + hex.EncodeToString(sum[:16]) + `"`}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/playground"), "/")
		if name == "" {
			name = "index.html"
		}
		found, ok := files[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", playgroundPolicy)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", found.etag)
		http.ServeContent(w, r, found.name, time.Time{}, strings.NewReader(found.content))
	})
}

type file struct{ name, content, etag string }
