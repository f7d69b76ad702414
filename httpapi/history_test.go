package httpapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"spoollock/redisurl"
	"spoollock/repository/redistest"
)

const historyQuery = `query($tag: ID!, $first: Int = 20, $after: String){spool(tagSpool: $tag){history(first: $first, after: $after){
	edges{cursor node{id type at ownerId ownerName version note expiresAt}} pageInfo{hasNextPage endCursor}}}}`

// round takes the spool and releases it.
func (a *api) round(tag string) {
	a.t.Helper()
	token := a.take(map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)"})
	if _, body := a.post(release, input(map[string]any{"tagSpool": tag, "lockToken": token})); !strings.Contains(body, `"RELEASED"`) {
		a.t.Fatalf("a release is answered %s", body)
	}
}

// page is a part of a history.
type page struct {
	Edges []struct {
		Cursor string
		Node   struct {
			ID, Type string
			Version  int64
		}
	}
	PageInfo struct {
		HasNextPage bool
		EndCursor   *string
	}
}

func (a *api) history(variables map[string]any) page {
	a.t.Helper()
	_, body := a.post(historyQuery, variables)
	var answer struct {
		Errors json.RawMessage
		Data   struct{ Spool struct{ History *page } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Errors != nil || answer.Data.Spool.History == nil {
		a.t.Fatalf("a history is answered %s, %v", body, err)
	}
	return *answer.Data.Spool.History
}

func (p page) ids() (ids []string) {
	for _, edge := range p.Edges {
		ids = append(ids, edge.Node.ID)
	}
	return ids
}

func TestHistoryInAnswers(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(_ *testing.T, a *api) {
		a.want(historyQuery, map[string]any{"tag": "MK-1"}, 200,
			`{"data":{"spool":{"history":{"edges":[],"pageInfo":{"hasNextPage":false,"endCursor":null}}}}}`)
		token := a.take(map[string]any{"tagSpool": "MK-1", "workerId": "93", "workerNombre": "MR(93)", "note": "weld 3"})
		proof := map[string]any{"tagSpool": "MK-1", "lockToken": token, "additionalSeconds": 600}
		a.post(extend, input(proof))
		delete(proof, "additionalSeconds")
		a.post(release, input(proof))
		event := func(kind string, number int, expires string) string {
			return fmt.Sprintf(`{"cursor":"VERSION.%d","node":{"id":"event:MK-1@VERSION.%[1]d","type":"%s","at":"MOMENT","ownerId":"93",`+
				`"ownerName":"MR(93)","version":VERSION,"note":"weld 3","expiresAt":%s}}`, number, kind, expires)
		}
		a.want(historyQuery, map[string]any{"tag": " MK-1"}, 200,
			`{"data":{"spool":{"history":{"edges":[`+event("RELEASED", 3, "null")+`,`+event("EXTENDED", 2, `"MOMENT"`)+`,`+
				event("TAKEN", 1, `"MOMENT"`)+`],"pageInfo":{"hasNextPage":false,"endCursor":"VERSION.1"}}}}}`)
	})
}

// The note of a release is the note of its event, in a batch too. The take's event keeps
// the note of the lock, and a release that is sent again changes neither.
func TestNotesOfReleasesInAnswers(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, a *api) {
		const query = `query($tag: ID!){spool(tagSpool: $tag){history{edges{node{type note}}}}}`
		want := func(tag, released, taken string) {
			t.Helper()
			a.want(query, map[string]any{"tag": tag}, 200, fmt.Sprintf(`{"data":{"spool":{"history":{"edges":[`+
				`{"node":{"type":"RELEASED","note":%s}},{"node":{"type":"TAKEN","note":%s}}]}}}}`, released, taken))
		}
		proof := func(tag string, note any) map[string]any {
			token := a.take(map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)", "note": note})
			return map[string]any{"tagSpool": tag, "lockToken": token}
		}
		single := proof("MK-1", "weld 3")
		single["note"] = "weld 3 of 5 done,\n\"ñ\""
		for range 2 {
			a.post(release, input(single))
			single["note"] = "sent again"
		}
		want("MK-1", `"weld 3 of 5 done,\n\"ñ\""`, `"weld 3"`)

		noted, nulled, bare, wrong := proof("MK-2", "weld 4"), proof("MK-3", "weld 5"), proof("MK-4", nil), proof("MK-5", nil)
		noted["note"], nulled["note"], bare["note"], wrong["note"] = "done", nil, "grinding left", strings.Repeat("x", 141)
		_, body := a.post(releaseAll, batch(noted, nulled, bare, wrong))
		if !strings.Contains(body, `"released":3,"failed":1`) || !strings.Contains(body, `"field":"note","reason":"TOO_LONG"`) {
			t.Fatalf("a batch of releases is answered %s", body)
		}
		want("MK-2", `"done"`, `"weld 4"`)
		want("MK-3", `"weld 5"`, `"weld 5"`)
		want("MK-4", `"grinding left"`, "null")
		a.want(query, map[string]any{"tag": "MK-5"}, 200, `{"data":{"spool":{"history":{"edges":[{"node":{"type":"TAKEN","note":null}}]}}}}`)
	})
}

// What another program did is in the history with nulls where it says nothing.
func TestForeignHistoryInAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.Set(t.Context(), "spool_lock:MK-1", "94:x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	event := func(kind string, number int, expires string) string {
		return fmt.Sprintf(`{"cursor":"VERSION.%d","node":{"id":"event:MK-1@VERSION.%[1]d","type":"%s",`+
			`"at":"MOMENT","ownerId":"94","ownerName":null,"version":VERSION,"note":null,"expiresAt":%s}}`, number, kind, expires)
	}
	history := func(events ...string) string {
		return `{"data":{"spool":{"history":{"edges":[` + strings.Join(events, ",") + `],"pageInfo":{"hasNextPage":false,"endCursor":"VERSION.1"}}}}}`
	}
	taken := event("TAKEN_EXTERNALLY", 1, "null")
	a.want(historyQuery, map[string]any{"tag": "MK-1"}, 200, history(taken))
	if err := client.Expire(t.Context(), "spool_lock:MK-1", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	a.want(historyQuery, map[string]any{"tag": "MK-1"}, 200, history(event("EXTENDED_EXTERNALLY", 2, `"MOMENT"`), taken))
	if err := client.Del(t.Context(), "spool_lock:MK-1").Err(); err != nil {
		t.Fatal(err)
	}
	a.want(historyQuery, map[string]any{"tag": "MK-1"}, 200,
		history(event("RELEASED_EXTERNALLY", 3, "null"), event("EXTENDED_EXTERNALLY", 2, `"MOMENT"`), taken))
}

// A walk through the pages sees each event once, also while new ones come; and the
// cursor of an event that is no longer kept still says where to go on.
func TestHistoryPages(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	const tag = "MK-1"
	for range 12 {
		a.round(tag)
	}
	if first := a.history(map[string]any{"tag": tag}); len(first.Edges) != 20 || !first.PageInfo.HasNextPage {
		t.Fatalf("by default, %d events come", len(first.Edges))
	}
	all := a.history(map[string]any{"tag": tag, "first": 100})
	if len(all.Edges) != 24 || all.PageInfo.HasNextPage {
		t.Fatalf("the history has %d events", len(all.Edges))
	}
	var walked []string
	variables := map[string]any{"tag": tag, "first": 5}
	for {
		part := a.history(variables)
		walked = append(walked, part.ids()...)
		if !part.PageInfo.HasNextPage {
			break
		}
		if *part.PageInfo.EndCursor != part.Edges[4].Cursor {
			t.Fatalf("the end cursor of %+v is %s", part.Edges, *part.PageInfo.EndCursor)
		}
		variables["after"] = *part.PageInfo.EndCursor
		a.round(tag)
	}
	if !slices.Equal(walked, all.ids()) {
		t.Fatalf("the walk saw\n%v, want\n%v", walked, all.ids())
	}

	oldest := all.Edges[23]
	for range 50 {
		a.round(tag)
	}
	full := a.history(map[string]any{"tag": tag, "first": 100})
	if len(full.Edges) != 100 || full.PageInfo.HasNextPage || full.Edges[99].Node.Version <= oldest.Node.Version {
		t.Fatalf("the history has %d events, and more: %t", len(full.Edges), full.PageInfo.HasNextPage)
	}
	if evicted := a.history(map[string]any{"tag": tag, "after": oldest.Cursor}); len(evicted.Edges) != 0 || evicted.PageInfo.HasNextPage || evicted.PageInfo.EndCursor != nil {
		t.Fatalf("after an event that is no longer kept come %+v", evicted)
	}
}

// A history that cannot be answered is null with its error, and the spool is there.
func TestHistoriesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	for name, test := range map[string]struct {
		arguments map[string]any
		facts     string
	}{
		"none":             {map[string]any{"first": 0}, `"field":"first","maximum":100,"minimum":1,"reason":"OUT_OF_RANGE"`},
		"too many":         {map[string]any{"first": 101}, `"field":"first","maximum":100,"minimum":1,"reason":"OUT_OF_RANGE"`},
		"less than none":   {map[string]any{"first": -5}, `"field":"first","maximum":100,"minimum":1,"reason":"OUT_OF_RANGE"`},
		"no number":        {map[string]any{"first": nil}, `"field":"first","reason":"WRONG_TYPE"`},
		"a cursor made up": {map[string]any{"after": "x"}, `"field":"after","reason":"INVALID_CURSOR"`},
	} {
		t.Run(name, func(t *testing.T) {
			test.arguments["tag"] = "MK-1"
			_, body := a.post(strings.Replace(historyQuery, "history", "version history", 1), test.arguments)
			want := `"extensions":{"code":"BAD_USER_INPUT",` + test.facts + `}}],"data":{"spool":{"version":0,"history":null}}}`
			if !strings.HasSuffix(body, want) || !strings.Contains(body, `"path":["spool","history"]`) {
				t.Fatalf("answer is\n%s, want\n%s", body, want)
			}
		})
	}
}
