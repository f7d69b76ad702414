package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/httpapi"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// What evicts is ready all the same.
const (
	live     = `{"status":"ready","checks":{"auth":"none","connect":"ok","eviction":"volatile-lru","floor":"live","memory":"ok","operations":"ok","redis":"ok"}}`
	notReady = `{"status":"not ready","failing":["floor","redis"],"checks":{"auth":"none","connect":"ok","eviction":"volatile-lru","floor":"stale","memory":"ok","operations":"ok","redis":"unavailable"}}`
)

// takeAs takes a spool for an hour.
func (a *api) takeAs(tag, worker string) (token string) {
	a.t.Helper()
	return a.take(map[string]any{"tagSpool": tag, "workerId": worker, "workerNombre": "MR(" + worker + ")"})
}

func (a *api) releaseSpool(tag, token string) {
	a.t.Helper()
	status, body := a.post(`mutation($input:ReleaseSpoolInput!){releaseSpool(input:$input){released}}`,
		input(map[string]any{"tagSpool": tag, "lockToken": token}))
	if status != 200 || body != `{"data":{"releaseSpool":{"released":true}}}` {
		a.t.Fatalf("a release is answered %d %s", status, body)
	}
}

// A walk through the pages finds every lock that stays, once, in order, whatever
// comes and goes meanwhile.
func TestSpoolLocksByPages(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redistest.Start(t).URL)
	a.awaitReadiness(200, live)
	var want []string
	tokens := map[string]string{}
	for i := range 12 {
		tag := fmt.Sprintf("MK-%02d", i)
		tokens[tag] = a.takeAs(tag, "93")
		if i != 3 && i != 9 {
			want = append(want, tag)
		}
	}
	var walked []string
	variables := map[string]any{"first": 5}
	for page := 0; ; page++ {
		var answer struct {
			Data struct {
				SpoolLocks struct {
					Edges []struct {
						Cursor string
						Node   struct{ TagSpool, OwnerID string }
					}
					PageInfo struct {
						HasNextPage bool
						EndCursor   *string
					}
					TotalCount int
					AsOf       string
				}
			}
		}
		_, body := a.post(`query($first:Int!,$after:String){spoolLocks(first:$first,after:$after){edges{cursor node{tagSpool ownerID:ownerId}} pageInfo{hasNextPage endCursor} totalCount asOf}}`, variables)
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Data.SpoolLocks.AsOf == "" {
			t.Fatalf("page %d is %s", page, body)
		}
		for _, edge := range answer.Data.SpoolLocks.Edges {
			if edge.Node.OwnerID != "93" {
				t.Fatalf("page %d is %s", page, body)
			}
			walked = append(walked, edge.Node.TagSpool)
		}
		if page == 0 {
			if answer.Data.SpoolLocks.TotalCount != 12 {
				t.Fatalf("page %d is %s", page, body)
			}
			a.releaseSpool("MK-03", tokens["MK-03"]) // seen already
			a.releaseSpool("MK-09", tokens["MK-09"]) // not seen yet
			a.takeAs("MK-000", "93")                 // before the place
		}
		if !answer.Data.SpoolLocks.PageInfo.HasNextPage {
			break
		}
		variables["after"] = *answer.Data.SpoolLocks.PageInfo.EndCursor
	}
	walked = slices.DeleteFunc(walked, func(tag string) bool { return tag == "MK-03" })
	if !slices.Equal(walked, want) {
		t.Fatalf("the walk found %v, want %v", walked, want)
	}
}

func TestSpoolLocksByFilter(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redistest.Start(t).URL)
	a.awaitReadiness(200, live)
	for i, tag := range []string{"A-1", "A-2", "B-1", "B-2"} {
		a.takeAs(tag, []string{"93", "94"}[i%2])
	}
	for filter, want := range map[string]string{
		`{}`:                               "A-1 A-2 B-1 B-2",
		`{"ownerId":"93"}`:                 "A-1 B-1",
		`{"ownerId":94}`:                   "A-2 B-2",
		`{"ownerId":"95"}`:                 "",
		`{"tagPrefix":"B"}`:                "B-1 B-2",
		`{"tagPrefix":""}`:                 "A-1 A-2 B-1 B-2",
		`{"tagPrefix":"B","ownerId":"93"}`: "B-1",
		`{"tagSpools":["B-2"," A-1","C-1","A-1"]}`:                   "A-1 B-2",
		`{"tagSpools":["B-2","A-1"],"ownerId":"93","tagPrefix":"A"}`: "A-1",
	} {
		var parsed map[string]any
		if err := json.Unmarshal([]byte(filter), &parsed); err != nil {
			t.Fatal(err)
		}
		_, body := a.post(`query($f:SpoolLockFilter){spoolLocks(filter:$f){edges{node{tagSpool}} totalCount}}`, map[string]any{"f": parsed})
		var edges []string
		for _, tag := range strings.Fields(want) {
			edges = append(edges, fmt.Sprintf(`{"node":{"tagSpool":%q}}`, tag))
		}
		if expected := fmt.Sprintf(`{"data":{"spoolLocks":{"edges":[%s],"totalCount":%d}}}`, strings.Join(edges, ","), len(edges)); body != expected {
			t.Errorf("%s finds %s, want %s", filter, body, expected)
		}
	}
	for arguments, field := range map[string]string{
		`first:0`: "first", `first:101`: "first", `filter:{ownerId:""}`: "ownerId",
		`filter:{tagPrefix:"` + strings.Repeat("x", 65) + `"}`: "tagPrefix",
		`filter:{tagSpools:[]}`:                                "tagSpools", `filter:{tagSpools:["a{b}"]}`: "tagSpools",
	} {
		_, body := a.post(`{spoolLocks(`+arguments+`){totalCount}}`, nil)
		if !strings.Contains(body, `"code":"BAD_USER_INPUT"`) || !strings.Contains(body, `"field":"`+field+`"`) {
			t.Errorf("%s is answered %s", arguments, body)
		}
	}
}

// A view that is not live does not list what it cannot vouch for.
func TestSpoolLocksWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	a.awaitReadiness(200, live)
	server.Kill()
	a.awaitReadiness(503, notReady)
	_, body := a.post(`{spoolLocks{totalCount}}`, nil)
	if !strings.Contains(body, `"The floor is not known at the moment. Try again."`) || !strings.Contains(body, `"code":"SERVICE_UNAVAILABLE","outcome":"NOT_APPLIED"`) || !strings.Contains(body, `"data":{"spoolLocks":null}`) {
		t.Fatalf("the list is %s", body)
	}
}

// floorClient follows the floor by Server-Sent Events, by the rule of the schema.
type floorClient struct {
	t      *testing.T
	events *bufio.Scanner
	held   map[string]string // tag and owner
	last   floorUpdate
}

type floorUpdate struct {
	Snapshot, More, Stale bool
	AsOf                  string
	Gone                  []string
	Changed               []struct {
		TagSpool string
		Version  int64
		Lock     *struct{ OwnerID string }
	}
}

func (a *api) follow(filter string) *floorClient {
	a.t.Helper()
	body := fmt.Sprintf(`{"query":"subscription{floorUpdates%s{snapshot more stale asOf gone changed{tagSpool version lock{ownerID:ownerId}}}}"}`, filter)
	request, err := http.NewRequestWithContext(testwait.Context(a.t), http.MethodPost, a.server.URL+"/graphql", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	response, err := a.client.Do(request)
	if err != nil || response.StatusCode != 200 {
		a.t.Fatalf("the stream is answered %v, %v", response, err)
	}
	a.t.Cleanup(func() { _ = response.Body.Close() })
	return &floorClient{t: a.t, events: bufio.NewScanner(response.Body), held: map[string]string{}}
}

// next takes in the next message.
func (c *floorClient) next() {
	c.t.Helper()
	for c.events.Scan() {
		text, found := strings.CutPrefix(c.events.Text(), "data: ")
		if !found || text == "" {
			continue
		}
		var answer struct {
			Data struct{ FloorUpdates floorUpdate }
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Data.FloorUpdates.AsOf == "" {
			c.t.Fatalf("the message is %s, %v", text, err)
		}
		c.last = answer.Data.FloorUpdates
		if c.last.Snapshot {
			clear(c.held)
		}
		for _, spool := range c.last.Changed {
			if spool.Lock != nil {
				c.held[spool.TagSpool] = spool.Lock.OwnerID
			}
		}
		for _, tag := range c.last.Gone {
			delete(c.held, tag)
		}
		return
	}
	c.t.Fatalf("the stream ended: %v", c.events.Err())
}

func (c *floorClient) await(want map[string]string) {
	c.t.Helper()
	for !reflect.DeepEqual(c.held, want) {
		c.next()
	}
}

// A client that follows the floor sees every change, of what it asked for, and says
// so when Redis is away; when it is back, the client's set is right again.
func TestFloorUpdates(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	a.awaitReadiness(200, live)
	token := a.takeAs("MK-1", "93")
	all, mine := a.follow(""), a.follow(`(filter:{ownerId:\"93\"})`)
	all.next()
	if !all.last.Snapshot || all.last.More || all.last.Stale || len(all.last.Changed) != 1 {
		t.Fatalf("the first message is %+v", all.last)
	}
	a.takeAs("MK-2", "94")
	all.await(map[string]string{"MK-1": "93", "MK-2": "94"})
	mine.await(map[string]string{"MK-1": "93"})
	a.releaseSpool("MK-1", token)
	all.await(map[string]string{"MK-2": "94"})
	mine.await(map[string]string{})
	a.takeAs("MK-1", "95")
	all.await(map[string]string{"MK-1": "95", "MK-2": "94"})

	server.Kill()
	for !all.last.Stale {
		all.next()
	}
	stood := all.last.AsOf
	server.Restart() // with nothing in it
	for all.last.Stale || !all.last.Snapshot {
		all.next()
	}
	all.await(map[string]string{})
	if all.last.AsOf <= stood {
		t.Fatalf("the floor is as of %s after %s", all.last.AsOf, stood)
	}
	a.takeAs("MK-3", "93")
	all.await(map[string]string{"MK-3": "93"})
	mine.await(map[string]string{"MK-3": "93"})
}

// A message of the floor asks Redis for nothing, so there is no history in it, whatever the
// limit on units is.
func TestFloorUpdatesWithHistory(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redistest.Start(t).URL, func(c *httpapi.Config) { c.RequestLimits.Units = 1 << 20 })
	for _, document := range []string{
		`subscription{floorUpdates{changed{history(first:1){pageInfo{hasNextPage}}}}}`,
		`subscription{floorUpdates{changed{... on Spool{h:history{edges{cursor}}}}}}`,
		`subscription{floorUpdates{changed{...{...F}}}} fragment F on Spool{...G} fragment G on Spool{history{edges{cursor}}}`,
		`subscription{...F} fragment F on Subscription{floorUpdates{changed{history @skip(if:true){edges{cursor}}}}}`,
	} {
		answer, err := (&streamAPI{api: a}).acknowledged(gqlhttptest.Subscribe("1", document)).Read()
		if err != nil || !strings.Contains(answer, `{"actual":1,"code":"QUERY_TOO_COMPLEX","limit":0,"limitName":"units"}`) || strings.Contains(answer, `"data":`) {
			t.Errorf("%s is answered %s, %v", document, answer, err)
		}
	}
}
