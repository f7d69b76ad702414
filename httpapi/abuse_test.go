package httpapi_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/auth"
	"spoollock/auth/authtest"
	"spoollock/httpapi"
	"spoollock/lock"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// answerTimeout is how long a hostile request may keep its sender waiting. It is a guard
// against hanging, never a measurement.
const answerTimeout = 20 * time.Second

// marker stands in whatever part of a hostile request can hold it. Neither an
// answer nor the log may repeat it.
const marker = "s3cr3t-m4rk3r"

// The spools that the attacks find. Nobody attacks the bystander.
const (
	heldSpool, heldToken = "MK-HELD", "93:0d6f2f1b-7c11-4f5e-9a39-8b6f5a1e7c1d"
	heldVersion          = "253402300700000"
	freeSpool            = "MK-FREE"
	bystander            = "MK-1"
	attackRequest        = "5a434c0e-8f6b-4a4d-9e21-c570f2b0c9de"
)

// An attack is one hostile request, byte for byte, and how it must be answered.
type attack struct {
	name    string
	front   string // empty: plain
	request string
	half    bool   // the sender closes its side then, as if it had sent everything
	stream  bool   // the answer is a stream of events, whose first is looked at
	secret  string // may not be repeated, besides what no attack's may; empty: nothing

	// stranger says that whoever sends it does not add the attacker's credential.
	stranger bool

	// status is 0 where the connection is closed without an answer.
	status int

	// code, field and reason are those of the first error. Without a code the answer
	// is one of net/http's own, or, with status 200, has no error.
	code, field, reason string

	// odd says that the request is legitimate, if strange: it may also be answered
	// with one of operationCodes. It changes nothing, unless it applies: then it may
	// change what it names, but nothing of the bystander.
	odd, applies bool
}

// operationCodes are the codes of operations whose input was valid; empty: it was done.
var operationCodes = []string{"", "SPOOL_OCCUPIED", "VERSION_CONFLICT", "LOCK_EXPIRED"}

// abuse is the service under attack: as several servers on one Redis that differ
// in how they are configured.
type abuse struct {
	*api
	fronts map[string]string // addresses by name
	redis  *redis.Client

	// Where the service knows callers by tokens: who signs them, and the attacker's.
	provider   *authtest.Provider
	credential string
}

// attacker may do everything.
var attacker = lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleAdmin}

// newAbuse starts a service that knows its callers by tokens, or does not know them.
func newAbuse(t *testing.T, known bool) *abuse {
	t.Helper()
	server := redistest.Start(t)
	b := &abuse{fronts: map[string]string{}, redis: server.Client()}
	t.Cleanup(func() { _ = b.redis.Close() })
	identify, admin := auth.Static(lock.Caller{Role: lock.RoleWorker}), auth.Static(attacker)
	if known {
		b.provider = authtest.New(t)
		b.credential = b.provider.Token(attacker)
		identify = b.provider.JWT(t).Identify
		admin = identify
	}
	b.api = newAPI(t, server.URL, func(c *httpapi.Config) { c.Identify = identify })
	if known {
		b.client.Transport = as{b.credential, b.client.Transport.(*http.Transport)}
	}
	for name, change := range map[string]func(*httpapi.Config){
		"plain": func(*httpapi.Config) {},
		"roomy": func(c *httpapi.Config) {
			c.Identify = admin
			c.RequestLimits.BodyBytes, c.RequestLimits.Tokens, c.RequestLimits.Fields = 4<<20, 100000, 1<<20
		},
		"trusted": func(c *httpapi.Config) { c.TrustedDocuments = documents(t, true) },
		"admin":   func(c *httpapi.Config) { c.Identify = admin },
		"fresh":   func(*httpapi.Config) {},
	} {
		config := b.config
		change(&config)
		handler := http.Handler(httpapi.New(config))
		if name == "fresh" {
			// The log says of the first refusals only why; here, each is the first.
			handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { httpapi.New(config).ServeHTTP(w, r) })
		}
		front := httptest.NewUnstartedServer(handler)
		front.Config.ErrorLog = slog.NewLogLogger(config.Log.Handler(), slog.LevelWarn)
		front.Config.MaxHeaderBytes = 16 << 10 // as in production
		front.Start()
		t.Cleanup(front.Close)
		b.fronts[name] = front.Listener.Addr().String()
	}
	b.awaitReadiness(200, live)
	b.take(map[string]any{"tagSpool": bystander, "workerId": "94", "workerNombre": "JP(94)"})
	_, requestID, _ := strings.Cut(heldToken, ":")
	b.take(map[string]any{"tagSpool": heldSpool, "workerId": "93", "workerNombre": "MR(93)", "requestId": requestID})
	version := int64(len("-00000000000001")+len(heldToken)+len("\n")) + 16 // see repository/spool.lua
	if err := b.redis.SetRange(t.Context(), "spool_state2:{spool_lock:"+heldSpool+"}", version, heldVersion).Err(); err != nil {
		t.Fatal(err)
	}
	b.liveOneLife(freeSpool)
	return b
}

// liveOneLife takes and releases a spool, as a good client does.
func (b *abuse) liveOneLife(tag string) {
	b.t.Helper()
	token := b.take(map[string]any{"tagSpool": tag, "workerId": "95", "workerNombre": "AB(95)"})
	proof := map[string]any{"tagSpool": tag, "lockToken": token}
	if _, body := b.post(release, input(proof)); !strings.Contains(body, `"released":true,"outcome":"RELEASED"`) {
		b.t.Fatalf("a good release is answered %s", body)
	}
}

// kept is what Redis holds under one key.
type kept struct {
	content string
	expires time.Duration
	dump    string // for RESTORE; of a hash, the order of its fields is not always the same
}

func (k kept) equal(other kept) bool { return k.content == other.content && k.expires == other.expires }

// dump returns all that Redis holds.
func (b *abuse) dump() map[string]kept {
	b.t.Helper()
	ctx := b.t.Context()
	keys, err := b.redis.Keys(ctx, "*").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	dumps := make([]*redis.StringCmd, len(keys))
	expiries := make([]*redis.DurationCmd, len(keys))
	hashes := make([]*redis.MapStringStringCmd, len(keys))
	_, _ = b.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error { // each says its own error
		for i, key := range keys {
			dumps[i], expiries[i], hashes[i] = pipe.Dump(ctx, key), pipe.PExpireTime(ctx, key), pipe.HGetAll(ctx, key)
		}
		return nil
	})
	all := map[string]kept{}
	for i, key := range keys {
		if err := errors.Join(dumps[i].Err(), expiries[i].Err()); err != nil {
			b.t.Fatal(err)
		}
		content := dumps[i].Val()
		if hashes[i].Err() == nil {
			content = fmt.Sprintf("%q", hashes[i].Val())
		}
		all[key] = kept{content, expiries[i].Val(), dumps[i].Val()}
	}
	return all
}

// restore brings back what Redis held.
func (b *abuse) restore(before map[string]kept) {
	b.t.Helper()
	ctx := b.t.Context()
	now := b.dump()
	for key := range now {
		if _, was := before[key]; was {
			continue
		}
		if err := b.redis.Del(ctx, key).Err(); err != nil {
			b.t.Fatal(err)
		}
	}
	for key, was := range before {
		if was.equal(now[key]) {
			continue
		}
		expires := max(was.expires.Milliseconds(), 0) // 0: never
		if err := b.redis.Do(ctx, "RESTORE", key, expires, was.dump, "ABSTTL", "REPLACE").Err(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// exchange sends the attack on a connection of its own and returns all that comes
// back until the service closes it, or until the first event of a stream.
func (b *abuse) exchange(a attack) (string, error) {
	conn, err := net.Dial("tcp", b.fronts[cmp.Or(a.front, "plain")])
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // all was read
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return "", err
	}
	request := a.request
	if b.credential != "" && !a.stranger {
		const host = "\r\nHost: "
		request = strings.ReplaceAll(request, host, "\r\nAuthorization: Bearer "+b.credential+host)
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		// The service may answer and close before it has read everything.
		_, _ = io.WriteString(conn, request)
		if a.half {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	})
	answer, err := a.readAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", fmt.Errorf("there is no answer, or no end of it: %.300q", answer)
	}
	return string(answer), nil
}

// readAll reads to the end, of a stream to the end of its first event.
func (a attack) readAll(from io.Reader) ([]byte, error) {
	if !a.stream {
		return io.ReadAll(from)
	}
	var answer []byte
	for part := make([]byte, 4096); firstEvent(answer) == nil; {
		n, err := from.Read(part)
		answer = append(answer, part[:n]...)
		if err != nil {
			return answer, err
		}
	}
	return answer, nil
}

// firstEvent is what the first event of a stream holds; nil: nothing yet.
func firstEvent(stream []byte) []byte {
	_, rest, _ := bytes.Cut(stream, []byte("\ndata: "))
	event, _, whole := bytes.Cut(rest, []byte("\n\n"))
	if !whole {
		return nil
	}
	return event
}

// check compares the answer with what the attack must get.
func (a attack) check(t *testing.T, answer string) {
	t.Helper()
	if a.status == 0 {
		if answer != "" {
			t.Fatalf("the answer is %.300q, want none", answer)
		}
		return
	}
	reader := bufio.NewReader(strings.NewReader(answer))
	method, _, _ := strings.Cut(a.request, " ") // an answer to HEAD has no body
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("the answer is %.300q: %v", answer, err)
	}
	defer response.Body.Close() //nolint:errcheck // it is in memory
	body, err := io.ReadAll(response.Body)
	if event := firstEvent(body); a.stream && event != nil {
		body, err = event, nil // it was left then
	}
	if err != nil {
		t.Fatalf("the answer is %.300q: %v", answer, err)
	}
	if rest, _ := io.ReadAll(reader); len(rest) > 0 {
		t.Fatalf("a second answer follows: %.300q", rest)
	}
	if response.StatusCode != a.status {
		t.Fatalf("the status is %d, want %d: %.300s", response.StatusCode, a.status, body)
	}
	a.checkSecrets(t, "the answer", answer)
	if challenge := response.Header.Get("WWW-Authenticate"); (a.status == http.StatusUnauthorized) != (challenge == "Bearer") {
		t.Fatalf("%d comes with the challenge %q", a.status, challenge)
	}
	if a.code == "" && a.status != http.StatusOK {
		return
	}
	if a.reason == wrongType && bytes.Contains(body, []byte(`"data"`)) {
		t.Fatalf("it was begun: %.300s", body)
	}
	code, field, reason := firstError(t, body)
	if a.odd && slices.Contains(operationCodes, code) {
		a.code = code
	}
	if code != a.code || field != a.field || reason != a.reason {
		t.Fatalf("the answer has code %q field %q reason %q, want %q %q %q: %.300s",
			code, field, reason, a.code, a.field, a.reason, body)
	}
}

// firstError returns the facts of the first error of an answer: of the request, or
// of the first item of a batch.
func firstError(t *testing.T, body []byte) (code, field, reason string) {
	t.Helper()
	type facts struct{ Code, Field, Reason string }
	var answer struct {
		Errors []struct{ Extensions facts }
		Data   map[string]json.RawMessage
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("the answer is no GraphQL: %.300s", body)
	}
	if len(answer.Errors) > 0 {
		e := answer.Errors[0].Extensions
		return e.Code, e.Field, e.Reason
	}
	for _, data := range answer.Data {
		var batch struct{ Results []struct{ Error *facts } }
		if json.Unmarshal(data, &batch) == nil && len(batch.Results) > 0 && batch.Results[0].Error != nil {
			e := batch.Results[0].Error
			return e.Code, e.Field, e.Reason
		}
	}
	return "", "", ""
}

// answeredToken is where a take answers the token that it made.
var answeredToken = regexp.MustCompile(`"lockToken":"[^"]*"`)

// checkSecrets looks for what came with the request and may not be repeated.
func (a attack) checkSecrets(t *testing.T, where, text string) {
	t.Helper()
	if a.applies {
		text = answeredToken.ReplaceAllString(text, "")
	}
	for _, secret := range []string{marker, heldToken, attackRequest, a.secret} {
		if secret != "" && strings.Contains(text, secret) {
			t.Fatalf("%s holds %q: %.500q", where, secret, text)
		}
	}
}

// run sends every attack and looks at Redis and the log after each.
func (b *abuse) run(t *testing.T, attacks []attack) {
	before := b.dump()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			b.t = t
			logged := len(b.log.String())
			answer, err := b.exchange(a)
			if err != nil {
				t.Fatal(err)
			}
			a.check(t, answer)
			b.checkLog(t, a, b.log.String()[logged:])
			b.checkKept(t, a, before)
		})
	}
	b.t = t
	t.Logf("%d attacks", len(attacks))
}

func (b *abuse) checkLog(t *testing.T, a attack, log string) {
	t.Helper()
	a.checkSecrets(t, "the log", log)
	if b.credential != "" && strings.Contains(log, b.credential) || strings.Contains(log, "level=ERROR") || strings.Contains(log, "panic") {
		t.Fatalf("the log says %s", log)
	}
	if a.front == "fresh" && (a.status == http.StatusUnauthorized) != strings.Contains(log, "a credential is refused") {
		t.Fatalf("%d is answered, and the log says %q", a.status, log)
	}
}

func (b *abuse) checkKept(t *testing.T, a attack, before map[string]kept) {
	t.Helper()
	after := b.dump()
	if maps.EqualFunc(before, after, kept.equal) {
		return
	}
	defer b.restore(before)
	for _, key := range slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after))) {
		aside := key == "spool_lock:"+bystander || strings.HasSuffix(key, "{spool_lock:"+bystander+"}")
		if !before[key].equal(after[key]) && (!a.applies || aside) {
			t.Fatalf("in Redis, %q was\n%q until %v, is\n%q until %v", key, before[key].content, before[key].expires, after[key].content, after[key].expires)
		}
	}
}

// open is what the process has open. The connections to Redis are not counted: their
// pools are as large as operations have met by chance, and bounded by themselves.
type open struct{ goroutines, descriptors int }

func (b *abuse) nowOpen(t *testing.T) open {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	redistest.Need(t, err, "needs Linux, to count descriptors")
	return open{runtime.NumGoroutine(), len(descriptors) - b.pooled() - int(b.redis.PoolStats().TotalConns)}
}

// settled is what stays open where nothing happens any more.
func (b *abuse) settled(t *testing.T) open {
	t.Helper()
	last, same := b.nowOpen(t), 0
	testwait.Poll(func() bool {
		same++
		if now := b.nowOpen(t); now != last {
			last, same = now, 0
		}
		return same > 20
	})
	return last
}

// inEachMode attacks a service that does not know its callers, and one that does, where
// the attacker has a token.
func inEachMode(t *testing.T, attacks func(known bool) []attack) {
	for mode, known := range modes {
		t.Run(mode, func(t *testing.T) {
			b := newAbuse(t, known)
			b.survive(t, func() { b.run(t, attacks(known)) })
		})
	}
}

// modes are those of AUTH_MODE, and whether callers are known.
var modes = map[string]bool{"none": false, "jwt": true}

// survive attacks, and then looks whether all is as it was. It must not run beside
// other tests, whose goroutines would count.
func (b *abuse) survive(t *testing.T, attack func()) {
	b.dump()
	b.client.CloseIdleConnections()
	before := b.settled(t)
	attack()
	b.liveOneLife("MK-AFTER")
	b.client.CloseIdleConnections()
	var after open
	if !testwait.Poll(func() bool {
		after = b.nowOpen(t)
		return after.goroutines <= before.goroutines && after.descriptors <= before.descriptors
	}) {
		stacks := make([]byte, 1<<20)
		t.Fatalf("before, there was %+v, after it %+v:\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
	}
}

// Good clients do not notice that others are hostile.
func TestGoodClientsBesideHostileOnes(t *testing.T) {
	t.Parallel()
	for mode, known := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testGoodClients(t, known)
		})
	}
}

func testGoodClients(t *testing.T, known bool) {
	b := newAbuse(t, known)
	attacks := slices.Concat(protocolAttacks(), jsonAttacks(), documentAttacks())
	if known {
		attacks = append(attacks, b.credentialAttacks()...)
	}
	over := make(chan struct{})
	var hostile, honest sync.WaitGroup
	for _, half := range [][]attack{attacks[:len(attacks)/2], attacks[len(attacks)/2:]} {
		hostile.Go(func() {
			for _, a := range half {
				if _, err := b.exchange(a); err != nil {
					t.Errorf("%s: %v", a.name, err)
				}
			}
		})
	}
	for worker := range 4 {
		honest.Go(func() {
			for day := 0; day == 0 || !closed(over); day++ {
				b.work(t, worker, fmt.Sprintf("MK-%d-%d", worker, day))
			}
		})
	}
	hostile.Wait()
	close(over)
	honest.Wait()
	b.client.CloseIdleConnections()
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// work takes, extends and releases a spool, with the worker's own credential if it has to
// have one: each answer must be the right one.
func (b *abuse) work(t *testing.T, worker int, tag string) {
	credential := ""
	if b.provider != nil {
		credential = b.provider.Token(lock.Caller{Worker: lock.Worker{ID: lock.WorkerID(fmt.Sprint(worker)), Name: "MR"}, Role: lock.RoleWorker})
	}
	got, err := b.ask(credential, tomar, map[string]any{"tagSpool": tag, "workerId": worker, "workerNombre": "MR", "ttlSeconds": 600})
	if err != nil || got.TomarSpool == nil || got.TomarSpool.Lock.TagSpool != tag {
		t.Errorf("the take of %s is answered %+v, %v", tag, got, err)
		return
	}
	proof := map[string]any{"tagSpool": tag, "lockToken": got.TomarSpool.LockToken}
	version := got.TomarSpool.Lock.Version
	got, err = b.ask(credential, extend, map[string]any{"tagSpool": tag, "lockToken": proof["lockToken"], "additionalSeconds": 600})
	if err != nil || got.ExtendLock == nil || got.ExtendLock.Lock.Version != version || got.ExtendLock.Lock.RemainingSeconds <= 600 {
		t.Errorf("the extension of %s is answered %+v, %v", tag, got, err)
	}
	got, err = b.ask(credential, release, proof)
	if err != nil || got.ReleaseSpool == nil || got.ReleaseSpool.Outcome != "RELEASED" {
		t.Errorf("the release of %s is answered %+v, %v", tag, got, err)
	}
}

// lifeData is the data of an answer to a take, an extension or a release.
type lifeData struct {
	TomarSpool *struct {
		LockToken string
		Lock      struct {
			TagSpool string
			Version  int64
		}
	}
	ExtendLock *struct {
		Lock struct{ Version, RemainingSeconds int64 }
	}
	ReleaseSpool *struct{ Outcome string }
}

// ask sends an operation; unlike post, from any goroutine.
func (b *abuse) ask(credential, query string, fields map[string]any) (lifeData, error) {
	body, err := json.Marshal(map[string]any{"query": query, "variables": input(fields)})
	if err != nil {
		return lifeData{}, err
	}
	request, err := http.NewRequest(http.MethodPost, "http://"+b.fronts["plain"]+"/graphql", bytes.NewReader(body))
	if err != nil {
		return lifeData{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if credential != "" {
		request.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := b.client.Do(request)
	if err != nil {
		return lifeData{}, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	var answer struct {
		Data   lifeData
		Errors []json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return lifeData{}, err
	}
	if len(answer.Errors) > 0 {
		return lifeData{}, fmt.Errorf("answered %s", answer.Errors[0])
	}
	return answer.Data, nil
}
