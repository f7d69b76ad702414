// Package examples_test runs the clients that partners copy.
package examples_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	goast "go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"

	"spoollock/auth/authtest"
	"spoollock/graph"
	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
	"spoollock/servicetest"
	"spoollock/testwait"
)

// build builds what is in the folder and returns the program.
func build(t *testing.T, folder string) (program string) {
	t.Helper()
	return servicetest.Must[string](t)(servicetest.Build(folder, t.TempDir()))
}

// service runs the program on a free port as go run . -dev does, and as go run . where the
// environment given has AUTH_MODE, until the test ends.
func service(t *testing.T, program string, env ...string) *servicetest.Service {
	t.Helper()
	command := []string{program, "-dev"}
	if slices.ContainsFunc(env, func(variable string) bool { return strings.HasPrefix(variable, "AUTH_MODE=") }) {
		command = command[:1]
	}
	return servicetest.Launch(t, redistest.NewLog(t), env, command...)
}

// graphql is where the service answers GraphQL.
func graphql(s *servicetest.Service) (url string) { return s.URL + "/graphql" }

// npm runs a script of the examples' package and returns what it prints.
func npm(t *testing.T, script string, env ...string) string {
	t.Helper()
	command := exec.Command("npm", "--silent", "run", script)
	command.Dir = "apollo"
	command.Env = append(os.Environ(), env...)
	command.Stderr = t.Output()
	out, err := command.Output()
	if err != nil {
		t.Fatalf("npm run %s: %v\n%s", script, err, out)
	}
	return string(out)
}

func TestApollo(t *testing.T) {
	t.Parallel()
	redistest.NeedProgram(t, "node", "needs Node.js 20 or newer")
	_, err := os.Stat("apollo/node_modules")
	redistest.Need(t, err, "needs make packages")
	npm(t, "build")
	program := build(t, "..")
	for mode, tokens := range map[string]*authtest.Provider{"none": nil, "jwt": authtest.New(t)} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			who := callers{tokens}
			t.Run("tomar", func(t *testing.T) {
				t.Parallel()
				testTomar(t, program, who)
			})
			t.Run("operations", func(t *testing.T) {
				t.Parallel()
				testOperations(t, program, who)
			})
			t.Run("errors", func(t *testing.T) {
				t.Parallel()
				testErrors(t, program, who)
			})
			for _, script := range []string{"floor", "floor-sse"} {
				t.Run(script, func(t *testing.T) {
					t.Parallel()
					testFloor(t, program, script, who)
				})
			}
		})
	}
}

// callers are known by tokens, or, without a provider, not known.
type callers struct{ *authtest.Provider }

// env has the service know its callers, or be a trial.
func (c callers) env() (env []string) {
	if c.Provider == nil {
		return nil
	}
	env = []string{"HOST=127.0.0.1", "REDIS_URL=" + redisurl.EmbeddedText}
	for name, value := range c.Env() {
		env = append(env, name+"="+value)
	}
	return env
}

// known is who has the role.
func known(role lock.Role) lock.Caller {
	return lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: role}
}

// client has a client show a token of the role.
func (c callers) client(t *testing.T, role lock.Role) (env string) {
	t.Helper()
	if c.Provider == nil {
		return "TOKEN_FILE="
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(c.Token(known(role))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "TOKEN_FILE=" + file
}

// What differs from run to run in what the clients print.
var moment = regexp.MustCompile(`\d{4}-\d\d-\S+Z`)

func testTomar(t *testing.T, program string, who callers) {
	got := npm(t, "start", "GRAPHQL_URL="+graphql(service(t, program, who.env()...)), who.client(t, lock.RoleWorker))
	got = moment.ReplaceAllString(got, "MOMENT")
	const want = "MK-1335-CW-25238-012 is ours until MOMENT\n" +
		"MK-1335-CW-25238-012 is held by MR(93) until MOMENT\n"
	if got != want {
		t.Fatalf("the client prints\n%s, want\n%s", got, want)
	}
}

// Every root field of the schema is answered in every way of sending it.
func testOperations(t *testing.T, program string, who callers) {
	service := service(t, program, append(who.env(), "REDIS_URL="+redistest.Start(t).URL, "RATE_LIMIT=off")...)
	testwait.Live(testwait.Context(t), t, service.URL)
	out := npm(t, "operations", "GRAPHQL_URL="+graphql(service), who.client(t, lock.RoleAdmin))
	var answered map[string][]string
	if err := json.Unmarshal([]byte(out), &answered); err != nil {
		t.Fatal(err)
	}
	schema := graph.NewSchema(nil, nil, nil).Schema()
	operations := fields(schema.Query, schema.Mutation)
	for way, want := range map[string][]string{
		"POST": operations, "APQ": operations, "GET": operations, "SUBSCRIPTION": fields(schema.Subscription),
	} {
		if !slices.Equal(answered[way], want) {
			t.Errorf("by %s, %v are answered, of %v", way, answered[way], want)
		}
	}
}

// fields are the names of all fields of the types, sorted. A schema has no type for
// what it does not offer.
func fields(types ...*ast.Definition) (names []string) {
	for _, definition := range types {
		if definition == nil {
			continue
		}
		for _, field := range definition.Fields {
			if !strings.HasPrefix(field.Name, "__") {
				names = append(names, field.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// A client that follows the floor sees a take, a lapse and a release, and has the
// right set again after the service was killed, whatever happened meanwhile. It shows
// that the floor is stale. Where it is known who calls, its tokens end while it goes on.
func testFloor(t *testing.T, program, script string, who callers) {
	server := redistest.Start(t)
	other := server.Client()
	defer other.Close() //nolint:errcheck // a client of the test
	service := service(t, program, append(who.env(), "REDIS_URL="+server.URL)...)
	testwait.Live(testwait.Context(t), t, service.URL)
	url := graphql(service)
	tokenFile, firstHasEnded := who.renewed(t, url)
	see := follow(t, script, url, tokenFile)
	see("held: nothing")
	mutate := func(t *testing.T, url, mutation string) string { return who.mutate(t, url, mutation) }

	token := mutate(t, url, `tomarSpool(input:{tagSpool:"MK-1",workerId:"93",workerNombre:"MR(93)"}){lockToken}`)
	see("held: MK-1 MR(93)")
	mutate(t, url, `tomarSpool(input:{tagSpool:"MK-2",workerId:"94",workerNombre:"JP(94)",ttlSeconds:3}){lockToken}`)
	see("held: MK-1 MR(93), MK-2 JP(94)")
	see("held: MK-1 MR(93)")
	mutate(t, url, `releaseSpool(input:{tagSpool:"MK-1",lockToken:"`+token+`"}){outcome}`)
	see("held: nothing")
	mutate(t, url, `tomarSpool(input:{tagSpool:"MK-3",workerId:"93",workerNombre:"MR(93)"}){lockToken}`)
	see("held: MK-3 MR(93)")
	firstHasEnded()
	token = mutate(t, url, `tomarSpool(input:{tagSpool:"MK-0",workerId:"93",workerNombre:"MR(93)"}){lockToken}`)
	see("held: MK-0 MR(93), MK-3 MR(93)")
	mutate(t, url, `releaseSpool(input:{tagSpool:"MK-0",lockToken:"`+token+`"}){outcome}`)
	see("held: MK-3 MR(93)")

	service.Kill()
	if err := errors.Join(
		other.Del(t.Context(), "spool_lock:MK-3").Err(),
		other.Set(t.Context(), "spool_lock:MK-4", "95:1f0c7a52-6a55-4c0b-9f4e-2b7f2f7f3b10", time.Hour).Err(),
	); err != nil {
		t.Fatal(err)
	}
	service.Restart()
	see("held: MK-4 95")

	server.Kill()
	see("held: MK-4 95 (not seen since MOMENT)")
}

// follow runs a script that follows the floor, until the test ends. What it returns
// reads what the script prints until the line given.
func follow(t *testing.T, script, url, tokenFile string) (see func(line string)) {
	t.Helper()
	client := exec.Command("node", "build/"+script+".js")
	client.Dir = "apollo"
	client.Env = append(os.Environ(), "GRAPHQL_URL="+url, tokenFile)
	client.Stderr = t.Output()
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(2*testwait.Patience, func() { _ = client.Process.Kill() })
	t.Cleanup(func() {
		guard.Stop()
		_ = client.Process.Kill()
		_ = client.Wait() // it was killed
	})
	lines := bufio.NewScanner(out)
	return func(line string) {
		t.Helper()
		for lines.Scan() {
			if moment.ReplaceAllString(lines.Text(), "MOMENT") == line {
				return
			}
		}
		t.Fatalf("the client ends without seeing %q", line)
	}
}

// renewed has a client show a token that is renewed every second, and ends some seconds
// after that. firstHasEnded waits until the service refuses the first one.
func (c callers) renewed(t *testing.T, url string) (env string, firstHasEnded func()) {
	t.Helper()
	if c.Provider == nil {
		return "TOKEN_FILE=", func() {}
	}
	file := filepath.Join(t.TempDir(), "token")
	renew := func() string {
		claims := authtest.Claims(known(lock.RoleViewer))
		claims["exp"] = time.Now().Add(5*time.Second - 30*time.Second).Unix() // there is a leeway of 30 s
		token := c.Sign(nil, claims)
		if err := errors.Join(os.WriteFile(file+".next", []byte(token), 0o600), os.Rename(file+".next", file)); err != nil {
			t.Error(err)
		}
		return token
	}
	first := renew()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for every := time.NewTicker(time.Second); ; {
			select {
			case <-stop:
				return
			case <-every.C:
				renew()
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return "TOKEN_FILE=" + file, func() {
		t.Helper()
		testwait.Until(t, "a token that has ended is refused", func() bool {
			var answer any
			return ask(t, url, first, "{__typename}", &answer) == http.StatusUnauthorized
		})
	}
}

// mutate does a mutation whose answer has one text, and returns that.
func (c callers) mutate(t *testing.T, url, mutation string) string {
	t.Helper()
	token := ""
	if c.Provider != nil {
		token = c.Token(known(lock.RoleAdmin))
	}
	var answer struct{ Data map[string]map[string]string }
	ask(t, url, token, "mutation{"+mutation+"}", &answer)
	for _, payload := range answer.Data {
		for _, text := range payload {
			return text
		}
	}
	t.Fatalf("%s is refused", mutation)
	return ""
}

// ask sends a document, with a token unless that is empty, and decodes the answer.
func ask(t *testing.T, url, token, document string, answer any) (status int) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// Every code that the service has is met, and the extensions beside it are read.
func testErrors(t *testing.T, program string, who callers) {
	server := redistest.Start(t)
	other := server.Client()
	defer other.Close() //nolint:errcheck // a client of the test
	if err := errors.Join(
		other.Set(t.Context(), "spool_lock:FOREIGN", "95:1f0c7a52-6a55-4c0b-9f4e-2b7f2f7f3b10", 0).Err(),
		other.LPush(t.Context(), "spool_lock:BROKEN", "x").Err(),
	); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	proxy := redistest.StartProxy(t, server.Addr, func(request []byte) bool {
		if bytes.Contains(request, []byte("spool_lock:SLOW")) {
			<-end
		}
		return bytes.Contains(request, []byte("spool_lock:LOST"))
	})
	defer close(end)
	gone := redistest.Start(t)
	gone.Kill()

	with := func(env ...string) string { return graphql(service(t, program, append(who.env(), env...)...)) }
	out := npm(t, "errors", who.client(t, lock.RoleAdmin),
		"GRAPHQL_URL="+with("REDIS_URL="+proxy.URL,
			"TRUSTED_PROXIES=127.0.0.1", "MAX_CONNECTIONS_PER_ADDRESS=1",
			// SLOW is to be slower than any machine that runs this.
			"REDIS_OPERATION_TIMEOUT_MS=60000", "REQUEST_TIMEOUT_SECONDS=60"),
		"DOWN_GRAPHQL_URL="+with("REDIS_URL="+gone.URL),
		"OPEN_GRAPHQL_URL="+graphql(service(t, program, "REDIS_URL="+server.URL, "AUTH_MODE=none",
			"MAX_LOCKS_PER_WORKER=1", "RATE_LIMIT_PER_ADDRESS=5")))
	var read map[string][]string
	if err := json.Unmarshal([]byte(out), &read); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(read)), codes(t); !slices.Equal(got, want) {
		t.Errorf("the client has met\n%v, of\n%v", got, want)
	}
}

// codes are the values of the constants in package graph that begin with Code, and
// gqlgen's own two codes, sorted.
func codes(t *testing.T) []string {
	t.Helper()
	found := []string{errcode.ParseFailed, errcode.ValidationFailed}
	sources, err := filepath.Glob("../graph/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		goast.Inspect(file, func(node goast.Node) bool {
			spec, ok := node.(*goast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
				return true
			}
			code, err := strconv.Unquote(spec.Values[0].(*goast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, code)
			return false
		})
	}
	slices.Sort(found)
	return found
}
