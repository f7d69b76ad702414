package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// documentMaker makes random documents of queries and mutations that are valid.
type documentMaker struct {
	random    *rand.Rand
	schema    *ast.Schema
	names     int // that were given, so that no two fields of a selection conflict
	fragments []string
	variables map[string]any
	declared  []string
}

// document returns a document and its variables.
func (m *documentMaker) document() (string, map[string]any) {
	m.fragments, m.declared, m.variables = nil, nil, map[string]any{}
	root, kind := m.schema.Query, "query"
	if m.random.IntN(3) == 0 {
		root, kind = m.schema.Mutation, "mutation"
	}
	selection := m.selection(root, 1+m.random.IntN(3))
	if len(m.declared) > 0 {
		kind += "(" + strings.Join(m.declared, ",") + ")"
	}
	return kind + selection + strings.Join(m.fragments, ""), m.variables
}

func (m *documentMaker) name() string {
	m.names++
	return fmt.Sprint("n", m.names)
}

// selection selects at most so many fields of a type; of a field that is an object, at most
// three.
func (m *documentMaker) selection(typ *ast.Definition, most int) string {
	var text strings.Builder
	for range 1 + m.random.IntN(most) {
		field := m.pick(typ)
		one := m.name() + ":" + field.Name + m.arguments(field)
		if inner := m.schema.Types[field.Type.Name()]; inner.Kind == ast.Object {
			one += m.selection(inner, 3)
		}
		switch m.random.IntN(6) {
		case 0:
			one = "...{" + one + "}"
		case 1:
			name := m.name()
			m.fragments = append(m.fragments, fmt.Sprintf("fragment %s on %s{%s}", name, typ.Name, one))
			one = strings.Repeat("..."+name+" ", 1+m.random.IntN(2))
		case 2:
			one = fmt.Sprintf("...on %s@include(if:%t){%s}", typ.Name, m.random.IntN(4) > 0, one)
		}
		text.WriteString(one + " ")
	}
	return "{" + text.String() + "}"
}

// pick picks a field, and sooner one that leads to Redis.
func (m *documentMaker) pick(typ *ast.Definition) *ast.FieldDefinition {
	for {
		field := typ.Fields[m.random.IntN(len(typ.Fields))]
		leaf := m.schema.Types[field.Type.Name()].IsLeafType()
		if !strings.HasPrefix(field.Name, "__") && (!leaf || m.random.IntN(3) == 0) {
			return field
		}
	}
}

func (m *documentMaker) arguments(field *ast.FieldDefinition) string {
	var arguments []string
	for _, argument := range field.Arguments {
		if !argument.Type.NonNull || argument.DefaultValue != nil && m.random.IntN(2) == 0 {
			continue
		}
		value := m.value(argument.Name, argument.Type)
		if m.random.IntN(2) == 0 {
			name := m.name()
			m.variables[name], m.declared = value, append(m.declared, "$"+name+":"+argument.Type.String())
			arguments = append(arguments, argument.Name+":$"+name)
			continue
		}
		arguments = append(arguments, argument.Name+":"+literal(value))
	}
	if arguments == nil {
		return ""
	}
	return "(" + strings.Join(arguments, ",") + ")"
}

// value makes a value for an argument, or for a field of an input.
func (m *documentMaker) value(name string, typ *ast.Type) any {
	if typ.Elem != nil {
		many := 1 + m.random.IntN(4)
		if m.random.IntN(4) == 0 {
			many = m.random.IntN(lock.MaxBatch + 2) // none, and one too many, too
		}
		list := []any{}
		for range many {
			list = append(list, m.value(name, typ.Elem))
		}
		if many == 1 && m.random.IntN(2) == 0 {
			return list[0] // which stands for a list of it
		}
		return list
	}
	if input := m.schema.Types[typ.NamedType]; input.Kind == ast.InputObject {
		fields := map[string]any{}
		for _, field := range input.Fields {
			if field.Type.NonNull || m.random.IntN(3) == 0 {
				fields[field.Name] = m.value(field.Name, field.Type)
			}
		}
		return fields
	}
	switch name {
	case "tagSpool", "tagSpools":
		return fmt.Sprint("MK-", m.random.IntN(1000))
	case "workerId", "ownerId":
		return fmt.Sprint(90 + m.random.IntN(3))
	case "lockToken":
		return "91:" + uuid.NewString()
	case "requestId":
		return uuid.NewString()
	case "ttlSeconds", "additionalSeconds":
		return 3600
	case "first":
		return 1 + m.random.IntN(100)
	case "expectedVersion":
		return m.random.IntN(2)
	default:
		return "some text"
	}
}

// unitsOf returns the units of a document, of an API that lets no unit through.
func (a *api) unitsOf(document string, variables map[string]any) int {
	a.t.Helper()
	_, body := a.post(document, variables)
	var answer struct {
		Errors []struct {
			Extensions struct {
				LimitName string
				Actual    int
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		a.t.Fatalf("%s is answered %s, %v", document, body, err)
	}
	if len(answer.Errors) == 0 { // it has none, and was executed
		return 0
	}
	told := answer.Errors[0].Extensions
	if told.LimitName != "units" {
		a.t.Fatalf("%s with %v is answered %s", document, variables, body)
	}
	return told.Actual
}

// Whatever is asked for, Redis is asked no more than the units say, of which those that are
// admitted are all.
func TestUnitsCoverTheCommands(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var admitted atomic.Int64
	roomy := func(units int) func(*httpapi.Config) {
		return func(c *httpapi.Config) {
			c.Identify = people{"admin": known("91", lock.RoleAdmin)}.identify
			c.AdmitUnits = func(_ context.Context, units int) error { admitted.Add(int64(units)); return nil }
			l := &c.RequestLimits
			l.Aliases, l.RootFields, l.Tokens, l.Fields, l.BodyBytes, l.Units = 1<<20, 1<<20, 1<<20, 1<<20, 1<<20, units
		}
	}
	change := func(context.Context) error { admitted.Add(1); return nil }
	a, counting := newBoundedAPI(t, server.URL, 0, change, roomy(1<<20)), newBoundedAPI(t, server.URL, 0, change, roomy(-1))
	for _, each := range []*api{a, counting} {
		testwait.Until(t, "the floor is live", func() bool { _, body := each.send(http.MethodGet, "/readyz", "", ""); return body == live })
		each.as("admin")
	}
	// Redis has all scripts from then on.
	a.post(`mutation{tomarSpool(input:{tagSpool:"A"}){spool{history{edges{cursor}}}}extendLock(input:{tagSpool:"A",lockToken:"91:x",additionalSeconds:1}){lock{id}}
		resumeSpool(input:{tagSpool:"A"}){lockToken}releaseSpool(input:{tagSpool:"A",lockToken:"91:x"}){outcome}
		forceReleaseSpool(input:{tagSpool:"A",reason:"because",expectedVersion:1}){spool{id}}}`, nil)
	a.post(`{checkLock(input:{tagSpool:"A",lockToken:"91:x"}){valid}spool(tagSpool:"A"){id}}`, nil)
	asked := monitorSpools(t, server)
	m := &documentMaker{random: rand.New(rand.NewPCG(1, 2)), schema: a.config.Schema.Schema()} //nolint:gosec // the same documents each time
	var commands, units int
	for range 500 {
		document, variables := m.document()
		most := counting.unitsOf(document, variables)
		admitted.Store(0)
		status, body := a.post(document, variables)
		if status != http.StatusOK || !strings.Contains(body, `"data":`) {
			t.Fatalf("%s with %v is answered %d %s", document, variables, status, body)
		}
		n := asked.sinceLast(testwait.Context(t), t)
		if n > most || n > int(admitted.Load()) {
			t.Errorf("%s with %v is %d commands, of %d units, and %d are admitted", document, variables, n, most, admitted.Load())
		}
		commands, units = commands+n, units+most
	}
	if t.Logf("%d commands of %d units", commands, units); commands < 500 || commands < units/4 {
		t.Errorf("the documents are %d commands of %d units: too few to say anything", commands, units)
	}
}
