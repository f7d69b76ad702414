package httpapi_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/floor"
	"spoollock/graph"
	"spoollock/lock"
)

// validArguments are, for each operation and each field in an answer that has
// arguments, some that would be served and, of a mutation, change something. One of
// the schema that is not here fails the test.
var validArguments = map[string]string{
	"spoolLock":     `{"tagSpool":"` + freeSpool + `"}`,
	"spool":         `{"tagSpool":"` + freeSpool + `"}`,
	"lockLimits":    `{}`,
	"spoolLocks":    `{"filter":` + validFilter + `,"first":50,"after":""}`,
	"floorUpdates":  `{"filter":` + validFilter + `}`,
	"Spool.history": `{"first":20,"after":null}`,
	"spools":        `{"tagSpools":["` + freeSpool + `"]}`,
	"tomarSpools":   `{"input":{"items":[{"tagSpool":"` + freeSpool + `","workerId":"66","workerNombre":"XY(66)","ttlSeconds":60,"note":"weld","expectedVersion":null,"requestId":"` + attackRequest + `"}]}}`,
	"releaseSpools": `{"input":{"items":[{"tagSpool":"` + heldSpool + `","lockToken":"` + heldToken + `"}]}}`,
	"extendLocks":   `{"input":{"items":[{"tagSpool":"` + heldSpool + `","lockToken":"` + heldToken + `","additionalSeconds":60,"requestId":"` + attackRequest + `"}]}}`,
	"tomarSpool":    `{"input":{"tagSpool":"` + freeSpool + `","workerId":"66","workerNombre":"XY(66)","ttlSeconds":60,"note":"weld","expectedVersion":null,"requestId":"` + attackRequest + `"}}`,
	"releaseSpool":  `{"input":{"tagSpool":"` + heldSpool + `","lockToken":"` + heldToken + `"}}`,
	"extendLock":    `{"input":{"tagSpool":"` + heldSpool + `","lockToken":"` + heldToken + `","additionalSeconds":60,"requestId":"` + attackRequest + `"}}`,
	"checkLock":     `{"input":{"tagSpool":"` + heldSpool + `","lockToken":"` + heldToken + `"}}`,
	"resumeSpool":   `{"input":{"tagSpool":"` + heldSpool + `","requestId":"` + attackRequest + `"}}`,
	"forceReleaseSpool": `{"input":{"tagSpool":"` + heldSpool + `","reason":"gone home","expectedVersion":` + heldVersion +
		`,"requestId":"` + attackRequest + `"}}`,
}

// ofAdmin are the operations for which it must be known who asks.
var ofAdmin = map[string]bool{"resumeSpool": true, "forceReleaseSpool": true}

const validFilter = `{"ownerId":"93","tagPrefix":"MK","tagSpools":["` + freeSpool + `"]}`

// The verdicts on a hostile value, besides the reasons of the errors.
const (
	accepted  = ""          // odd, and legitimate
	powerless = "POWERLESS" // accepted, and nothing comes of it
)

// hostile is a value, as JSON, and the verdict on it.
type hostile struct{ value, verdict string }

// hostileField holds the hostile values of an input of a name, wherever it occurs.
type hostileField struct {
	null   string // the verdict on null, where the schema allows it
	huge   string // the verdict on a text of a megabyte
	values []hostile

	// Of a list: the most elements, and the verdict on one that is there twice.
	most  int
	twice string
}

var hostileTag = hostileField{huge: "TOO_LONG", values: slices.Concat(
	texts("TOO_SHORT", "", " ", "\t\r\n", "\u00a0\u2003"),
	texts("TOO_LONG", strings.Repeat("x", 65), strings.Repeat("ñ", 65), strings.Repeat("🔧", 65), "a"+strings.Repeat("\u0323\u0301", 40)),
	texts("INVALID_CHARACTER", "{"+marker+"}", "a{b", "a}b", "a\x00b"+marker, "a\x1b[31m"+marker, "a\nb", "a\rb", "a\tb", "a\x7fb",
		"a\u0085b", "a  b", "a\u00a0b", "a\u00adb", "a\u200bb", "a\u200db", "a\u2028b", "a\u202eb"+marker, "a\u2066b\u2069", "a\u2800b",
		"a\u3164b", "a\ufeffb", "a\ufe0fb", "a\ufffdb", "a\uffffb", "a\ue000b", "a\u0378b", "a\U000e0041b",
		marker+"\r\nFLUSHALL\r\n", "*1\r\n$8\r\nFLUSHALL\r\n"),
	raw("TOO_LONG", strings.Repeat("9", 65), "-"+strings.Repeat("9", 64)),
	texts(accepted, "МК-1", "ＭＫ-1", "MK‑1", "mk-1", "MK-1.", "*", "MK-?", "[a-z]", "../MK-1", "'; DROP TABLE", "<script>", "$(reboot)",
		"spool_lock:MK-1", "MK-1\u0301", strings.Repeat("ﷺ", 64)),
	raw(accepted, "0", "-0", "-5", "9007199254740993", "9223372036854775808", strings.Repeat("9", 64)),
)}

// hostileFields are by name, or, where that depends on it, by what they are in and
// name; those for the elements of a list by its name and "[]". An input of the schema
// that is not here fails the test.
var hostileFields = map[string]hostileField{
	"tagSpool":    hostileTag,
	"tagSpools[]": hostileTag,

	"spools.tagSpools":          {most: lock.MaxBatch, twice: "DUPLICATE"},
	"SpoolLockFilter.tagSpools": {most: floor.MaxFilterTags, twice: accepted},
	"items":                     {most: lock.MaxBatch, twice: "DUPLICATE"},
	"filter":                    {},
	"first": {values: slices.Concat(
		raw("OUT_OF_RANGE", "0", "-0", "-1", "101", "2147483647", "-2147483648"),
		raw(accepted, "1", "100"),
	)},
	"ownerId": {huge: "OUT_OF_RANGE", values: slices.Concat(
		texts("OUT_OF_RANGE", "", strings.Repeat("9", 257), strings.Repeat("🔧", 257)),
		texts(accepted, " ", "*", "\x00", "93:", "{93}", "９３", "\r\nFLUSHALL\r\n", "<script>", "unknown", strings.Repeat("🔧", 256)),
		raw(accepted, "0", "-5", "9007199254740993", "9223372036854775808"),
	)},
	"tagPrefix": {huge: "OUT_OF_RANGE", values: slices.Concat(
		texts("OUT_OF_RANGE", strings.Repeat("x", 65), strings.Repeat("🔧", 65)),
		texts(accepted, "", " ", "*", "[a-z]", "\x00", "{", "\uffff", "\u0301", "mk", "spool_lock:", "\r\nFLUSHALL\r\n", strings.Repeat("ﷺ", 64)),
	)},
	"spoolLocks.after": {values: texts(accepted, " ", "*", "\x00", "{", "\uffff", "\r\nFLUSHALL\r\n", strings.Repeat("🔧", 1000))},
	"history.after": {huge: "INVALID_CURSOR", values: slices.Concat(
		texts("INVALID_CURSOR", "", " ", "0", "-1", "+1", "1", "1+", "1++", "01", "1 ", "1\x00", "1.", ".1", "1.00", "1.01", "1.+1", "1.-1", "1.1.1", "0.1", "1 .1", "1.1\x00", "1e3", "0x1", "１", "１.１", "+", ".", marker,
			"9007199254740992", "9223372036854775808", strings.Repeat("9", 1000)),
		texts(accepted, "1.0", "1.1", "9007199254740991.0", "9007199254740991.9223372036854775807"),
	)},
	"workerId": {null: "REQUIRED", huge: "INVALID_CHARACTER", values: slices.Concat(
		texts("REQUIRED", ""),
		texts("RESERVED", "unknown"),
		texts("TOO_LONG", strings.Repeat("9", 65)),
		texts("INVALID_CHARACTER", " ", "9 3", "93\n", "93:"+marker, "93\x00", "93\u200b", "93\u202e", "{93}", "９３", "٩٣", "аdmin", "../93", "<93>", "93'", "93\r\nDEL"),
		raw(accepted, "-5", "9007199254740993", "9223372036854775808"),
		texts(accepted, "..", "-", "admin", "UNKNOWN", "unknown.7", strings.Repeat("9", 64)),
	)},
	"workerNombre": {null: "REQUIRED", huge: "TOO_LONG", values: slices.Concat(
		texts("REQUIRED", ""),
		texts("BLANK", " ", "   ", "\u2800", "\u3164", "\ufe0f"),
		texts("TOO_LONG", strings.Repeat("x", 101), strings.Repeat("🔧", 101), "a"+strings.Repeat("\u0323\u0301", 60)),
		texts("INVALID_CHARACTER", marker+"\x00", "a\nb", "a\tb", "a\x1b[31m"+marker, "a\x7f", "a\u0085", "a\u00a0b", "a\u00ad", "a\u200bb", "a\u202eb",
			"a\u2067b", "a\u2028b", "\ufeffa", "a\U000e0041", "a\uffff", "a\ue000"),
		texts(accepted, "<script>alert(1)</script>", "{{7*7}}", "%s%n", "MR(93)' OR 1=1", strings.Repeat("ﷺ", 100)),
	)},
	"note": {huge: "TOO_LONG", values: slices.Concat(
		texts("TOO_LONG", strings.Repeat("x", 141), strings.Repeat("🔧", 141)),
		texts("INVALID_CHARACTER", marker+"\x00", "a\rb", "a\x1b[31m"+marker, "a\x08", "a\x7f", "a\u0085", "a\u009b31m"),
		texts(accepted, "", " ", "<script>alert(1)</script>", "{{7*7}}", "{}", "a\u202eb", "a\u200bb", "\",\"code\":\"X", strings.Repeat("ﷺ", 140)),
	)},
	"reason": {huge: "TOO_LONG", values: slices.Concat(
		texts("TOO_SHORT", "", "no", "🔧🔧"),
		texts("TOO_LONG", strings.Repeat("x", 501), strings.Repeat("🔧", 501)),
		texts("BLANK", "   ", "\u2800\u2800\u2800", "\t\n\t"),
		texts("INVALID_CHARACTER", marker+"\x00", "a\rbc", "a\x1b[31m"+marker, "abc\x08", "abc\x7f", "abc\u0085", "a\u009b31m"),
		texts(accepted, "<script>alert(1)</script>", "{{7*7}}", "a\u202ebc", "\",\"code\":\"X", strings.Repeat("ﷺ", 500)),
	)},
	"ttlSeconds":        {values: raw("OUT_OF_RANGE", "0", "-0", "-1", "43201", "2147483647", "-2147483648")},
	"additionalSeconds": {values: raw("OUT_OF_RANGE", "0", "-0", "-1", "43201", "2147483647", "-2147483648")},
	"expectedVersion":   {values: raw(accepted, "0", "-0", "1", "9007199254740991")},
	"requestId": {huge: "NOT_UUID_V4", values: slices.Concat(
		texts("NOT_UUID_V4", "", marker, strings.ToUpper(attackRequest), attackRequest+"\n", " "+attackRequest, attackRequest+"\x00", "{"+attackRequest+"}",
			"urn:uuid:"+attackRequest, strings.ReplaceAll(attackRequest, "-", ""), attackRequest[:35], attackRequest+"0",
			"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "5a434c0e-8f6b-1a4d-9e21-c570f2b0c9de",
			"5a434c0e-8f6b-7a4d-9e21-c570f2b0c9de", "5a434c0e-8f6b-4a4d-ce21-c570f2b0c9de", "5a434c0e-8f6b-4a4d-9e21-c570f2b0c9dg",
			"5a434c0e‐8f6b-4a4d-9e21-c570f2b0c9de", "５a434c0e-8f6b-4a4d-9e21-c570f2b0c9de", attackRequest[:35]+"\u200b"),
		raw("NOT_UUID_V4", "7", "-1", strings.Repeat("9", 36)),
	)},
	"lockToken": {huge: "TOO_LONG", values: slices.Concat(
		texts("TOO_SHORT", ""),
		texts("TOO_LONG", strings.Repeat("x", 161), heldToken+strings.Repeat(" ", 160), strings.Repeat("🔧", 161)),
		texts(powerless, marker, " ", "*", "\x00", heldToken+" ", " "+heldToken, heldToken+"\x00", heldToken+"\n", heldToken+"\u200b", strings.ToUpper(heldToken)+"X",
			strings.TrimPrefix(heldToken, "93:"), strings.TrimPrefix(heldToken, "9"), heldToken[:len(heldToken)-1], heldToken[:3], "94"+heldToken[2:],
			"９３"+heldToken[2:], heldToken+":", "93:*", "\r\nFLUSHALL\r\n", "'..redis.call('FLUSHALL')..'", "{}", "null", strings.Repeat("🔧", 160)),
	)},
}

// wrongKinds are values of another kind than a scalar's.
var wrongKinds = map[string][]string{
	"ID": {strings.Repeat("[", 100) + strings.Repeat("]", 100), "true", "false", "1.5", "1.0", "1e3", "1e400", `[]`, `["` + marker + `"]`, `{}`, `{"a":"` + marker + `"}`},
	"String": {
		"7", "-1", "1.5", "1e400", "9223372036854775808", "true", `[]`, `["` + marker + `"]`, `{}`, `{"a":"` + marker + `"}`,
	},
	"Int": {
		`""`, `"60"`, `"` + marker + `"`, "1.5", "1.0", "1e1", "1e400", "2147483648", "-2147483649", "9007199254740993", "9223372036854775807",
		"9223372036854775808", "-9223372036854775809", strings.Repeat("9", 1000), "true", `[]`, `[60]`, `{}`, `{"a":"` + marker + `"}`,
	},
	"Long": {
		`""`, `"1"`, `"` + marker + `"`, "1.5", "1.0", "1e1", "1e400", "-1", "9007199254740992", "9007199254740993", "9223372036854775807",
		"9223372036854775808", "-9223372036854775809", strings.Repeat("9", 1000), "true", `[]`, `[1]`, `{}`, `{"a":"` + marker + `"}`,
	},
	"Boolean": {"0", "1", `""`, `"true"`, `"` + marker + `"`, `[]`, `[true]`, `{}`},
}

func texts(verdict string, texts ...string) []hostile {
	var values []hostile
	for _, text := range texts {
		encoded, err := json.Marshal(text)
		if err != nil {
			panic(err)
		}
		values = append(values, hostile{string(encoded), verdict})
	}
	return values
}

func raw(verdict string, texts ...string) []hostile {
	var values []hostile
	for _, text := range texts {
		values = append(values, hostile{text, verdict})
	}
	return values
}

// valueAttacks puts every hostile value into every place of the arguments of every
// operation, and of every field in an answer that has any, as the schema has them: as
// variables, and as literals. In an item of a batch, one of each verdict stands for
// all.
type valueAttacks struct {
	t       *testing.T
	known   bool
	schema  *ast.Schema
	kind    ast.Operation
	field   *ast.FieldDefinition
	within  string // what the field stands in, beginning with "{"
	valid   map[string]any
	attacks []attack
}

// allValueAttacks come from a caller who is known, or not: of whom is known, no workerId
// is required.
func allValueAttacks(t *testing.T, known bool) []attack {
	schema := graph.NewSchema(nil, nil, nil).Schema()
	var all []attack
	reached := map[string]bool{} // types whose fields are attacked
	for kind, root := range map[ast.Operation]*ast.Definition{
		ast.Query: schema.Query, ast.Mutation: schema.Mutation, ast.Subscription: schema.Subscription,
	} {
		for _, field := range root.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			v := &valueAttacks{t: t, known: known, schema: schema, kind: kind, field: field, within: "{"}
			v.attackField(field.Name)
			all = append(all, v.attacks...)
			if kind == ast.Query { // what a subscription or a mutation answers, queries do, too
				all = append(all, v.inner(reached)...)
			}
		}
	}
	return all
}

// attackField attacks the arguments of the field, whose valid ones are of the name.
func (v *valueAttacks) attackField(name string) {
	v.t.Helper()
	valid, ok := validArguments[name]
	if !ok {
		v.t.Fatalf("%s has no valid arguments to begin with", name)
	}
	if err := json.Unmarshal([]byte(valid), &v.valid); err != nil {
		v.t.Fatalf("the arguments of %s: %v", name, err)
	}
	// What is attacked is one value in what is served without it.
	v.attacks = []attack{v.attack(attack{name: name + " as it should be", request: v.byLiterals(valid), applies: true})}
	for _, argument := range v.field.Arguments {
		v.attackInput(v.field.Name, argument.Name, argument.Type, argument.DefaultValue != nil, argument.Name)
	}
}

// inner attacks the fields that have arguments in what the field answers, each where
// it is reached first.
func (v *valueAttacks) inner(reached map[string]bool) (all []attack) {
	v.t.Helper()
	definition := v.schema.Types[v.field.Type.Name()]
	if definition.Kind != ast.Object || reached[definition.Name] {
		return nil
	}
	reached[definition.Name] = true
	within := v.within + v.called(string(must(json.Marshal(v.valid)))) + "{"
	for _, field := range definition.Fields {
		i := &valueAttacks{t: v.t, known: v.known, schema: v.schema, kind: v.kind, field: field, within: within}
		if len(field.Arguments) > 0 {
			i.attackField(definition.Name + "." + field.Name)
			all = append(all, i.attacks...)
		}
		all = append(all, i.inner(reached)...)
	}
	return all
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// attack fills in what all attacks on the field have in common.
func (v *valueAttacks) attack(a attack) attack {
	if ofAdmin[v.field.Name] {
		a.front = "admin"
	}
	a.status, a.stream = http.StatusOK, v.kind == ast.Subscription
	return a
}

// posted is a request, by Server-Sent Events for a subscription.
func (v *valueAttacks) posted(body string) string {
	if v.kind == ast.Subscription {
		return posted(body, "Accept: text/event-stream")
	}
	return posted(body)
}

// around puts the field's call and selection into what it stands in.
func (v *valueAttacks) around(call string) string {
	return v.within + call + v.selected() + strings.Repeat("}", strings.Count(v.within, "{")-strings.Count(v.within, "}"))
}

// byVariables is a request whose arguments are variables.
func (v *valueAttacks) byVariables(arguments string) string {
	var declared, used strings.Builder
	for _, argument := range v.field.Arguments {
		fmt.Fprintf(&declared, "$%s:%s,", argument.Name, argument.Type)
		fmt.Fprintf(&used, "%s:$%[1]s,", argument.Name)
	}
	document := fmt.Sprintf("%s(%s)%s", v.kind, &declared, v.around(fmt.Sprintf("%s(%s)", v.field.Name, &used)))
	return v.posted(strings.TrimSuffix(queried(document), "}") + `,"variables":` + arguments + "}")
}

// byLiterals is a request whose arguments stand in the document.
func (v *valueAttacks) byLiterals(arguments string) string {
	return v.posted(queried(string(v.kind) + v.around(v.called(arguments))))
}

// called is the field with its arguments.
func (v *valueAttacks) called(arguments string) string {
	decoder := json.NewDecoder(strings.NewReader(arguments))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		v.t.Fatalf("%s: %v", arguments, err)
	}
	list := strings.TrimSuffix(strings.TrimPrefix(literal(decoded), "{"), "}")
	if list != "" {
		list = "(" + list + ")"
	}
	return v.field.Name + list
}

// literal writes a value as GraphQL does.
func literal(value any) string {
	var text strings.Builder
	switch value := value.(type) {
	case map[string]any:
		text.WriteString("{")
		for name, member := range value {
			text.WriteString(name + ":" + literal(member) + ",")
		}
		text.WriteString("}")
	case []any:
		text.WriteString("[")
		for _, element := range value {
			text.WriteString(literal(element) + ",")
		}
		text.WriteString("]")
	default:
		encoded, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		text.Write(encoded)
	}
	return text.String()
}

func (v *valueAttacks) selected() string { return selection(v.schema, v.field.Type.Name(), 4) }

// selection selects what has no arguments: else it is attacked by itself.
func selection(schema *ast.Schema, typeName string, depth int) string {
	definition := schema.Types[typeName]
	if definition.Kind != ast.Object {
		return ""
	}
	text := "{__typename"
	for _, field := range definition.Fields {
		inner := schema.Types[field.Type.Name()]
		// The result of an item repeats its tag, whatever that is.
		repeated := strings.HasSuffix(typeName, "Result") && field.Name == "tagSpool"
		if len(field.Arguments) > 0 || repeated || inner.Kind == ast.Object && depth == 0 {
			continue
		}
		text += " " + field.Name + selection(schema, field.Type.Name(), depth-1)
	}
	return text + "}"
}

// attackInput attacks the input of the name at the path, which is in a field or an
// input type, and what is in it.
func (v *valueAttacks) attackInput(in, name string, typ *ast.Type, hasDefault bool, path ...any) {
	v.t.Helper()
	key, isElement := name, false
	if _, isElement = path[len(path)-1].(int); isElement {
		key += "[]"
	}
	own, attacked := hostileFields[in+"."+key]
	if !attacked {
		own, attacked = hostileFields[key]
	}
	absent := []hostile{{"null", own.null}, {"", own.null}}
	if typ.NonNull {
		absent = raw(wrongType, "null", "")
	}
	if isElement || typ.NonNull && hasDefault {
		absent = absent[:1]
	}
	v.add(name, path, absent...)
	definition := v.schema.Types[typ.Name()]
	if typ.Elem == nil && definition.Kind == ast.InputObject {
		v.attackObject(name, definition, path)
		return
	}
	if !attacked {
		v.t.Errorf("%s.%s of the type %s is not attacked", in, key, typ)
	}
	v.add(name, path, own.values...)
	if typ.Elem != nil {
		v.attackList(name, own, path)
		v.attackInput(in, name, typ.Elem, false, append(slices.Clone(path), 0)...)
		return
	}
	v.attackKind(name, definition, path)
	if !inItem(path) {
		v.attackSize(name, own.huge, path)
	}
}

// inItem reports whether the path leads into an element of a list.
func inItem(path []any) bool {
	return slices.ContainsFunc(path[:len(path)-1], func(step any) bool { _, is := step.(int); return is })
}

// attackList puts lists of other lengths in the place of one, whose element is valid.
func (v *valueAttacks) attackList(name string, own hostileField, path []any) {
	v.t.Helper()
	element := string(must(json.Marshal(at(v.valid, append(slices.Clone(path), 0)))))
	repeated := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]" }
	begin := len(v.attacks)
	v.add(name, path, raw("OUT_OF_RANGE", "[]", repeated(own.most+1))...)
	for i := range v.attacks[begin:] {
		v.attacks[begin+i].front = "roomy"
	}
	v.add(name, path, hostile{repeated(2), own.twice})
	v.add(name, path, raw(wrongType, "[null]", "["+element+",null]", "["+repeated(1)+"]", "true", "1.5")...)
}

// at is what is at the path.
func at(value any, path []any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			value = value.(map[string]any)[step]
		case int:
			value = value.([]any)[step]
		}
	}
	return value
}

func (v *valueAttacks) attackObject(name string, definition *ast.Definition, path []any) {
	v.t.Helper()
	v.add(name, path, raw(wrongType, "7", "1.5", "true", `""`, `"`+marker+`"`, "[]", `["`+marker+`"]`, "[{}]")...)
	for _, unknown := range []string{"secret", "tagspool", "TAGSPOOL", "id", "constructor", "__proto__"} {
		v.add(unknown, append(slices.Clone(path), unknown), hostile{`"` + marker + `"`, wrongType})
	}
	for _, field := range definition.Fields {
		v.attackInput(definition.Name, field.Name, field.Type, field.DefaultValue != nil, append(slices.Clone(path), field.Name)...)
	}
}

// attackKind puts values of other kinds in the place of a scalar or an enum.
func (v *valueAttacks) attackKind(name string, definition *ast.Definition, path []any) {
	v.t.Helper()
	kinds, known := wrongKinds[definition.Name]
	if definition.Kind == ast.Enum {
		kinds, known = []string{`"` + marker + `"`, `""`, "7", "true", "[]", "{}"}, true
	}
	if !known {
		v.t.Errorf("%s.%s of the type %s is not attacked", v.field.Name, name, definition.Name)
	}
	v.add(name, path, raw(wrongType, kinds...)...)
}

// attackSize puts a megabyte in the place of a text: into a body that may have it,
// with the verdict given, and into one that may not.
func (v *valueAttacks) attackSize(name, verdict string, path []any) {
	v.t.Helper()
	if verdict == "" {
		return
	}
	begin := len(v.attacks)
	v.add(name, path, texts(verdict, strings.Repeat(marker+"!", 1<<20/len(marker)))...)
	for i, a := range v.attacks[begin:] {
		v.attacks[begin+i].front = "roomy"
		v.attacks = append(v.attacks, attack{name: a.name + " in a small body", request: a.request, status: 413, code: badRequest})
	}
}

// add attacks with each value in the place of the valid one; an empty value leaves
// it out.
func (v *valueAttacks) add(name string, path []any, values ...hostile) {
	if inItem(path) {
		values = oneOfEachVerdict(values)
	}
	for _, h := range values {
		if v.known && name == "workerId" && h.verdict == "REQUIRED" {
			h.verdict = accepted
		}
		arguments, err := json.Marshal(replaced(v.valid, path, h.value))
		if err != nil {
			v.t.Fatalf("%s.%v: %v", v.field.Name, path, err)
		}
		a := v.attack(attack{
			name:    fmt.Sprintf("%s.%s %.40s", v.field.Name, strings.Trim(fmt.Sprint(path), "[]"), cmp.Or(h.value, "left out")),
			request: v.byVariables(string(arguments)),
			odd:     h.verdict == accepted || h.verdict == powerless,
			applies: h.verdict == accepted,
		})
		if !a.odd {
			a.code, a.field, a.reason = badInput, name, h.verdict
			if len(h.value) > 8 { // else it may stand there by chance
				a.secret = strings.Trim(h.value, `"`)
			}
		}
		v.attacks = append(v.attacks, a)
		a.name, a.request = a.name+" as a literal", v.byLiterals(string(arguments))
		// gqlparser takes no whole number beyond 64 bits in a document, not as an ID either.
		_, err = strconv.ParseInt(h.value, 10, 64)
		if h.verdict == wrongType || errors.Is(err, strconv.ErrRange) {
			a.odd, a.applies = false, false
			a.code, a.field, a.reason = validationFailed, "", ""
		}
		v.attacks = append(v.attacks, a)
	}
}

func oneOfEachVerdict(values []hostile) []hostile {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(values), func(h hostile) bool {
		defer func() { seen[h.verdict] = true }()
		return seen[h.verdict]
	})
}

// replaced is a copy of the valid value with another one at the path.
func replaced(valid any, path []any, value string) any {
	if len(path) == 0 {
		return json.RawMessage(value)
	}
	switch step := path[0].(type) {
	case string:
		object := maps.Clone(valid.(map[string]any))
		if len(path) == 1 && value == "" {
			delete(object, step)
		} else {
			object[step] = replaced(object[step], path[1:], value)
		}
		return object
	default:
		list := slices.Clone(valid.([]any))
		list[step.(int)] = replaced(list[step.(int)], path[1:], value)
		return list
	}
}

func TestHostileValues(t *testing.T) {
	inEachMode(t, func(known bool) []attack { return allValueAttacks(t, known) })
}
