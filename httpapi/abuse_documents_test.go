package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spoollock/gqlhttp"
	"spoollock/graph"
	"spoollock/graph/scalar"
)

// The codes that a document or a request is refused with.
const (
	parseFailed      = "GRAPHQL_PARSE_FAILED"
	validationFailed = "GRAPHQL_VALIDATION_FAILED"
	tooComplex       = "QUERY_TOO_COMPLEX"
	badRequest       = "BAD_REQUEST"
	badInput         = "BAD_USER_INPUT"
	notFound         = "PERSISTED_QUERY_NOT_FOUND"
	forbidden        = "FORBIDDEN"
	wrongType        = "WRONG_TYPE"
)

// takeByVariables is a document that would take a spool, with what follows it in
// the request.
func takeByVariables(rest string) string {
	return `{"query":"mutation($input:TomarSpoolInput!){tomarSpool(input:$input){lockToken}}",` + rest
}

// takeFields is the inside of an input that would take the free spool.
const takeFields = `"tagSpool":"` + freeSpool + `","workerId":"66","workerNombre":"` + marker + `","requestId":"` + attackRequest + `"`

// jsonAttacks are on the JSON of a request.
func jsonAttacks() []attack {
	attacks := []attack{
		{name: "no body", request: posted("")},
		{name: "white space", request: posted(" \n\t ")},
		{name: "a text", request: posted(`"` + marker + `"`)},
		{name: "a number", request: posted("1e9999")},
		{name: "null", request: posted("null")},
		{name: "a list of requests", request: posted("[" + hostileTake + "," + hostileTake + "]")},
		{name: "single quotes", request: posted("{'query':'{" + marker + "}'}")},
		{name: "names without quotes", request: posted(`{query:"` + marker + `"}`)},
		{name: "a comma at the end", request: posted(hostileTake[:len(hostileTake)-1] + ",}")},
		{name: "a comment", request: posted(hostileTake[:len(hostileTake)-1] + "/*" + marker + "*/}")},
		{name: "NaN", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"ttlSeconds":NaN}}}`))},
		{name: "infinity", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"ttlSeconds":Infinity}}}`))},
		{name: "a number with a leading zero", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"ttlSeconds":060}}}`))},
		{name: "a hexadecimal number", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"ttlSeconds":0x3c}}}`))},
		{name: "trailing garbage", request: posted(hostileTake + marker)},
		{name: "a brace too many", request: posted(hostileTake + "}")},
		{name: "two requests", request: posted(hostileTake + hostileTake)},
		{name: "two requests on lines", request: posted(hostileTake + "\n" + hostileTake)},
		{name: "NUL at the end", request: posted(hostileTake + "\x00")},
		{name: "a byte order mark", request: posted("\ufeff" + hostileTake)},
		{name: "UTF-16", request: posted(strings.Join(strings.Split(hostileTake, ""), "\x00") + "\x00")},
		{name: "a raw control character", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + ",\"note\":\"a\x01\"}}}"))},
		{name: "a raw line feed", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + ",\"note\":\"a\nb\"}}}"))},
		{name: "a raw NUL", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + ",\"note\":\"\x00\"}}}"))},
		{name: "broken UTF-8", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + ",\"note\":\"\xff\"}}}"))},
		{name: "UTF-8 longer than it need be", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + ",\"note\":\"\xc0\xaf\"}}}"))},
		{name: "a surrogate in UTF-8", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + ",\"note\":\"\xed\xa0\x80\"}}}"))},
		{name: "half a character", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + ",\"note\":\"\xe2\x82\"}}}"))},
		{name: "half a surrogate", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"note":"\ud83d"}}}`))},
		{name: "surrogates the wrong way round", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"note":"\ude00\ud83d"}}}`))},
		{name: "an escape that is none", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"note":"\x41"}}}`))},
		{name: "query twice", request: posted(`{"query":"{__typename}",` + hostileTake[1:])},
		{name: "query twice, once escaped", request: posted(`{"qu\u0065ry":"{__typename}",` + hostileTake[1:])},
		{name: "variables twice", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `}},"variables":{"input":{` + takeFields + `}}}`))},
		{name: "an input twice", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `},"input":{` + takeFields + `}}}`))},
		{name: "a field twice", request: posted(takeByVariables(`"variables":{"input":{` + takeFields + `,"tagSpool":"` + heldSpool + `"}}}`))},
		{name: "an extension twice", request: posted(hostileTake[:len(hostileTake)-1] + `,"extensions":{"a":1,"a":2}}`)},
		{name: "a name twice where nobody looks", request: posted(hostileTake[:len(hostileTake)-1] + `,"x":{"a":1,"a":2}}`)},
		{name: "no query", request: posted(`{"variables":{"a":"` + marker + `"}}`)},
		{name: "query null", request: posted(`{"query":null}`)},
		{name: "query in upper case", request: posted(strings.Replace(hostileTake, "query", "QUERY", 1))},
		{name: "lists in lists", request: posted(`{"query":"{__typename}","variables":{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}}`)},
		{name: "lists in lists without an end", request: posted(`{"query":"{__typename}","variables":{"a":` + strings.Repeat("[", 60000))},
		{name: "objects in objects", request: posted(`{"query":"{__typename}","extensions":` + strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000) + `}`)},
		{name: "objects in objects where nobody looks", request: posted(`{"query":"{__typename}","x":` + strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10000) + `}`)},
		{name: "documentId a number", request: posted(`{"documentId":7}`)},
		{name: "documentId a list", request: posted(`{"documentId":["` + marker + `"]}`)},
		{name: "query and documentId", request: posted(hostileTake[:len(hostileTake)-1] + `,"documentId":"` + marker + `"}`)},
	}
	for member, value := range map[string]string{
		"query": `"{__typename}"`, "operationName": `"` + marker + `"`, "variables": `{"a":"` + marker + `"}`, "extensions": `{"a":"` + marker + `"}`,
	} {
		for _, other := range []string{"7", "1.5", "true", `["` + marker + `"]`, `{"a":"` + marker + `"}`, `"` + marker + `"`} {
			if other[0] == value[0] {
				continue
			}
			rest := `,"` + member + `":` + other + "}"
			body := hostileTake[:len(hostileTake)-1] + rest
			if member == "query" {
				body = "{" + rest[1:]
			}
			attacks = append(attacks, attack{name: member + " " + other, request: posted(body)})
		}
	}
	for n := 1; n < len(hostileTake); n += 7 {
		attacks = append(attacks, attack{name: fmt.Sprint("cut after ", n), request: posted(hostileTake[:n])})
	}
	for i := range attacks {
		attacks[i].status, attacks[i].code = 400, badRequest
	}
	return append(attacks, attack{
		name: "beyond the limit", request: posted(hostileTake + strings.Repeat(" ", 1<<20)), status: 413, code: badRequest,
	}, attack{
		name: "beyond the limit in JSON", request: posted(`{"query":"` + strings.Repeat(marker, 100000) + `"}`), status: 413, code: badRequest,
	})
}

func TestHostileJSON(t *testing.T) {
	inEachMode(t, func(bool) []attack { return jsonAttacks() })
}

// documentAttacks are on the document of a request.
func documentAttacks() []attack {
	repeat := func(n int, format string) string {
		var text strings.Builder
		for i := range n {
			text.WriteString(strings.ReplaceAll(format, "#", fmt.Sprint(i)))
		}
		return text.String()
	}
	const (
		take    = `tomarSpool(input:{tagSpool:"` + freeSpool + `",workerId:"66",workerNombre:"` + marker + `",requestId:"` + attackRequest + `"}){lockToken}`
		free    = `releaseSpool(input:{tagSpool:"` + heldSpool + `",lockToken:"` + heldToken + `"}){released}`
		inSpool = `{spool(tagSpool:"` + marker + `"){`
	)
	doubling := func(steps int) string {
		var text strings.Builder
		for i := range steps {
			fmt.Fprintf(&text, "fragment F%d on Spool{...F%d ...F%d}", i, i+1, i+1)
		}
		return text.String()
	}
	var attacks []attack
	for code, documents := range map[string]map[string]string{
		parseFailed: {
			"unclosed":                        "mutation{" + take,
			"a brace too many":                "mutation{" + take + "}}",
			"a selection of nothing":          "mutation{}",
			"an object without an end":        `mutation{tomarSpool(input:{tagSpool:"` + marker,
			"a text without an end":           `{spool(tagSpool:"` + marker,
			"a text over two lines":           "{spool(tagSpool:\"" + marker + "\n\"){version}}",
			"a block without an end":          `{spool(tagSpool:"""` + strings.Repeat(marker, 3000),
			"NUL":                             "{spool(tagSpool:\"" + marker + "\"){version}\x00}",
			"NUL in a text":                   "{spool(tagSpool:\"" + marker + "\x00\"){version}}",
			"an escape that is none":          `{spool(tagSpool:"\q` + marker + `"){version}}`,
			"a name of letters beyond ASCII":  "{sp\u043eol(tagSpool:\"" + marker + "\"){version}}",
			"a zero-width space in a name":    "{spo\u200bol(tagSpool:\"" + marker + "\"){version}}",
			"a bidirectional override":        "{spool(tagSpool:\"" + marker + "\"){version \u202e}}",
			"a number with a letter":          `mutation{tomarSpool(input:{tagSpool:"` + marker + `",ttlSeconds:60x}){lockToken}}`,
			"a number with a leading zero":    `mutation{tomarSpool(input:{tagSpool:"` + marker + `",ttlSeconds:060}){lockToken}}`,
			"a variable as a default":         `query($a:ID!,$b:ID=$a){spool(tagSpool:$b){version}} #` + marker,
			"a type of lists without an end":  `query($a:` + strings.Repeat("[", 400) + `ID){spool(tagSpool:$a){version}}`,
			"a fragment named on":             `{...on} fragment on on Query{__typename}`,
			"a type definition":               `type Query{secret:String} {__typename}`,
			"an extension of the schema":      `extend type Mutation{secret:String}`,
			"a schema":                        `schema{query:Mutation}`,
			"another kind of operation":       "delete{" + free + "}",
			"a document without operations":   marker,
			"a spread of nothing":             "{...}",
			"an alias of nothing":             `{a:}`,
			"a directive of nothing":          `{__typename @}`,
			"an argument of nothing":          `{spool(tagSpool:){version}}`,
			"lists in lists without an end":   `{spool(tagSpool:` + strings.Repeat("[", 900),
			"objects in objects without end":  `mutation{tomarSpool(input:` + strings.Repeat("{a:", 300),
			"selections in selections no end": strings.Repeat("{a", 400),
		},
		validationFailed: {
			"empty":                                      "",
			"a comment":                                  "# " + strings.Repeat(marker, 4000),
			"only commas":                                strings.Repeat(",", 60000),
			"an unknown field":                           `{secrets(tagSpool:"` + marker + `"){version}}`,
			"an unknown mutation":                        `mutation{flushAll(input:{tagSpool:"` + marker + `"}){released}}`,
			"an unknown argument":                        `{spool(tagSpool:"a",secret:"` + marker + `"){version}}`,
			"an unknown member":                          `mutation{tomarSpool(input:{tagSpool:"` + freeSpool + `",secret:"` + marker + `"}){lockToken}}`,
			"an unknown type":                            `query($a:Secret="` + marker + `"){spool(tagSpool:$a){version}}`,
			"an unknown directive":                       `{spool(tagSpool:"` + marker + `")@secret(a:"` + marker + `"){version}}`,
			"an unknown fragment":                        inSpool + `...Secret}}`,
			"an unknown variable":                        `{spool(tagSpool:$secret){version}}`,
			"a field of a scalar":                        inSpool + `version{secret}}}`,
			"no fields of an object":                     `{spool(tagSpool:"` + marker + `")}`,
			"a directive out of place":                   `query @deprecated(reason:"` + marker + `"){__typename}`,
			"a condition that is a text":                 `{__typename @include(if:"` + marker + `")}`,
			"a directive twice":                          `{__typename @skip(if:false) @skip(if:false)}`,
			"defer":                                      `mutation{... @defer(label:"` + marker + `"){` + take + `}}`,
			"defer in a fragment":                        `mutation{...F @defer} fragment F on Mutation{` + take + `}`,
			"stream":                                     inSpool + `lock @stream(initialCount:1){id}}}`,
			"a subscription":                             `subscription{secrets(tagSpool:"` + marker + `"){version}}`,
			"two operations without names":               "mutation{" + take + "} mutation{" + take + "}",
			"two operations of one name":                 "mutation A{" + take + "} mutation A{" + take + "}",
			"two operations, none chosen":                "mutation A{" + take + "} mutation B{" + take + "}",
			"an argument twice":                          `{spool(tagSpool:"` + marker + `",tagSpool:"` + marker + `"){version}}`,
			"a member twice":                             `mutation{tomarSpool(input:{tagSpool:"` + freeSpool + `",tagSpool:"` + marker + `",workerId:"1",workerNombre:"x"}){lockToken}}`,
			"a variable twice":                           `query($a:ID="` + marker + `",$a:ID!){spool(tagSpool:$a){version}}`,
			"a variable that nobody uses":                `mutation($a:ID="` + marker + `"){` + take + `}`,
			"a fragment that nobody uses":                "mutation{" + take + "} fragment F on Spool{version}",
			"a fragment in itself":                       inSpool + "...F}} fragment F on Spool{...F}",
			"fragments in a circle":                      inSpool + "...F}} fragment F on Spool{...G} fragment G on Spool{...H} fragment H on Spool{...F}",
			"a circle through fields":                    inSpool + "lock{...F}}} fragment F on SpoolLock{id ...G} fragment G on SpoolLock{...F}",
			"fragments that double and come to nothing":  inSpool + "...F0}}" + doubling(90) + "fragment F90 on Spool{...Secret}",
			"fragments that double and begin again":      inSpool + "...F0}}" + doubling(90) + "fragment F90 on Spool{...F0}",
			"fragments that double, in inline fragments": inSpool + "...F0}}" + repeat(25, "fragment F# on Spool{...{...G#} ...on Spool{...G#}}") + repeat(24, "fragment G# on Spool{...F0}") + "fragment G24 on Spool{...Secret}",
			"a fragment twice":                           inSpool + "...F}} fragment F on Spool{version} fragment F on Spool{id}",
			"a fragment of another type":                 inSpool + "...F}} fragment F on SpoolLock{id}",
			"a fragment of no type":                      inSpool + "...on Secret{id}}}",
			"a fragment of a scalar":                     inSpool + "...on ID{id}}}",
			"fields that conflict":                       inSpool + "a:version a:id}}",
			"arguments that conflict":                    `{spool(tagSpool:"` + marker + `"){id} spool(tagSpool:"` + heldToken + `"){id}}`,
			"introspection":                              "{__schema{types{name}}}",
			"introspection of a type":                    `{__type(name:"` + marker + `"){name}}`,
			"introspection by an alias":                  "{a:__schema{types{name}}}",
			"introspection in a fragment":                "{...F} fragment F on Query{__schema{types{name}}}",
			"introspection of a mutation":                "mutation{__schema{types{name}}}",
			"the schema of a federation":                 "{_service{sdl}}",
			"a list for a text":                          `{spool(tagSpool:["` + marker + `"]){version}}`,
			"an object for a text":                       `{spool(tagSpool:{a:"` + marker + `"}){version}}`,
			"an enum for a text":                         `{spool(tagSpool:SECRET){version}}`,
			"lists in lists":                             `{spool(tagSpool:` + strings.Repeat("[", 450) + strings.Repeat("]", 450) + `){version}}`,
			"objects in objects":                         `mutation{tomarSpool(input:` + strings.Repeat("{a:", 240) + "1" + strings.Repeat("}", 240) + `){lockToken}}`,
			"a number beyond 64 bits":                    `mutation{tomarSpool(input:{tagSpool:"` + freeSpool + `",ttlSeconds:` + strings.Repeat("9", 5000) + `}){lockToken}}`,
			"a token for a number":                       `mutation{extendLock(input:{tagSpool:"` + heldSpool + `",lockToken:"` + heldToken + `",additionalSeconds:"` + heldToken + `"}){lock{id}}}`,
			"null for an input":                          `mutation{tomarSpool(input:null){lockToken}}`,
			"a nullable variable":                        `query($a:ID){spool(tagSpool:$a){version}}`,
			"a huge field name":                          "{" + strings.Repeat("x", 60000) + "}",
			"a huge alias":                               `{` + strings.Repeat("x", 60000) + `:secret}`,
			"a huge directive name":                      `{__typename @` + strings.Repeat("x", 60000) + `}`,
			"an output for an input":                     `query($a:Spool){spool(tagSpool:$a){version}}`,
			"hundreds of errors":                         inSpool + repeat(200, "x# ") + "}}",
		},
		tooComplex: {
			"many tokens":            "{" + repeat(20000, "a ") + "}",
			"many tokens of strings": `{spool(tagSpool:` + repeat(1000, `"a" `) + "){version}}",
			"many braces":            strings.Repeat("{", 60000),
			"many brackets":          `{spool(tagSpool:` + strings.Repeat("[", 60000),
			"deep":                   "{" + nested(13) + "}",
			"deep in fragments":      inSpool + "...F0}}" + repeat(20, "fragment F# on Spool{lock{...G#}} ") + "fragment G0 on SpoolLock" + strings.Repeat("{lock", 14) + strings.Repeat("}", 14),
			"deep and unused":        "{__typename} fragment F on Query{" + nested(13) + "}",
			"many aliases":           inSpool + repeat(16, "a#:version ") + "}}",
			"many mutations":         "mutation{" + repeat(6, "a#:"+take+" ") + "}",
			"many mutations in fragments": "mutation{...F ...F} fragment F on Mutation{" + repeat(3, "a#:"+take+" ") +
				"} ",
			"many directives":                    inSpool + repeat(51, "version @skip(if:true) ") + "}}",
			"many directives on one field":       inSpool + "version " + repeat(60, "@skip(if:true) ") + "}}",
			"many fields":                        inSpool + repeat(10, "a#:history(first:100){edges{cursor node{id type at ownerId ownerName version note expiresAt}}} ") + "}}",
			"many histories of many spools":      "{" + repeat(5, "a#:spools(tagSpools:["+repeat(42, "\"MK-#\" ")+"]){version history(first:1){edges{cursor}}} ") + "}",
			"many fields in fragments":           inSpool + "...F ...F ...F ...F ...F}} fragment F on Spool{" + repeat(50, "lock{"+strings.Repeat("id ", 10)+"}") + "}",
			"fragments that double":              inSpool + "...F0}}" + doubling(30) + "fragment F30 on Spool{id}",
			"fragments that double, unused":      "{__typename}" + doubling(30) + "fragment F30 on Spool{id}",
			"fields to merge":                    inSpool + strings.Repeat("...{", 80) + strings.Repeat("version ", 480) + strings.Repeat("}", 80) + "}}",
			"fields to merge that conflict":      inSpool + strings.Repeat("...{", 40) + strings.Repeat("version version:id ", 100) + strings.Repeat("}", 40) + "}}",
			"fields to merge, led to many times": strings.Repeat(`query Q{spool(tagSpool:"a"){...F}}`, 60) + `fragment F on Spool{` + strings.Repeat("version ", 480) + `}`,
			"introspection in circles, aliased":  "{__schema{types{" + strings.Repeat("fields{type{", 40) + "name" + strings.Repeat("}}", 40) + "}}" + repeat(16, " a#:__typename") + "}",
		},
	} {
		for name, document := range documents {
			attacks = append(attacks, attack{name: code + " " + name, request: posted(queried(document)), status: 200, code: code})
		}
	}
	return append(attacks, requestAttacks()...)
}

// queried is the body of a request of the document.
func queried(document string) string {
	text, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return `{"query":` + string(text) + `}`
}

// requestAttacks are on what goes with a document: its name, variables, hash and
// identifier.
func requestAttacks() []attack {
	const (
		typename = `"query":"{__typename}"`
		zeros    = "0000000000000000000000000000000000000000000000000000000000000000"
		mutation = `mutation($input:ReleaseSpoolInput!){releaseSpool(input:$input){released}}`
		proof    = `"variables":{"input":{"tagSpool":"` + heldSpool + `","lockToken":"` + heldToken + `"}}`
	)
	persisted := func(version, hash string) string {
		return `"extensions":{"persistedQuery":{"version":` + version + `,"sha256Hash":` + hash + `}}`
	}
	hashed := persisted("1", `"`+hash(mutation)+`"`)
	other := `"` + hash(mutation+" ") + `"`
	post := func(name string, status int, code string, members ...string) attack {
		return attack{name: name, request: posted("{" + strings.Join(members, ",") + "}"), status: status, code: code}
	}
	trusted := func(name string, status int, code string, members ...string) attack {
		a := post("trusted, "+name, status, code, members...)
		a.front = "trusted"
		return a
	}
	variables := func(name, field, variables string) attack {
		return attack{
			name: name, request: posted(takeByVariables(`"variables":` + variables + "}")),
			status: 200, code: badInput, field: field, reason: wrongType,
		}
	}
	var thousands strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&thousands, `,"-%d":1`, i) // names that no schema can have are not repeated
	}
	attacks := []attack{
		post("another operation's name", 200, validationFailed, typename, `"operationName":"`+marker+`"`),
		post("a huge operation name", 200, validationFailed, typename, `"operationName":"`+strings.Repeat(marker, 4000)+`"`),
		post("an operation name of NUL", 200, validationFailed, typename, `"operationName":"\u0000`+marker+`"`),
		variables("no variables", "input", `null`),
		variables("variables of another name", "input", `{"Input":{`+takeFields+`}}`),
		variables("variables in upper case", "TAGSPOOL", `{"input":{"TAGSPOOL":"`+marker+`",`+takeFields+`}}`),
		variables("a prototype", "constructor", `{"input":{`+takeFields+`,"constructor":{"prototype":"`+marker+`"}}}`),
		variables("a name that is a secret", "input", `{"input":{`+takeFields+`,"`+heldToken+`":1}}`),
		variables("a name of NUL", "input", `{"input":{`+takeFields+`,"\u0000`+marker+`":1}}`),
		variables("a deep list for a text", "tagSpool", `{"input":{"tagSpool":`+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+`}}`),
		variables("a deep object for a text", "tagSpool", `{"input":{"tagSpool":`+strings.Repeat(`{"a":`, 9000)+"1"+strings.Repeat("}", 9000)+`}}`),
		variables("thousands of names", "input", `{"input":{`+takeFields+thousands.String()+`}}`),
		variables("a huge name", "input", `{"input":{`+takeFields+`,"`+strings.Repeat("x", 40000)+`":1}}`),

		post("an unknown hash", 200, notFound, persisted("1", `"`+zeros+`"`)),
		post("a hash of another document", 400, badRequest, typename, persisted("1", other)),
		post("still an unknown hash", 200, notFound, persisted("1", other)),
		post("a hash in upper case", 400, badRequest, typename, persisted("1", `"`+strings.ToUpper(hash("{__typename}"))+`"`)),
		post("a hash of no hash", 400, badRequest, typename, persisted("1", `"`+marker+`"`)),
		post("a hash that is a number", 400, badRequest, typename, persisted("1", "7")),
		post("a hash that is a list", 400, badRequest, typename, persisted("1", `["`+marker+`"]`)),
		post("a hash of version 2", 400, badRequest, typename, persisted("2", `"`+hash("{__typename}")+`"`)),
		post("a hash of no version", 400, badRequest, typename, `"extensions":{"persistedQuery":{"sha256Hash":"`+hash("{__typename}")+`"}}`),
		post("a hash of a huge version", 400, badRequest, typename, persisted("1e400", `"`+hash("{__typename}")+`"`)),
		post("a version that is a text", 400, badRequest, typename, persisted(`"`+marker+`"`, `"`+hash("{__typename}")+`"`)),
		post("persisted by a text", 400, badRequest, typename, `"extensions":{"persistedQuery":"`+marker+`"}`),
		post("persisted by a list", 400, badRequest, typename, `"extensions":{"persistedQuery":["`+marker+`"]}`),
		post("persisted by a number", 400, badRequest, `"extensions":{"persistedQuery":1}`),
		post("persisted by nothing", 400, badRequest, `"extensions":{"persistedQuery":null}`),
		{name: "a mutation is persisted", request: posted(`{"query":"` + mutation + `",` + hashed + "}"), status: 200, code: badInput, field: "input", reason: wrongType},
		{name: "a persisted mutation by GET", request: got(url.Values{
			"variables":  {strings.TrimPrefix(proof, `"variables":`)},
			"extensions": {strings.TrimPrefix(hashed, `"extensions":`)},
		}.Encode()), status: 405, code: badRequest},
		post("too complex to be persisted", 200, tooComplex, `"query":"{`+strings.Repeat("a ", 5000)+`}"`, persisted("1", `"`+hash("{"+strings.Repeat("a ", 5000)+"}")+`"`)),
		post("not persisted, as too complex", 200, notFound, persisted("1", `"`+hash("{"+strings.Repeat("a ", 5000)+"}")+`"`)),

		post("a documentId where there are none", 200, notFound, `"documentId":"`+marker+`"`),
		post("an empty documentId", 200, notFound, `"documentId":""`),
		post("a huge documentId", 200, notFound, `"documentId":"`+strings.Repeat(marker, 4000)+`"`),
		trusted("a path as a documentId", 200, notFound, `"documentId":"../../etc/passwd"`),
		trusted("a file name as a documentId", 200, notFound, `"documentId":"take.graphql"`),
		trusted("NUL in a documentId", 200, notFound, `"documentId":"take\u0000`+marker+`"`),
		trusted("a documentId in upper case", 200, notFound, `"documentId":"TAKE"`),
		trusted("the hash of another document", 200, notFound, `"documentId":"sha256:`+hash(mutation)+`"`, proof),
		trusted("a hash without its name", 200, notFound, `"documentId":"`+hash(takeDocument)+`"`),
		trusted("a hash in upper case", 200, notFound, `"documentId":"SHA256:`+hash(takeDocument)+`"`),
		trusted("another document", 403, forbidden, `"query":"`+mutation+`"`, proof),
		trusted("another document, persisted", 403, forbidden, `"query":"`+mutation+`"`, proof, hashed),
		trusted("another document by its hash", 200, notFound, proof, hashed),
		trusted("a trusted document and more", 403, forbidden, `"query":`+strings.TrimSuffix(strings.TrimPrefix(queried(takeDocument+" "), `{"query":`), "}")),
		trusted("a trusted document and a comment", 403, forbidden, `"query":`+strings.TrimSuffix(strings.TrimPrefix(queried(takeDocument+"#"+marker), `{"query":`), "}")),
		trusted("a documentId in the extensions", 403, forbidden, `"query":"`+mutation+`"`, proof, `"extensions":{"documentId":"take"}`),
		trusted("only a documentId in the extensions", 400, badRequest, proof, `"extensions":{"documentId":"take"}`),
		trusted("an unreadable document", 403, forbidden, `"query":"{`+marker+`"`),
		{name: "trusted, a mutation by GET", front: "trusted", request: got("documentId=take&variables=" + url.QueryEscape(`{"input":{`+takeFields+`}}`)), status: 405, code: badRequest},
		{name: "trusted, a documentId twice", front: "trusted", request: got("documentId=ask&documentId=take"), status: 400, code: badRequest},
	}
	return attacks
}

func TestHostileDocuments(t *testing.T) {
	inEachMode(t, func(bool) []attack { return documentAttacks() })
}

const (
	askDocument  = "query Ask($tag: ID!) { spoolLock(tagSpool: $tag) { ownerId } }\n"
	takeDocument = "mutation Take($input: TomarSpoolInput!) { tomarSpool(input: $input) { replayed } }\n"
)

// documents are trusted ones, and perhaps the only ones that are run.
func documents(t *testing.T, only bool) *gqlhttp.TrustedDocuments {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ask.graphql": askDocument, "take.graphql": takeDocument, "README.md": "no document",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := gqlhttp.LoadTrustedDocuments(os.DirFS(dir), only, graph.NewSchema(nil, nil, nil).Schema(), scalar.Check)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}
