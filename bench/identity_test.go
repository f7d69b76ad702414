//go:build bench

package bench_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"spoollock/auth"
	"spoollock/auth/authtest"
	"spoollock/lock"
)

// people is how many callers there are, each with a credential of their own.
const people = 50

// TestIdentity prints the time of a take over GraphQL where nobody knows who calls, and
// where callers show tokens or keys.
func TestIdentity(t *testing.T) {
	b := newBench(t)
	provider := authtest.New(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	var tokens, secrets []string
	for i := range people {
		id := fmt.Sprint("w", i)
		tokens = append(tokens, provider.Token(lock.Caller{Worker: lock.Worker{ID: lock.WorkerID(id), Name: "MR(93)"}, Role: lock.RoleWorker}))
		secrets = append(secrets, must[string](b)(auth.AddKey(file, auth.Key{
			Namespace: id, Name: "MR(93)", Scopes: []lock.Role{lock.RoleWorker}, Expires: time.Now().Add(time.Hour),
		})))
	}
	keys := must[*auth.Keys](b)(auth.LoadKeys(t.Context(), file, slog.New(slog.DiscardHandler)))
	modes := []struct {
		name        string
		url         string
		credentials []string // of the callers in turn; none: nobody knows who calls
	}{
		{"none", b.serve(auth.Static(lock.Caller{Role: lock.RoleWorker})).URL, nil},
		{"jwt", b.serve(provider.JWT(t).Identify).URL, tokens},
		{"keys", b.serve(keys.Identify).URL, secrets},
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	t.Cleanup(client.CloseIdleConnections)
	var turn atomic.Int64
	take := func(url string, credentials []string) {
		fields := map[string]any{"tagSpool": b.fresh(), "note": "weld 3 of 5"}
		credential := ""
		if credentials == nil {
			fields["workerId"], fields["workerNombre"] = "93", "MR(93)"
		} else {
			credential = credentials[turn.Add(1)%people]
		}
		body := must[[]byte](b)(json.Marshal(map[string]any{
			"query":     `mutation($input: TomarSpoolInput!){tomarSpool(input: $input){lockToken lock{ownerName expiresAt}}}`,
			"variables": map[string]any{"input": fields},
		}))
		request := must[*http.Request](b)(http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/graphql", bytes.NewReader(body)))
		request.Header.Set("Content-Type", "application/json")
		if credential != "" {
			request.Header.Set("Authorization", "Bearer "+credential)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Error(err)
			return
		}
		defer response.Body.Close() //nolint:errcheck // it was read
		if text := must[[]byte](b)(io.ReadAll(response.Body)); !bytes.Contains(text, []byte(`"lockToken":"`)) {
			t.Errorf("a take is answered %s", text)
		}
	}
	for _, goroutines := range []int{1, connections} {
		// Short turns, each mode first in as many, so that the machine's pace is the same for
		// all.
		const turns = 60
		samples, ratios := map[string][]float64{}, map[string][]float64{}
		for turn := range turns {
			took := map[string]float64{}
			for i := range modes {
				mode := modes[(turn+i)%len(modes)]
				took[mode.name] = float64(run(calls/10, goroutines, func() { take(mode.url, mode.credentials) }).Nanoseconds()) / 1000
			}
			for name, time := range took {
				samples[name] = append(samples[name], time)
				ratios[name] = append(ratios[name], 100*took["none"]/time)
			}
			if err := b.client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Printf("A take over GraphQL by %d callers, %d at a time\n\n", people, goroutines)
		fmt.Println("| AUTH_MODE | µs | takes in a second, of those with none |\n|---|---|---|")
		for _, mode := range modes {
			fmt.Printf("| %s | %.0f | %.0f %% |\n", mode.name, median(samples[mode.name]), median(ratios[mode.name]))
		}
		fmt.Println()
	}
}
