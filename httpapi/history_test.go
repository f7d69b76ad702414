package httpapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

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
		event := func(kind, plus, expires string) string {
			return fmt.Sprintf(`{"cursor":"VERSION%s","node":{"id":"event:MK-1@VERSION:%s","type":"%[2]s","at":"MOMENT","ownerId":"93",`+
				`"ownerName":"MR(93)","version":VERSION,"note":"weld 3","expiresAt":%s}}`, plus, kind, expires)
		}
		a.want(historyQuery, map[string]any{"tag": " MK-1"}, 200,
			`{"data":{"spool":{"history":{"edges":[`+event("RELEASED", "", "null")+`,`+event("EXTENDED", "+", `"MOMENT"`)+`,`+
				event("TAKEN", "", `"MOMENT"`)+`],"pageInfo":{"hasNextPage":false,"endCursor":"VERSION"}}}}}`)
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
	a.want(historyQuery, map[string]any{"tag": "MK-1"}, 200,
		`{"data":{"spool":{"history":{"edges":[{"cursor":"VERSION","node":{"id":"event:MK-1@VERSION:TAKEN_EXTERNALLY","type":"TAKEN_EXTERNALLY",`+
			`"at":"MOMENT","ownerId":"94","ownerName":null,"version":VERSION,"note":null,"expiresAt":null}}],`+
			`"pageInfo":{"hasNextPage":false,"endCursor":"VERSION"}}}}}`)
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
