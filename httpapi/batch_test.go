package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"spoollock/gqlhttp"
	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
)

const (
	errorFields = `{code message retryable owner ` + lockFields + ` cause expected actual field reason outcome retryAfterSeconds}`

	tomarAll   = `mutation($input: TomarSpoolsInput!){tomarSpools(input: $input){taken failed results{tagSpool lockToken replayed lock ` + lockFields + ` spool ` + spoolFields + ` error ` + errorFields + `}}}`
	releaseAll = `mutation($input: ReleaseSpoolsInput!){releaseSpools(input: $input){released failed results{tagSpool released outcome spool ` + spoolFields + ` error ` + errorFields + `}}}`
	extendAll  = `mutation($input: ExtendLocksInput!){extendLocks(input: $input){extended failed results{tagSpool lock ` + lockFields + ` spool ` + spoolFields + ` error ` + errorFields + `}}}`
)

// batch is the variables of a batch.
func batch(items ...map[string]any) map[string]any {
	return input(map[string]any{"items": items})
}

// A batch from its take to its release, answer for answer: each item succeeds or
// fails on its own, at its place.
func TestBatchesInAnswers(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(_ *testing.T, a *api) {
		const occupied = `{"id":"lock:MK-2@VERSION","tagSpool":"MK-2","ownerId":"94","ownerName":"JP(94)","note":null,` +
			`"version":VERSION,"acquiredAt":"MOMENT","expiresAt":"MOMENT","remainingSeconds":AN-HOUR}`
		const nobody = `"owner":null,`
		failed := func(code, message, facts string) string {
			return `"error":{"code":"` + code + `","message":"` + message + `","retryable":false,` + facts + `,"outcome":null,"retryAfterSeconds":null}`
		}
		spool := func(tag, lock string) string {
			return fmt.Sprintf(`{"id":"spool:%s","tagSpool":"%[1]s","version":VERSION,"lock":%s}`, tag, lock)
		}
		held := func(tag, remaining string) string {
			return fmt.Sprintf(`{"id":"lock:%s@VERSION","tagSpool":"%[1]s","ownerId":"93","ownerName":"MR(93)","note":"weld 3",`+
				`"version":VERSION,"acquiredAt":"MOMENT","expiresAt":"MOMENT","remainingSeconds":%s}`, tag, remaining)
		}
		a.take(map[string]any{"tagSpool": "MK-2", "workerId": "94", "workerNombre": "JP(94)"})
		item := func(tag string) map[string]any {
			return map[string]any{
				"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)", "note": "weld 3", "requestId": uuid.NewString(),
			}
		}
		first, conflicting := item(" MK-1"), item("MK-4")
		conflicting["expectedVersion"] = 7
		takes := batch(first, item("MK-2"), item("{MK-3}"), conflicting, item("MK-5"))
		none := `"lockToken":null,"replayed":null,"lock":null,"spool":null,`
		taken := func(replayed string) string {
			took := func(tag string) string {
				return fmt.Sprintf(`{"tagSpool":"%s","lockToken":"93:UUID","replayed":%s,"lock":%s,"spool":%s,"error":null}`,
					tag, replayed, held(tag, "AN-HOUR"), spool(tag, held(tag, "AN-HOUR")))
			}
			return `{"data":{"tomarSpools":{"taken":2,"failed":3,"results":[` + took("MK-1") +
				`,{"tagSpool":"MK-2",` + none + failed("SPOOL_OCCUPIED", "Spool MK-2 is held by JP(94) (94) until TIME.",
				`"owner":`+occupied+`,"cause":null,"expected":null,"actual":null,"field":null,"reason":null`) +
				`},{"tagSpool":"{MK-3}",` + none + failed("BAD_USER_INPUT", "tagSpool must not contain { or }.",
				nobody+`"cause":null,"expected":null,"actual":null,"field":"tagSpool","reason":"INVALID_CHARACTER"`) +
				`},{"tagSpool":"MK-4",` + none + failed("VERSION_CONFLICT", "Spool MK-4 has version 0, not 7.",
				nobody+`"cause":null,"expected":7,"actual":0,"field":null,"reason":null`) +
				`},` + took("MK-5") + `]}}}`
		}
		a.want(tomarAll, takes, 200, taken("false"))
		a.want(tomarAll, takes, 200, taken("true"))

		proof := func(tag, token string) map[string]any { return map[string]any{"tagSpool": tag, "lockToken": token} }
		ours := proof("MK-1", "93:"+first["requestId"].(string))
		more := func(proof map[string]any, seconds int) map[string]any {
			proof = maps.Clone(proof)
			proof["additionalSeconds"] = seconds
			return proof
		}
		longer := held("MK-1", "70-MINUTES")
		a.want(extendAll, batch(more(ours, 600), more(proof("MK-6", "93:x"), 600), more(proof("MK-7", "93:x"), 0)), 200,
			`{"data":{"extendLocks":{"extended":1,"failed":2,"results":[{"tagSpool":"MK-1","lock":`+longer+`,"spool":`+spool("MK-1", longer)+`,"error":null},`+
				`{"tagSpool":"MK-6","lock":null,"spool":null,`+failed("LOCK_EXPIRED", "Nobody holds spool MK-6.",
				nobody+`"cause":"NOT_HELD","expected":null,"actual":null,"field":null,"reason":null`)+
				`},{"tagSpool":"MK-7","lock":null,"spool":null,`+failed("BAD_USER_INPUT", "additionalSeconds must be 1 to 43200 seconds.",
				nobody+`"cause":null,"expected":null,"actual":null,"field":"additionalSeconds","reason":"OUT_OF_RANGE"`)+`}]}}}`)

		released := func(outcome string) string {
			return `{"data":{"releaseSpools":{"released":1,"failed":1,"results":[` +
				`{"tagSpool":"MK-1","released":true,"outcome":"` + outcome + `","spool":` + spool("MK-1", "null") + `,"error":null},` +
				`{"tagSpool":"MK-2","released":false,"outcome":"NOT_OWNER","spool":` + spool("MK-2", occupied) + `,"error":null},` +
				`{"tagSpool":"MK-3","released":null,"outcome":null,"spool":null,` + failed("BAD_USER_INPUT", "lockToken must have 1 to 160 characters.",
				nobody+`"cause":null,"expected":null,"actual":null,"field":"lockToken","reason":"TOO_SHORT"`) + `}]}}}`
		}
		releases := batch(ours, proof("MK-2", "93:x"), proof("MK-3", ""))
		a.want(releaseAll, releases, 200, released("RELEASED"))
		a.want(releaseAll, releases, 200, released("ALREADY_RELEASED"))

		a.want(`{spools(tagSpools:["MK-2","","MK-1"])`+spoolFields+`}`, nil, 200,
			`{"errors":[{"message":"tagSpools must have 1 to 64 characters.","path":["spools",1],"locations":[{"line":1,"column":2}],`+
				`"extensions":{"code":"BAD_USER_INPUT","field":"tagSpools","maximum":64,"minimum":1,"reason":"TOO_SHORT"}}],`+
				`"data":{"spools":[`+spool("MK-2", occupied)+`,null,`+spool("MK-1", "null")+`]}}`)
	})
}

func TestBatchesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	tags := func(n int) (tags []string) {
		for i := range n {
			tags = append(tags, fmt.Sprintf("MK-%d", i))
		}
		return tags
	}
	for name, test := range map[string]struct {
		tags  []string
		facts string
	}{
		"none":                  {[]string{}, `"maximum":50,"minimum":1,"reason":"OUT_OF_RANGE"`},
		"too many":              {tags(51), `"maximum":50,"minimum":1,"reason":"OUT_OF_RANGE"`},
		"a tag twice":           {[]string{"MK-1", "MK-2", "MK-1"}, `"reason":"DUPLICATE"`},
		"a tag in two writings": {[]string{"MK-1", "MK-2", " MK-1 "}, `"reason":"DUPLICATE"`},
	} {
		t.Run(name, func(t *testing.T) {
			var takes, proofs []map[string]any
			for _, tag := range test.tags {
				takes = append(takes, map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)"})
				proofs = append(proofs, map[string]any{"tagSpool": tag, "lockToken": "93:x"})
			}
			var extensions []map[string]any
			for _, proof := range proofs {
				proof = maps.Clone(proof)
				proof["additionalSeconds"] = 60
				extensions = append(extensions, proof)
			}
			for _, request := range []struct {
				query     string
				variables map[string]any
				field     string
			}{
				{tomarAll, batch(takes...), "items"},
				{releaseAll, batch(proofs...), "items"},
				{extendAll, batch(extensions...), "items"},
				{`query($tags: [ID!]!){spools(tagSpools: $tags){version}}`, map[string]any{"tags": test.tags}, "tagSpools"},
			} {
				if test.tags != nil && len(test.tags) == 0 && request.field == "items" {
					request.variables = input(map[string]any{"items": []any{}})
				}
				want := `"extensions":{"code":"BAD_USER_INPUT","field":"` + request.field + `",` + test.facts + `}}],"data":{"`
				if _, body := a.post(request.query, request.variables); !strings.Contains(body, want) || strings.Count(body, "code") != 1 {
					t.Errorf("%s is answered\n%s, want\n%s", request.query, body, want)
				}
			}
		})
	}
	// Nothing was taken of any of them.
	a.want(`{spools(tagSpools:["MK-0","MK-1","MK-2"]){version}}`, nil, 200, `{"data":{"spools":[{"version":0},{"version":0},{"version":0}]}}`)
}

// uuids differ from log line to log line.
var uuids = volatile[0].pattern

// itemFacts are the facts of an answer's one error: of the error of an operation, or
// of the second item of a batch.
func itemFacts(t *testing.T, body string) map[string]any {
	t.Helper()
	var answer struct {
		Errors []struct {
			Message    string
			Extensions map[string]any
		}
		Data map[string]*struct {
			Results []struct{ Error map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(uuids.ReplaceAllString(body, "UUID")), &answer); err != nil {
		t.Fatalf("answer is %s, %v", body, err)
	}
	if len(answer.Errors) == 0 {
		for _, payload := range answer.Data {
			return payload.Results[1].Error
		}
	}
	facts := map[string]any{"message": answer.Errors[0].Message}
	for name, fact := range answer.Errors[0].Extensions {
		facts[name] = fact
	}
	return facts
}

// What an item of a batch failed with, its operation alone would have failed with,
// fact for fact.
func TestItemErrorsSayWhatTheExtensionsSay(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.LPush(t.Context(), "spool_lock:BROKEN", "x").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(t.Context(), "spool_lock:FOREIGN", "94:x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	a.take(map[string]any{"tagSpool": "HELD", "workerId": "94", "workerNombre": "JP(94)", "note": "weld 3"})
	spent := map[string]any{"tagSpool": "SPENT", "workerId": "93", "workerNombre": "MR(93)", "requestId": uuid.NewString()}
	a.post(release, input(map[string]any{"tagSpool": "SPENT", "lockToken": a.take(spent)}))
	take := func(tag string, more ...any) map[string]any {
		fields := map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)"}
		for i := 0; i < len(more); i += 2 {
			fields[more[i].(string)] = more[i+1]
		}
		return fields
	}
	compare := func(name, code, query, queryAll string, item map[string]any) {
		t.Helper()
		other := maps.Clone(item)
		other["tagSpool"] = "OTHER"
		_, alone := a.post(query, input(item))
		_, among := a.post(queryAll, batch(other, item))
		want, got := itemFacts(t, alone), itemFacts(t, among)
		if want["code"] != code || got["code"] != code {
			t.Fatalf("%s: the codes are %v alone and %v among others", name, want["code"], got["code"])
		}
		for _, fact := range []string{"message", "cause", "expected", "actual", "field", "reason", "outcome", "retryAfterSeconds"} {
			if want[fact] != got[fact] {
				t.Errorf("%s: %s is %v alone and %v among others", name, fact, want[fact], got[fact])
			}
		}
		if retryable := want["retryable"] == true; got["retryable"] != retryable {
			t.Errorf("%s: retryable is %v alone and %v among others", name, want["retryable"], got["retryable"])
		}
		owner, occupied := got["owner"].(map[string]any)
		if occupied != (code == "SPOOL_OCCUPIED") {
			t.Errorf("%s: the owner is %v", name, got["owner"])
		}
		for fact, value := range owner {
			if fact != "id" && fact != "remainingSeconds" && want[fact] != value {
				t.Errorf("%s: %s is %v alone and %v among others", name, fact, want[fact], value)
			}
		}
	}
	proof := map[string]any{"tagSpool": "FOREIGN", "lockToken": "94:x", "additionalSeconds": 60}
	compare("occupied", "SPOOL_OCCUPIED", tomar, tomarAll, take("HELD"))
	compare("occupied by another program", "SPOOL_OCCUPIED", tomar, tomarAll, take("FOREIGN"))
	compare("conflict", "VERSION_CONFLICT", tomar, tomarAll, take("FREE", "expectedVersion", 7))
	compare("spent", "LOCK_EXPIRED", tomar, tomarAll, spent)
	compare("bad input", "BAD_USER_INPUT", tomar, tomarAll, take("FREE", "ttlSeconds", 0))
	compare("no end", "BAD_USER_INPUT", extend, extendAll, proof)
	compare("broken", "INTERNAL_SERVER_ERROR", tomar, tomarAll, take("BROKEN"))
	server.Kill()
	a.post(`{spool(tagSpool:"MK-1"){version}}`, nil) // may find a connection that looks alive
	compare("unavailable", "SERVICE_UNAVAILABLE", tomar, tomarAll, take("FREE"))
}

// An item that fails for what no client can mend is masked, logged once, and leaves its
// neighbours alone.
func TestInternalErrorOfAnItem(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := newAPI(t, server.URL)
	client := server.Client()
	defer client.Close() //nolint:errcheck // a client of the moment
	if err := client.LPush(t.Context(), "spool_lock:MK-2", "x").Err(); err != nil {
		t.Fatal(err)
	}
	item := func(tag string) map[string]any {
		return map[string]any{"tagSpool": tag, "workerId": "93", "workerNombre": "MR(93)"}
	}
	a.want(`mutation($input: TomarSpoolsInput!){tomarSpools(input: $input){results{tagSpool lockToken error{code message}}}}`,
		batch(item("MK-1"), item("MK-2"), item("MK-3")), 200,
		`{"data":{"tomarSpools":{"results":[{"tagSpool":"MK-1","lockToken":"93:UUID","error":null},{"tagSpool":"MK-2","lockToken":null,`+
			`"error":{"code":"INTERNAL_SERVER_ERROR","message":"Something went wrong on the server. Its log has the details under UUID."}},`+
			`{"tagSpool":"MK-3","lockToken":"93:UUID","error":null}]}}}`)
	if log := a.log.String(); strings.Count(log, "WRONGTYPE") != 1 || !strings.Contains(log, "tag=MK-2 ") {
		t.Fatalf("the error is not in the log once, with its spool:\n%s", log)
	}
}

// Each null among the spools has its error, however many there are: without it, one
// would look free.
func TestEveryMissingSpoolHasItsError(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	var tags []string
	for range lock.MaxBatch {
		tags = append(tags, "{}")
	}
	_, body := a.post(`query($tags: [ID!]!){spools(tagSpools: $tags){lock{ownerId}}}`, map[string]any{"tags": tags})
	for i := range tags {
		if path := fmt.Sprintf(`"path":["spools",%d]`, i); strings.Count(body, path) != 1 {
			t.Errorf("%s is not in the answer once: %.300s", path, body)
		}
	}
}

// What is no tag comes back as it was sent, and not at any length.
func TestWhatIsNoTagIsAnsweredShortened(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	const query = `mutation($input: ReleaseSpoolsInput!){releaseSpools(input: $input){results{tagSpool}}}`
	proof := func(tag string) map[string]any { return map[string]any{"tagSpool": tag, "lockToken": "93:x"} }
	a.want(query, batch(proof(strings.Repeat("ñ", 10_000)), proof(" {} "), proof(""), proof(" MK-1 ")), 200,
		`{"data":{"releaseSpools":{"results":[{"tagSpool":"`+strings.Repeat("ñ", 64)+`"},{"tagSpool":" {} "},{"tagSpool":""},{"tagSpool":"MK-1"}]}}}`)
}

// A whole batch, every input of it as long as tablets write it and everything asked
// of it, is within the limits; sent as literals, it would have too many tokens.
func TestAWholeBatchIsWithinTheLimits(t *testing.T) {
	t.Parallel()
	for name, note := range map[string]string{"ASCII": "x", "two bytes": "ñ", "four bytes": "🔧"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, redisurl.EmbeddedText)
			var items []map[string]any
			var tags []string
			for i := range lock.MaxBatch {
				tags = append(tags, fmt.Sprintf("MK-1335-CW-25238-%03d", i))
				items = append(items, map[string]any{
					"tagSpool": tags[i], "workerId": "93", "workerNombre": strings.Repeat("ñ", 40), "ttlSeconds": 43200,
					"note": strings.Repeat(note, 140), "expectedVersion": 0, "requestId": uuid.NewString(),
				})
			}
			_, body := a.post(tomarAll, batch(items...))
			if !strings.Contains(body, `"taken":50,"failed":0`) {
				t.Fatalf("answer is %.300s", body)
			}
			_, body = a.post(`query($tags: [ID!]!){spools(tagSpools: $tags)`+spoolFields+`}`, map[string]any{"tags": tags})
			if strings.Count(body, `"ownerId":"93"`) != 50 {
				t.Fatalf("answer is %.300s", body)
			}
		})
	}
	a := newAPI(t, redisurl.EmbeddedText)
	// Python's json.dumps and others write every character beyond ASCII as \u….
	escaped := `{"tagSpool":"MK-%d","workerId":"93","workerNombre":"MR(93)","requestId":"` + uuid.NewString() + `","note":"` + strings.Repeat(`\u00f1`, 140) + `"}`
	var items, literals []string
	for i := range lock.MaxBatch {
		items = append(items, fmt.Sprintf(escaped, i))
		literals = append(literals, fmt.Sprintf(`{tagSpool:"MK-%d",workerId:"93",workerNombre:"MR",note:"",ttlSeconds:60,expectedVersion:0,requestId:"x"}`, i))
	}
	status, body := a.send(http.MethodPost, "/graphql", "application/json",
		`{"query":"mutation($input: TomarSpoolsInput!){tomarSpools(input: $input){taken}}","variables":{"input":{"items":[`+strings.Join(items, ",")+`]}}}`)
	if status != 200 || body != `{"data":{"tomarSpools":{"taken":50}}}` {
		t.Errorf("an escaped batch is answered %d %s", status, body)
	}
	if _, body := a.post(`mutation{tomarSpools(input:{items:[`+strings.Join(literals, ",")+`]}){taken}}`, nil); !strings.Contains(body, `"limitName":"tokens"`) {
		t.Errorf("a batch of literals is answered %s", body)
	}
}

// A batch is one root field, whatever is in it.
func TestBatchesAreRootFieldsLikeOthers(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	tags := `["` + strings.Join(slices.Collect(func(yield func(string) bool) {
		for i := range lock.MaxBatch {
			if !yield(fmt.Sprintf("MK-%d", i)) {
				return
			}
		}
	}), `","`) + `"]`
	var document strings.Builder
	for i := range gqlhttp.DefaultUnits / lock.MaxBatch {
		fmt.Fprintf(&document, "a%d:spools(tagSpools:%s){version} ", i, tags)
	}
	if _, body := a.post("{"+document.String()+"}", nil); strings.Contains(body, "errors") || strings.Count(body, "version") != gqlhttp.DefaultUnits {
		t.Errorf("answer is %.300s", body)
	}
}
