//go:build faults

package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"spoollock/faults"
	"spoollock/servicetest"
)

// carry sends operations of one kind, each about another spool, and fills in what is
// answered. attempt tells which process to ask. What it leaves without an outcome may
// have been carried out or not, or may yet be.
type carry func(ctx context.Context, attempt int, operations []*faults.Operation)

// driver has many workers do what clients do, only more wildly: they release, extend,
// resume and end by force each other's locks, and such that have ended, and send again
// what was answered. They can be started again after they were stopped.
type driver struct {
	service carry
	foreign carry // by another program; nil: there is none
	kinds   []faults.Kind
	seed    int
	pause   time.Duration // of each worker after each request

	halt func() // ends what start began, answered or not; nil before

	mu      sync.Mutex
	spools  []spool
	takes   int
	history []*faults.Operation
}

// spool is what the workers tell each other.
type spool struct {
	tag     string
	version int64               // that somebody was told last
	recent  []*faults.Operation // takes and resumes that were answered a lock, the newest first
	extend  *faults.Operation   // the newest that was answered
	resume  *faults.Operation   // the newest that was answered
	force   *faults.Operation   // the newest that was answered
}

const (
	workers = 24
	spools  = 400
	hot     = 10 // spools that get a fifth more
	atOnce  = 8  // operations in one request, at most
)

// usual are the kinds of operations, as often as they are done.
var usual = []faults.Kind{
	faults.Take, faults.Take, faults.Take, faults.Take, faults.Take, faults.Take, faults.Take, faults.Take,
	faults.Release, faults.Release, faults.Release, faults.Release, faults.Release,
	faults.Extend, faults.Extend, faults.Read, faults.Read, faults.Read,
	faults.Resume, faults.Resume, faults.ForceRelease, faults.ForceRelease,
	faults.ForeignTake, faults.ForeignRelease,
}

func newDriver(seed int, service, foreign carry, kinds []faults.Kind) *driver {
	d := &driver{service: service, foreign: foreign, kinds: kinds, seed: seed}
	for i := range spools {
		d.spools = append(d.spools, spool{tag: fmt.Sprintf("MK-%03d", i)})
	}
	return d
}

// start has the workers work until stop is called, which returns the history when
// everything is answered, or is not until the deadline of ctx.
func (d *driver) start(ctx context.Context) (stop func() []*faults.Operation) {
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	d.halt = func() {
		cancel()
		working.Wait()
	}
	done := make(chan struct{})
	for worker := range workers {
		working.Go(func() {
			random := seeded(d.seed, 1+worker)
			for ctx.Err() == nil {
				select {
				case <-done:
					return
				default:
					d.perform(ctx, d.plan(worker, random), random)
					during(ctx, d.pause)
				}
			}
		})
	}
	return func() []*faults.Operation {
		close(done)
		working.Wait()
		cancel()
		return d.history
	}
}

// plan makes operations of one kind, each about another spool.
func (d *driver) plan(worker int, random *rand.Rand) (operations []*faults.Operation) {
	kind := d.kinds[random.IntN(len(d.kinds))]
	size := 1
	if requests[kind].many != "" && random.IntN(3) > 0 {
		size += random.IntN(atOnce)
	}
	if isForeign(kind) && d.foreign == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	chosen := map[int]bool{}
	for range size {
		i := random.IntN(spools)
		if random.IntN(5) == 0 {
			i = random.IntN(hot)
		}
		if chosen[i] {
			continue
		}
		chosen[i] = true
		o := &faults.Operation{Client: worker, Spool: d.spools[i].tag, Kind: kind}
		if d.specify(o, &d.spools[i], random) {
			operations = append(operations, o)
		}
	}
	return operations
}

// specify says what the operation is about. It reports false where there is nothing.
func (d *driver) specify(o *faults.Operation, s *spool, random *rand.Rand) bool {
	seldom, sometimes := random.IntN(8) == 0, random.IntN(4) == 0
	var before *faults.Operation // the take of the lock that it is about
	if len(s.recent) > 0 {
		before = s.recent[0]
		if seldom {
			before = s.recent[random.IntN(len(s.recent))]
		}
	}
	if before == nil && o.Kind != faults.Read && o.Kind != faults.Take && o.Kind != faults.ForeignTake {
		return false
	}
	switch o.Kind {
	case faults.Read:
		return true
	case faults.Take, faults.ForeignTake:
		if o.Kind == faults.Take && seldom && before != nil && before.Kind == faults.Take {
			o.Token, o.TTL, o.Expected = before.Token, before.TTL, before.Expected // the same request again
			return true
		}
		d.takes++
		o.Token = fmt.Sprintf("c%d-%06d:%s", o.Client, d.takes, uuid.NewString())
		o.TTL = 1000 * int64(1+random.IntN(3))
		if random.IntN(3) == 0 {
			o.TTL = 30_000
		}
		if version := s.version; o.Kind == faults.Take && random.IntN(4) == 0 {
			o.Expected = &version
		}
		return true
	case faults.ForceRelease:
		if sometimes && s.force != nil {
			o.Request, o.Expected = s.force.Request, s.force.Expected
			return true
		}
		version := s.version
		if seldom && before.Lock != nil {
			version = before.Lock.Version
		}
		o.Request, o.Expected = uuid.NewString(), &version
		return true
	case faults.Resume:
		if sometimes && slices.Contains(s.recent, s.resume) { // or its token may be forgotten
			o.Token = s.resume.Token
			return true
		}
		o.Token = before.Owner() + ":" + uuid.NewString()
		return true
	default:
		o.Token = before.Token
		if o.Kind != faults.Extend {
			return true
		}
		if seldom && s.extend != nil {
			o.Token, o.Request, o.TTL = s.extend.Token, s.extend.Request, s.extend.TTL
			return true
		}
		o.Request, o.TTL = uuid.NewString(), 1000*int64(1+random.IntN(2))
		return true
	}
}

// perform sends the operations until each has an outcome, and writes them down.
func (d *driver) perform(ctx context.Context, operations []*faults.Operation, random *rand.Rand) {
	if len(operations) == 0 {
		return
	}
	send := d.service
	if isForeign(operations[0].Kind) {
		send = d.foreign
	}
	pending := slices.Clone(operations)
	call := time.Now().UnixNano()
	for attempt := random.IntN(workers); ; attempt++ {
		for _, o := range pending {
			o.Call = call
			o.Sent++
		}
		send(ctx, attempt, pending)
		now := time.Now().UnixNano()
		pending = slices.DeleteFunc(pending, func(o *faults.Operation) bool {
			o.Return = now
			return o.Outcome != faults.Unknown
		})
		if len(pending) == 0 || ctx.Err() != nil {
			break
		}
		during(ctx, time.Duration(20+random.IntN(80))*time.Millisecond)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range operations {
		d.learn(o)
		d.history = append(d.history, o)
	}
}

func (d *driver) learn(o *faults.Operation) {
	i := slices.IndexFunc(d.spools, func(s spool) bool { return s.tag == o.Spool })
	s := &d.spools[i]
	if s.version = max(s.version, o.Version); o.Lock != nil {
		s.version = max(s.version, o.Lock.Version)
	}
	switch {
	case o.Outcome == faults.Taken, o.Outcome == faults.Resumed:
		s.recent = slices.Insert(s.recent, 0, o)
		s.recent = s.recent[:min(len(s.recent), 4)]
	case o.Outcome == faults.Extended:
		s.extend = o
	case o.Kind == faults.ForceRelease && o.Outcome == faults.ForceReleased:
		s.force = o
	}
	if o.Outcome == faults.Resumed {
		s.resume = o
	}
}

func isForeign(kind faults.Kind) bool {
	return kind == faults.ForeignTake || kind == faults.ForeignRelease
}

// request is a GraphQL document for one spool, and one for several, if there is such.
type request struct{ one, many string }

const (
	told    = `lock{ownerId version expiresAt}`
	trouble = `error{code cause actual owner{ownerId version expiresAt}}`
)

var requests = map[faults.Kind]request{
	faults.Take: {
		`mutation($input:TomarSpoolInput!){r:tomarSpool(input:$input){` + told + `}}`,
		`mutation($input:TomarSpoolsInput!){r:tomarSpools(input:$input){results{` + told + trouble + `}}}`,
	},
	faults.Release: {
		`mutation($input:ReleaseSpoolInput!){r:releaseSpool(input:$input){outcome}}`,
		`mutation($input:ReleaseSpoolsInput!){r:releaseSpools(input:$input){results{outcome ` + trouble + `}}}`,
	},
	faults.Extend: {
		`mutation($input:ExtendLockInput!){r:extendLock(input:$input){` + told + `}}`,
		`mutation($input:ExtendLocksInput!){r:extendLocks(input:$input){results{` + told + trouble + `}}}`,
	},
	faults.Resume: {one: `mutation($input:ResumeSpoolInput!){r:resumeSpool(input:$input){` + told + `}}`},
	faults.ForceRelease: {
		one: `mutation($input:ForceReleaseSpoolInput!){r:forceReleaseSpool(input:$input){lock:released{ownerId version expiresAt}spool{version}}}`,
	},
	faults.Read: {
		`query($input:ID!){r:spool(tagSpool:$input){version ` + told + `}}`,
		`query($input:[ID!]!){r:spools(tagSpools:$input){version ` + told + `}}`,
	},
}

// holder is a lock as GraphQL tells of it.
type holder struct {
	OwnerID   string
	Version   int64
	ExpiresAt time.Time
}

func (h *holder) lock() *faults.Lock {
	return &faults.Lock{OwnerID: h.OwnerID, Version: h.Version, Expires: h.ExpiresAt.UnixMilli()}
}

// refusal is an error of one item of several. For a single one, the extensions have the
// lock in the way besides the code.
type refusal struct {
	Code   faults.Outcome
	Cause  string
	Actual int64
	Owner  *holder
	holder
}

type answer struct {
	Version int64
	Spool   struct{ Version int64 }
	Lock    *holder
	Outcome faults.Outcome
	Error   *refusal
}

// client sends operations to the processes in turn.
type client struct {
	urls []string

	// asked, if it is set, is called with how long each request took, and what became of
	// it.
	asked func(url string, took time.Duration, err error)

	mu  sync.Mutex
	odd []string // answers that there should not be
}

func newClient(services []*servicetest.Service) *client {
	c := &client{}
	for _, service := range services {
		c.urls = append(c.urls, service.URL)
	}
	return c
}

// requestTimeout is how long a request takes at most, as it may be one to a process that
// hangs.
const requestTimeout = 5 * time.Second

func (c *client) carry(ctx context.Context, attempt int, operations []*faults.Operation) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	kind, url := operations[0].Kind, c.urls[attempt%len(c.urls)]
	var inputs []any
	for _, o := range operations {
		inputs = append(inputs, input(o))
	}
	document, variable := requests[kind].many, any(map[string]any{"items": inputs})
	var data struct{ R json.RawMessage }
	answers := make([]answer, len(operations))
	var into any = &struct{ Results *[]answer }{&answers}
	if kind == faults.Read {
		variable, into = inputs, &answers
	}
	if len(operations) == 1 {
		document, variable, into = requests[kind].one, inputs[0], &answers[0]
	}
	begun := time.Now()
	err := servicetest.PostAs(ctx, crew.credentialFor(operations[0]), url, document, map[string]any{"input": variable}, &data)
	if c.asked != nil {
		c.asked(url, time.Since(begun), err)
	}
	if refused := (*servicetest.RefusedError)(nil); errors.As(err, &refused) {
		answers[0].Error = &refusal{}
		err = json.Unmarshal(refused.Extensions, answers[0].Error)
		if len(operations) > 1 && answers[0].Error.Code == "SERVICE_UNAVAILABLE" {
			return // of a read of several
		}
	} else if err == nil {
		err = json.Unmarshal(data.R, into)
	} else {
		return // no answer
	}
	if err != nil || len(answers) != len(operations) {
		c.wonder("%s is answered %s: %v", document, data.R, err)
		return
	}
	for i, o := range operations {
		c.fill(o, answers[i])
	}
}

func (c *client) wonder(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.odd = append(c.odd, fmt.Sprintf(format, args...))
}

func input(o *faults.Operation) any {
	fields := map[string]any{"tagSpool": o.Spool}
	switch o.Kind {
	case faults.Read:
		return o.Spool
	case faults.Take:
		fields["workerId"], fields["workerNombre"], fields["ttlSeconds"] = o.Owner(), "W", o.TTL/1000
		fields["requestId"] = o.Token[len(o.Owner())+1:]
		if o.Expected != nil {
			fields["expectedVersion"] = *o.Expected
		}
	case faults.Resume:
		fields["requestId"] = o.Token[len(o.Owner())+1:]
	case faults.ForceRelease:
		fields["reason"], fields["expectedVersion"], fields["requestId"] = "gone home", *o.Expected, o.Request
	case faults.Extend:
		fields["additionalSeconds"], fields["requestId"] = o.TTL/1000, o.Request
		fields["lockToken"] = o.Token
	default:
		fields["lockToken"] = o.Token
	}
	return fields
}

func (c *client) fill(o *faults.Operation, a answer) {
	switch {
	case a.Error != nil:
		switch o.Cause, o.Version = a.Error.Cause, a.Error.Actual; a.Error.Code {
		case faults.Occupied:
			if a.Error.Owner == nil {
				a.Error.Owner = &a.Error.holder
			}
			o.Lock, o.Outcome = a.Error.Owner.lock(), faults.Occupied
		case faults.Conflict, faults.Ended:
			o.Outcome = a.Error.Code
		case "SERVICE_UNAVAILABLE":
		default:
			c.wonder("%+v is answered %+v", *o, *a.Error)
		}
	case o.Kind == faults.Release:
		o.Outcome = a.Outcome
	case o.Kind == faults.Read && a.Lock == nil:
		o.Version, o.Outcome = a.Version, faults.Free
	case a.Lock == nil:
		c.wonder("%+v is answered no lock", *o)
	default:
		o.Lock, o.Version = a.Lock.lock(), a.Spool.Version
		o.Outcome = map[faults.Kind]faults.Outcome{
			faults.Take: faults.Taken, faults.Extend: faults.Extended, faults.Read: faults.Held,
			faults.Resume: faults.Resumed, faults.ForceRelease: faults.ForceReleased,
		}[o.Kind]
	}
}

// compareAndDelete is how another program releases.
var compareAndDelete = redis.NewScript(`return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0`)

// foreign is another program, which sends one operation at a time to the Redis that
// has the spool.
func foreign(redisOf func(spool string) *redis.Client) carry {
	return func(ctx context.Context, _ int, operations []*faults.Operation) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		o, plain, key := operations[0], redisOf(operations[0].Spool), "spool_lock:"+operations[0].Spool
		if o.Kind == faults.ForeignTake {
			holder, err := plain.Do(ctx, "SET", key, o.Token, "NX", "GET", "PX", o.TTL).Text()
			switch {
			case errors.Is(err, redis.Nil), err == nil && holder == o.Token:
				o.Outcome = faults.Taken
			case err == nil:
				o.Outcome = faults.Occupied
			}
			return
		}
		deleted, err := compareAndDelete.Eval(ctx, plain, []string{key}, o.Token).Int()
		switch {
		case err == nil && deleted == 1:
			o.Outcome = faults.Released
		case err == nil:
			o.Outcome = faults.NotHeld
		}
	}
}

// during waits while something else goes on.
func during(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
