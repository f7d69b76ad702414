package repository

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxInFlight is how many pipelines of a lane are in flight at a time: while Redis works
	// on one, the next is made. With more of them each would be shorter, and cost more.
	maxInFlight = 2

	// maxPipeline is the most commands of a pipeline. Redis runs them one after the other,
	// so this bounds how long they hold up others.
	maxPipeline = 128

	// maxWaiting is the most commands of a kind that wait in a lane.
	maxWaiting = 4096

	// minTimeLeft is the least time that a command must have left to be sent, or a quarter
	// of an attempt's time if that is less. The answer to one with less would hardly be in
	// time, and with a WAIT it would take the time from the others in its pipeline.
	minTimeLeft = 50 * time.Millisecond
)

// kind is what a command is for.
type kind int

const (
	change      kind = iota
	expiryCheck      // a read of a lock that is likely to have expired
	clientRead       // any other read for a client
	rebuildRead      // a read for the floor's view of all locks
	kinds       = iota
)

// classes are the kinds by whose turn it is. A pipeline is of the first class that has
// commands waiting, but each such class gets at least one pipeline in eight. Within a class,
// the first kind goes first. What room a pipeline has left is for the other classes, so that
// reads wait for changes only where there are more commands than a pipeline takes. Rebuilds
// have pipelines of their own, of which at most one is in flight.
var classes = [...][]kind{{change}, {expiryCheck, clientRead}, {rebuildRead}}

const (
	rebuilds = len(classes) - 1 // the index of that class

	// dueAfter is after how many pipelines of other classes a class is due: of eight, one is
	// left for each class that can be due at the same time.
	dueAfter = 8 - rebuilds
)

// lane is the way to one Redis for the commands that as many replicas are to confirm.
// Commands that are under way at the same time share pipelines.
//
// A pipeline has a connection of the pool for itself, and the time of one attempt. When
// that has passed, the connection is closed: a connection on which no answer comes costs
// the commands on it one attempt, and the lane one of its pipelines for as long.
type lane struct {
	node     *redis.Client
	replicas int
	timeout  time.Duration // of one attempt

	mu         sync.Mutex
	waiting    [kinds][]*command
	inFlight   int
	rebuilding bool              // a pipeline of rebuilds is in flight
	passedOver [len(classes)]int // pipelines of other classes while this one had commands waiting
}

// The states of a command.
const (
	queued    int32 = iota
	withdrawn       // by its caller, so Redis is not to run it
	sent            // so Redis may run it, or may have run it
	answered        // it was sent, and its pipeline is over
	unsent          // its pipeline is over, or there was none for it
)

// command is one command on its way. Its Cmd belongs to its pipeline until it is answered
// or unsent.
type command struct {
	*redis.Cmd
	asking   bool   // its key is being moved to this Redis from another one
	script   string // digest or source
	deadline time.Time
	state    atomic.Int32
	batch    *batch

	// unconfirmed is why fewer replicas than asked for are known to have what it did.
	unconfirmed error
}

// batch is the commands that one caller waits for.
type batch struct {
	left atomic.Int32
	over chan struct{} // closed when none is left
}

// newCommand makes a command that runs a script by "evalsha" or "eval".
func newCommand(ctx context.Context, eval, script string, keys []string, scriptArgs []any) *command {
	c := &command{script: script}
	args := make([]any, 0, 3+len(keys)+len(scriptArgs))
	args = append(args, eval, (*scriptArg)(c), len(keys))
	for _, key := range keys {
		args = append(args, key)
	}
	c.Cmd = redis.NewCmd(ctx, append(args, scriptArgs...)...)
	return c
}

// scriptArg is the argument of a command that names its script. As the client marshals it
// when it has a connection and before anything is flushed, this is also where a command
// becomes sent.
type scriptArg command

// MarshalBinary implements [encoding.BinaryMarshaler]. A command that was withdrawn while
// the client connected has to be written with its pipeline all the same. It then names no
// script, and Redis runs none.
func (a *scriptArg) MarshalBinary() ([]byte, error) {
	a.state.CompareAndSwap(queued, sent)
	if a.state.Load() == withdrawn {
		return nil, nil
	}
	return []byte(a.script), nil
}

// move reports whether the command was in the one state and is now in the other, which is
// a last one.
func (c *command) move(from, to int32) bool {
	moved := c.state.CompareAndSwap(from, to)
	if moved && c.batch.left.Add(-1) == 0 {
		close(c.batch.over)
	}
	return moved
}

// finish says that nothing more happens to the command, unless it was withdrawn.
func (c *command) finish() {
	if !c.move(sent, answered) {
		c.move(queued, unsent)
	}
}

// refuse finishes a command that is not sent.
func (c *command) refuse(err error) {
	c.SetErr(err)
	c.finish()
}

// run sends the commands, and returns when all are answered or ctx's deadline is over. If
// the caller goes before that, what is not sent is withdrawn, and of what is sent the answer
// is waited for: it says what was done in the caller's name.
func (l *lane) run(ctx context.Context, kind kind, commands []*command) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(l.timeout)
	}
	mine := &batch{over: make(chan struct{})}
	mine.left.Store(int32(len(commands))) //nolint:gosec // at most a few hundred
	for _, c := range commands {
		c.deadline, c.batch = deadline, mine
	}
	if err := ctx.Err(); err != nil {
		for _, c := range commands {
			c.refuse(err)
		}
		return
	}
	withdraw := func() {
		for _, c := range commands {
			c.move(queued, withdrawn)
		}
		l.remove(kind, mine)
	}
	if l.add(kind, commands) { //nolint:contextcheck // a pipeline is not any one caller's
		stop := context.AfterFunc(ctx, withdraw)
		l.lead(deadline) //nolint:contextcheck // as above
		stop()
	}
	select {
	case <-mine.over:
		return
	case <-ctx.Done():
	}
	withdraw()
	if !errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	rest := time.NewTimer(time.Until(deadline))
	defer rest.Stop()
	select {
	case <-mine.over:
	case <-rest.C:
	}
}

// add queues the commands. Those for which there is no room are refused. It reports whether
// the caller is to send the next pipeline itself, which saves a goroutine, and the wait for it.
// That is so if nothing is in flight, and the caller has nearly the time of an attempt.
func (l *lane) add(kind kind, commands []*command) (leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := min(len(commands), maxWaiting-len(l.waiting[kind]))
	l.waiting[kind] = append(l.waiting[kind], commands[:room]...)
	for _, c := range commands[room:] {
		c.refuse(errTooMany)
	}
	if l.inFlight == maxInFlight {
		return false
	}
	l.inFlight++
	if leads = l.inFlight == 1 && time.Until(commands[0].deadline) > l.timeout*3/4; !leads {
		go l.work()
	}
	return leads
}

// remove removes the commands of a batch that are still waiting.
func (l *lane) remove(kind kind, gone *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[kind] = slices.DeleteFunc(l.waiting[kind], func(c *command) bool { return c.batch == gone })
}

// lead sends one pipeline, until the deadline at the latest. A goroutine sends what waits
// then.
func (l *lane) lead(deadline time.Time) {
	if attempt := time.Now().Add(l.timeout); attempt.Before(deadline) {
		deadline = attempt
	}
	if !l.sendNext(deadline) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.waiting[:], func(commands []*command) bool { return len(commands) > 0 }) {
		go l.work()
	} else {
		l.inFlight--
	}
}

// work sends one pipeline after the other until there is none to send.
func (l *lane) work() {
	for l.sendNext(time.Now().Add(l.timeout)) {
	}
}

// sendNext sends the next pipeline, which has until the deadline. If there is none, it counts
// one pipeline less in flight and reports false.
func (l *lane) sendNext(deadline time.Time) bool {
	runtime.Gosched() // callers that are about to add something do so first
	class, commands := l.next()
	if commands == nil {
		return false
	}
	l.send(commands, deadline)
	l.mu.Lock()
	l.rebuilding = l.rebuilding && class != rebuilds
	l.mu.Unlock()
	return true
}

// next takes the commands of the next pipeline from the queues. If there are none, it
// counts one pipeline less in flight.
func (l *lane) next() (class int, commands []*command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(commands) == 0 {
		var found bool
		if class, found = l.nextClass(); !found {
			l.inFlight--
			return 0, nil
		}
		earliest := time.Now().Add(min(minTimeLeft, l.timeout/4))
		for _, kind := range kindsOf(class) {
			taken := min(len(l.waiting[kind]), maxPipeline-len(commands))
			for _, c := range l.waiting[kind][:taken] {
				if c.deadline.Before(earliest) {
					c.refuse(errTooLate)
				} else {
					commands = append(commands, c)
				}
			}
			l.waiting[kind] = slices.Delete(l.waiting[kind], 0, taken)
		}
	}
	l.rebuilding = l.rebuilding || class == rebuilds
	return class, commands
}

// kindsOf are the kinds in a pipeline of the class, in their order.
func kindsOf(class int) []kind {
	if class == rebuilds {
		return classes[class]
	}
	kinds := slices.Clone(classes[class])
	for i, others := range classes[:rebuilds] {
		if i != class {
			kinds = append(kinds, others...)
		}
	}
	return kinds
}

// nextClass is whose turn it is.
func (l *lane) nextClass() (class int, found bool) {
	var ready []int
	for i, kinds := range classes {
		isWaiting := slices.ContainsFunc(kinds, func(k kind) bool { return len(l.waiting[k]) > 0 })
		if isWaiting && (i != rebuilds || !l.rebuilding) {
			ready = append(ready, i)
		}
	}
	if len(ready) == 0 {
		return 0, false
	}
	class = ready[0]
	for _, i := range ready {
		if l.passedOver[i] >= dueAfter {
			class = i
			break
		}
	}
	for _, i := range ready {
		l.passedOver[i]++
	}
	l.passedOver[class] = 0
	return class, true
}

// send sends the commands in one pipeline, and finishes them by the deadline.
func (l *lane) send(commands []*command, deadline time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	pipe := l.node.Pipeline()
	shortest := deadline
	for _, c := range commands {
		if c.asking {
			pipe.Do(ctx, "asking")
		}
		_ = pipe.Process(ctx, c.Cmd) // which only queues it
		if c.deadline.Before(shortest) {
			shortest = c.deadline
		}
	}
	var confirmed *redis.Cmd
	if l.replicas > 0 {
		confirmed = pipe.Do(ctx, "WAIT", l.replicas, replicaWait(shortest).Milliseconds())
	}
	_, err := pipe.Exec(ctx)
	for _, c := range commands {
		if c.Err() == nil && c.Val() == nil {
			c.SetErr(err) // Redis refused the connection, and was asked nothing
		}
		if confirmed != nil {
			c.unconfirmed = checkConfirmed(confirmed, l.replicas)
		}
		c.finish()
	}
}

// replicaWait is how long Redis is to wait for its replicas, so that its answer is in time.
// It looks at the clock ten times a second, unless it has something else to do.
func replicaWait(deadline time.Time) time.Duration {
	left := time.Until(deadline)
	return max(time.Millisecond, left/4, min(left*3/4, left-150*time.Millisecond)) // 0 would be without end
}
