package gqlhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/gqlhttp"
)

// checkEven checks the scalar Even, Int below 100, and Boolean.
func checkEven(name string, value any) error {
	number, ok := value.(json.Number)
	switch name {
	case "Even":
		if n, err := number.Int64(); ok && err == nil && n%2 == 0 {
			return nil
		}
	case "Int":
		if n, err := number.Int64(); ok && err == nil && n < 100 {
			return nil
		}
	case "Boolean":
		if _, ok := value.(bool); ok {
			return nil
		}
	default:
		return nil
	}
	return errors.New("not of " + name)
}

// Scalars are checked before anything is executed, in variables and in literals.
func TestScalarsAreChecked(t *testing.T) {
	t.Parallel()
	var executed atomic.Int64
	a := serve(t, gqlhttp.Config{
		Schema: newAnswering(`
			scalar Even
			input In { even: Even evens: [Even!] }
			type Query { f(even: Even, evens: [Even!], in: In, n: Int, s: String): String! }`,
			func(context.Context) *graphql.Response {
				executed.Add(1)
				return &graphql.Response{Data: []byte(`{"f":"x"}`)}
			}),
		CheckScalar: checkEven,
	})
	const (
		invalid = "GRAPHQL_VALIDATION_FAILED"
		checked = `"message":"not of `
		nothing = ""
	)
	for _, test := range []struct{ query, variables, want string }{
		{`{f(even:2)}`, `{}`, nothing},
		{`{f(even:null)}`, `{}`, nothing},
		{`{f(even:3)}`, `{}`, invalid},
		{`{f(even:"2")}`, `{}`, invalid},
		{`{f(even:2.0)}`, `{}`, invalid},
		{`{f(even:true)}`, `{}`, invalid},
		{`{f(even:E)}`, `{}`, invalid},
		{`{f(even:[2])}`, `{}`, invalid},
		{`{f(even:[[2]])}`, `{}`, invalid},
		{`{f(even:{a:2})}`, `{}`, invalid},
		{`{f(s:{})}`, `{}`, invalid},
		{`{f(evens:[2,4])}`, `{}`, nothing},
		{`{f(evens:2)}`, `{}`, nothing},
		{`{f(evens:[2,5])}`, `{}`, invalid},
		{`{f(in:{even:2})}`, `{}`, nothing},
		{`{f(in:{even:1})}`, `{}`, invalid},
		{`{f(n:99)}`, `{}`, nothing},
		{`{f(n:100)}`, `{}`, invalid},
		{`{f(n:"9")}`, `{}`, invalid},
		{`query($v:Even){f(even:$v)}`, `{"v":2}`, nothing},
		{`query($v:Even){f(even:$v)}`, `{"v":null}`, nothing},
		{`query($v:Even){f(even:$v)}`, `{"v":3}`, checked},
		{`query($v:Even){f(even:$v)}`, `{"v":"2"}`, checked},
		{`query($v:[Even!]){f(evens:$v)}`, `{"v":[2,3]}`, checked},
		{`query($v:[Even!]){f(evens:$v)}`, `{"v":3}`, checked},
		{`query($v:In){f(in:$v)}`, `{"v":{"evens":[2,3]}}`, checked},
		{`query($v:In){f(in:$v)}`, `{"v":{"evens":[2,4]}}`, nothing},
		{`query($v:Int){f(n:$v)}`, `{"v":100}`, checked},
		{`query($v:Boolean=true){f@include(if:$v)}`, `{"v":false}`, nothing},
		{`query($v:Boolean=true){f@include(if:$v)}`, `{"v":null}`, checked},
	} {
		before := executed.Load()
		_, body := a.post(fmt.Sprintf(`{"query":%q,"variables":%s}`, test.query, test.variables))
		if test.want == nothing && body != `{"data":{"f":"x"}}` || !strings.Contains(body, test.want) || strings.Count(body, `"message"`) > 1 {
			t.Errorf("%s with %s is answered %s", test.query, test.variables, body)
		}
		if (executed.Load() > before) != (test.want == nothing) {
			t.Errorf("%s with %s was executed, or not", test.query, test.variables)
		}
	}
}
