package httpapi_test

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"spoollock/httpapi"
	"spoollock/redisurl"
	"spoollock/testwait"
)

// introspectionQuery is graphql-js' full one, the deepest document that an honest
// client sends.
const introspectionQuery = `query IntrospectionQuery { __schema { description queryType { name } mutationType { name } subscriptionType { name }
types { ...FullType } directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } } } }
fragment FullType on __Type { kind name description specifiedByURL isOneOf
fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }`

// nested is a document of the given depth.
func nested(depth int) string {
	return strings.Repeat("... on Query {", 3) + // what has no depth
		`spool(tagSpool:"MK-1") {` + strings.Repeat("lock {", depth-2) + "id" + strings.Repeat("}", depth-1) + strings.Repeat("}", 3)
}

// Each limit lets through what is just below it, and names itself for what is just
// above.
func TestLimits(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.RequestLimits.Fields = 500 })
	repeat := func(n int, format string) string {
		var text strings.Builder
		for i := range n {
			text.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)))
		}
		return text.String()
	}
	tests := map[string]struct {
		limit    int
		document func(n int) string
	}{
		"tokens":     {1000, func(n int) string { return "{" + repeat(n-2, "__typename ") + "}" }},
		"aliases":    {15, func(n int) string { return `{spool(tagSpool:"MK-1"){` + repeat(n, "a#:version ") + "}}" }},
		"rootFields": {5, func(n int) string { return "{" + repeat(n, `a#:spool(tagSpool:"MK-#"){version} `) + "}" }},
		"directives": {50, func(n int) string { return `{spool(tagSpool:"MK-1"){` + repeat(n, "version @skip(if:false) ") + "}}" }},
		"fields": {500, func(n int) string {
			return `{spool(tagSpool:"MK-1"){` + repeat(n%20, "version ") + repeat(n/20-1, "lock{"+strings.Repeat("id ", 19)+"}") +
				strings.Repeat("version ", 19) + "}}"
		}},
		// Two selections: of the one field, and of the others.
		"overlap": {50_000, func(n int) string {
			fields := int(math.Sqrt(float64(n))) // of the limit 223, and of the limit and one, too
			return `{spool(tagSpool:"MK-1"){` + repeat(fields+n-50_000, "version ") + "}}"
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// A thousand tokens are more fields than may be.
			if _, body := a.post(test.document(test.limit), nil); strings.Contains(body, `"errors"`) && name != "tokens" ||
				strings.Contains(body, `"limitName":"tokens"`) {
				t.Errorf("at the limit, the answer is %s", body)
			}
			actual := test.limit + 1
			if name == "overlap" {
				actual = 224*224 + 1
			}
			want := fmt.Sprintf(`"extensions":{"actual":%d,"code":"QUERY_TOO_COMPLEX","limit":%d,"limitName":%q}`, actual, test.limit, name)
			if status, body := a.post(test.document(test.limit+1), nil); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("above the limit, the answer is %d %s, want %s", status, body, want)
			}
		})
	}
}

// A field in a list counts as often as the list is asked for, be it in the document
// or in the variables.
func TestFields(t *testing.T) {
	t.Parallel()
	const history = `history(first: %s){edges{cursor}}`
	full := strings.Replace(spoolFields, "lock", "history(first:100){edges{cursor node{id type at ownerId ownerName version note expiresAt}}} lock", 1)
	for name, test := range map[string]struct {
		document  string
		variables map[string]any
		want      int
	}{
		"fields":                 {`{spool(tagSpool:"a"){id lock{id}} __typename}`, nil, 5},
		"a list":                 {`{spools(tagSpools:["a","b","c"]){id version}}`, nil, 1 + 3*2},
		"a list in a variable":   {`query($tags:[ID!]!){spools(tagSpools:$tags){id}}`, map[string]any{"tags": []string{"a", "b"}}, 1 + 2},
		"a tag in two variables": {`query($a:ID!,$b:ID!){spools(tagSpools:[$a,$b]){id}}`, map[string]any{"a": "a", "b": "b"}, 1 + 2},
		"an empty list":          {`{spools(tagSpools:[]){id}}`, nil, 1 + 1},
		"a history":              {`{spool(tagSpool:"a"){history{edges{cursor}}}}`, nil, 1 + 1 + 20*2},
		"a long history":         {`{spool(tagSpool:"a"){` + fmt.Sprintf(history, "100") + `}}`, nil, 1 + 1 + 100*2},
		"a history too long":     {`{spool(tagSpool:"a"){` + fmt.Sprintf(history, "2147483647") + `}}`, nil, 1 + 1 + 100*2},
		"a negative history":     {`{spool(tagSpool:"a"){` + fmt.Sprintf(history, "-100") + `}}`, nil, 1 + 1 + 2},
		"a history by variable":  {`query($n:Int!){spool(tagSpool:"a"){` + fmt.Sprintf(history, "$n") + `}}`, map[string]any{"n": 7}, 1 + 1 + 7*2},
		"a variable's default":   {`query($n:Int!=9){spool(tagSpool:"a"){` + fmt.Sprintf(history, "$n") + `}}`, nil, 1 + 1 + 9*2},
		"histories":              {`{spools(tagSpools:["a","b"]){...F ...F}} fragment F on Spool{` + fmt.Sprintf(history, "3") + `}`, nil, 1 + 2*2*(1+3*2)},
		"takes": {`mutation($input:TomarSpoolsInput!){tomarSpools(input:$input){taken results{tagSpool}}}`,
			batch(map[string]any{"tagSpool": "a"}, map[string]any{"tagSpool": "b"}), 1 + 2*3},
		"releases": {`mutation{releaseSpools(input:{items:[{tagSpool:"a",lockToken:"x"},{tagSpool:"b",lockToken:"x"}]}){failed}}`, nil, 1 + 2},
		"extensions": {`mutation($i:ExtendLockInput!){extendLocks(input:{items:[$i,$i,$i]}){failed}}`,
			map[string]any{"i": map[string]any{"tagSpool": "a", "lockToken": "x", "additionalSeconds": 1}}, 1 + 3},
		"fifty histories": {`query($tags:[ID!]!){spools(tagSpools:$tags)` + full + `}`,
			map[string]any{"tags": slices.Repeat([]string{"a"}, 50)}, 1 + 50*(13+1+100*11)},
		"a hundred events": {`{spool(tagSpool:"a")` + full + `}`, nil, 1 + 13 + 1 + 100*11},
		"fifty takes":      {tomarAll, batch(slices.Repeat([]map[string]any{{"tagSpool": "a"}}, 50)...), 2551},
		"more than fifty":  {`query($tags:[ID!]!){spools(tagSpools:$tags){id}}`, map[string]any{"tags": slices.Repeat([]string{"a"}, 5000)}, 1 + 50},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := test.want
			a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.RequestLimits.Fields = limit })
			if _, body := a.post(test.document, test.variables); strings.Contains(body, "QUERY_TOO_COMPLEX") {
				t.Errorf("at the limit, the answer is %s", body)
			}
			limit--
			a = newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.RequestLimits.Fields = limit })
			want := fmt.Sprintf(`"extensions":{"actual":%d,"code":"QUERY_TOO_COMPLEX","limit":%d,"limitName":"fields"}`, test.want, limit)
			if _, body := a.post(test.document, test.variables); !strings.Contains(body, want) || strings.Contains(body, "data") {
				t.Errorf("above the limit, the answer is %s, want %s", body, want)
			}
		})
	}
}

// A document that was accepted with some variables is not with others; and what a
// page shows is within the default, with room to spare.
func TestFieldsOfADocumentWithOtherVariables(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	const document = `query($tags:[ID!]!,$n:Int!){spools(tagSpools:$tags){id version lock{ownerName expiresAt} history(first:$n){edges{node{type at ownerName}}}}}`
	var tags []string
	for i := range 50 {
		tags = append(tags, fmt.Sprintf("MK-%d", i))
	}
	for n, accepted := range map[int]bool{3: true, 100: false} {
		_, body := a.post(document, map[string]any{"tags": tags, "n": n})
		if refused := strings.Contains(body, `"code":"QUERY_TOO_COMPLEX"`); refused == accepted {
			t.Errorf("with %d events of each, the answer is %.200s", n, body)
		}
	}
}

// What a document asks of Redis counts a unit for each command: of the spools that are
// really asked for, in the document or in the variables.
func TestUnits(t *testing.T) {
	t.Parallel()
	const several = `query($tags:[ID!]!){spools(tagSpools:$tags){version history(first:1){edges{cursor}}}}`
	tags := func(n int) map[string]any { return map[string]any{"tags": slices.Repeat([]string{"a"}, n)} }
	extensions := slices.Repeat([]map[string]any{{"tagSpool": "a", "lockToken": "x", "additionalSeconds": 1}}, 50)
	for name, test := range map[string]struct {
		document  string
		variables map[string]any
		want      int
	}{
		"nothing":                   {`{__typename lockLimits{batchSize} __schema{queryType{name}} __type(name:"Spool"){name}}`, nil, 0},
		"a lock":                    {`{spoolLock(tagSpool:"a")` + lockFields + `}`, nil, 1},
		"a spool":                   {`{spool(tagSpool:"a")` + spoolFields + `}`, nil, 1},
		"a spool and its history":   {`{spool(tagSpool:"a"){history(first:100){edges{cursor}}}}`, nil, 2},
		"histories by alias":        {`{spool(tagSpool:"a"){a:history{edges{cursor}} b:history{edges{cursor}}}}`, nil, 3},
		"a spool twice":             {`{a:spool(tagSpool:"a"){id} b:spool(tagSpool:"a"){id}}`, nil, 2},
		"a check":                   {`{checkLock(input:{tagSpool:"a",lockToken:"x"}){valid spool{history{edges{cursor}}}}}`, nil, 2},
		"a page of the floor":       {`{spoolLocks(first:100,filter:{tagSpools:["a","b"]}){totalCount}}`, nil, 1},
		"spools":                    {`{spools(tagSpools:["a","b","c"]){id}}`, nil, 3},
		"a tag that is no list":     {`{spools(tagSpools:"a"){id}}`, nil, 1},
		"spools in a variable":      {several, tags(42), 84},
		"a variable that is none":   {several, map[string]any{"tags": "a"}, 2},
		"tags in two variables":     {`query($a:ID!,$b:ID!){spools(tagSpools:[$a,$b]){id}}`, map[string]any{"a": "a", "b": "b"}, 2},
		"no spools":                 {several, tags(0), 2},
		"more than a batch":         {several, tags(500), 100},
		"in fragments":              {`{...F} fragment F on Query{spools(tagSpools:["a","b"]){...on Spool{...G ...G}}} fragment G on Spool{history{edges{cursor}}}`, nil, 2 * 3},
		"a take":                    {tomar, input(map[string]any{"tagSpool": "a"}), 1},
		"a take and the history":    {`mutation{tomarSpool(input:{tagSpool:"a"}){lock{id} spool{history{edges{cursor}}}}}`, nil, 2},
		"a resume":                  {`mutation{resumeSpool(input:{tagSpool:"a"}){lockToken}}`, nil, 1},
		"a forced release":          {`mutation{forceReleaseSpool(input:{tagSpool:"a",reason:"because",expectedVersion:1}){spool{id}}}`, nil, 1},
		"fifty takes":               {tomarAll, batch(slices.Repeat([]map[string]any{{"tagSpool": "a"}}, 50)...), 50},
		"fifty, and the histories":  {`mutation($input:ExtendLocksInput!){extendLocks(input:$input){results{spool{history{edges{cursor}}}}}}`, batch(extensions...), 100},
		"a release that is no list": {`mutation{releaseSpools(input:{items:{tagSpool:"a",lockToken:"x"}}){failed}}`, nil, 1},
		"items in a variable":       {`mutation($i:[ExtendLockInput!]!){extendLocks(input:{items:$i}){failed}}`, map[string]any{"i": extensions[:3]}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limited := func(units int) (body string) {
				if units == 0 {
					units = -1 // none
				}
				a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.RequestLimits.Units, c.Introspection = units, true })
				_, body = a.post(test.document, test.variables)
				return body
			}
			if body := limited(test.want); strings.Contains(body, "QUERY_TOO_COMPLEX") {
				t.Errorf("at the limit, the answer is %s", body)
			}
			if test.want == 0 {
				return
			}
			want := fmt.Sprintf(`"extensions":{"actual":%d,"code":"QUERY_TOO_COMPLEX","limit":%d,"limitName":"units"}`, test.want, test.want-1)
			if body := limited(test.want - 1); !strings.Contains(body, want) || strings.Contains(body, "data") {
				t.Errorf("above the limit, the answer is %s, want %s", body, want)
			}
		})
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.Introspection = true })
	// No type of the schema goes that deep: below the limit, the validation refuses.
	if _, body := a.post("{"+nested(12)+"}", nil); !strings.Contains(body, "GRAPHQL_VALIDATION_FAILED") {
		t.Errorf("at the limit, the answer is %s", body)
	}
	if _, body := a.post("{"+nested(13)+"}", nil); !strings.Contains(body, `{"actual":13,"code":"QUERY_TOO_COMPLEX","limit":12,"limitName":"depth"}`) {
		t.Errorf("above the limit, the answer is %s", body)
	}
	if _, body := a.post(introspectionQuery, nil); !strings.Contains(body, `"queryType":{"name":"Query"}`) || strings.Contains(body, `"errors"`) {
		t.Errorf("the introspection of graphql-js is answered %.200s", body)
	}
}

// Fragments in fragments double with each step: a document of a thousand bytes
// that comes to 2^30 fields is refused before anything goes through them.
func TestFragmentBomb(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	var bomb strings.Builder
	bomb.WriteString(`{spool(tagSpool:"MK-1"){...F0}}`)
	for i := range 30 {
		fmt.Fprintf(&bomb, "fragment F%d on Spool{...F%d ...F%d}", i, i+1, i+1)
	}
	bomb.WriteString("fragment F30 on Spool{id}")
	begun := time.Now()
	if _, body := a.post(bomb.String(), nil); !strings.Contains(body, `"limitName":"fields"`) {
		t.Errorf("the answer is %s", body)
	}
	if took := time.Since(begun); took > testwait.Patience {
		t.Errorf("it took %v", took)
	}
	if _, body := a.post(`{...F} fragment F on Query{...G} fragment G on Query{...F}`, nil); !strings.Contains(body, "GRAPHQL_VALIDATION_FAILED") {
		t.Errorf("a circle of fragments is answered %s", body)
	}
}

// Documents that pass every other limit and would keep the validation busy for
// half a minute, or have it fill the memory with conflicts.
func TestOverlapBombs(t *testing.T) {
	t.Parallel()
	a := newAPI(t, redisurl.EmbeddedText)
	nest := func(depth int, inner string) string {
		return strings.Repeat("...{", depth) + inner + strings.Repeat("}", depth)
	}
	leading := func(n int) string {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "fragment A%d on Spool{...F}", i)
		}
		return text.String()
	}
	for name, document := range map[string]string{
		"fragments that lead to it": `query Q{spool(tagSpool:"a"){...F}} fragment F on Spool{` + nest(83, strings.Repeat("version ", 480)) + `}` + leading(31),
		"no operation leads to it": `query Q{__typename} fragment F on Spool{` +
			nest(40, strings.Repeat("version ", 150)+strings.Repeat("version:id ", 30)) + `}` + leading(5),
		"a valid one":     `{spool(tagSpool:"a"){` + nest(100, strings.Repeat("version ", 490)) + `}}`,
		"many operations": strings.Repeat(`query Q{spool(tagSpool:"a"){...F}}`, 60) + `fragment F on Spool{` + strings.Repeat("version ", 480) + `}`,
	} {
		if _, body := a.post(document, nil); !strings.Contains(body, `"code":"QUERY_TOO_COMPLEX"`) {
			t.Errorf("%s is answered %.300s", name, body)
		}
	}
}

func TestSuggestionsGoWithIntrospection(t *testing.T) {
	t.Parallel()
	const suggestion = "Did you mean"
	documents := []string{
		`{spoolLok(tagSpool:"a"){id}}`, `{spool(tagSpol:"a"){id}}`, `{spool(tagSpool:"a"){...on Spol{id}}}`,
		`mutation{releaseSpool(input:{tagSpool:"a",lockTokn:"b"}){released}}`,
	}
	closed := newAPI(t, redisurl.EmbeddedText)
	open := newAPI(t, redisurl.EmbeddedText, func(c *httpapi.Config) { c.Introspection = true })
	suggested := 0
	for _, document := range documents {
		if _, body := closed.post(document, nil); strings.Contains(body, suggestion) {
			t.Errorf("%s is answered %s", document, body)
		}
		if _, body := open.post(document, nil); strings.Contains(body, suggestion) {
			suggested++
		}
	}
	if suggested < 2 {
		t.Errorf("%d suggestions are made where introspection is on", suggested)
	}
}

// The answer of a query is bounded; that of a mutation is not cut, as it says what
// was done.
func TestAnswerSize(t *testing.T) {
	t.Parallel()
	const data = `{"spoolLock":null}`
	a := newAPI(t, "embedded://", func(c *httpapi.Config) { c.RequestLimits.AnswerBytes = len(data) })
	if status, answer := a.post(`{ spoolLock(tagSpool: "MK-1") { ownerId } }`, nil); status != 200 || answer != `{"data":`+data+`}` {
		t.Errorf("an answer at the limit is %d %s", status, answer)
	}
	status, answer := a.post(`{ spoolLocks: spoolLock(tagSpool: "MK-1") { ownerId } }`, nil)
	if want := `"limit":18,"limitName":"answerBytes"`; status != 200 || !strings.Contains(answer, want) || strings.Contains(answer, "data") {
		t.Errorf("an answer above the limit is %d %s", status, answer)
	}
	_, answer = a.post(`mutation { tomarSpool(input: {tagSpool: "MK-1", workerId: "93", workerNombre: "MR"}) { lockToken } }`, nil)
	if !strings.Contains(answer, `"lockToken":"93:`) {
		t.Errorf("a mutation is answered %s", answer)
	}
}
