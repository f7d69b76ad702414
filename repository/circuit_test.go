package repository

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// through has an operation end in result, and returns why it may not go to Redis.
func (c *circuit) through(result error) error {
	if err := c.enter(); err != nil {
		return err
	}
	c.leave(result)
	return nil
}

func TestCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c circuit
		pass := func(result error, times int) {
			t.Helper()
			for range times {
				if err := c.through(result); err != nil {
					t.Fatalf("the circuit answers %v", err)
				}
			}
		}
		pass(io.EOF, openAfterFailures-2)
		time.Sleep(openAfterTime)
		pass(io.EOF, 1)
		pass(nil, 1)
		pass(context.Canceled, 2*openAfterFailures) // which says nothing of Redis
		pass(io.EOF, 100*openAfterFailures)         // which the next attempts can make good
		time.Sleep(openAfterTime)
		pass(io.EOF, 1)
		if err := c.through(nil); !errors.Is(err, errCircuitOpen) {
			t.Fatalf("after a time of failures, the circuit answers %v", err)
		}
		for pause := firstProbe; pause < 4*maxProbe; pause *= 2 {
			time.Sleep(min(pause, maxProbe) * 3 / 2)
			pass(io.EOF, 1)
			if err := c.through(nil); !errors.Is(err, errCircuitOpen) {
				t.Fatalf("beside a probe, the circuit answers %v", err)
			}
		}
		time.Sleep(maxProbe * 3 / 2)
		pass(nil, 2)
	})
}

// Operations fail at a Redis if several in a row have for a while, and nothing since then says
// otherwise.
func TestFailingOperations(t *testing.T) {
	t.Parallel()
	wrongType := refusal("WRONGTYPE is what redis answers")
	for name, test := range map[string]struct {
		calls [][]error // one a second
		want  bool
	}{
		"too few":                    {calls: [][]error{{io.EOF}, {io.EOF}, {io.EOF}, {io.EOF}}},
		"enough":                     {calls: [][]error{{io.EOF}, {io.EOF}, {io.EOF}, {io.EOF}, {io.EOF}}, want: true},
		"refusals":                   {calls: [][]error{{errReply}, {refusal("NOPERM")}, {refusal("OOM")}, {io.EOF}, {refusal("NOPERM")}}, want: true},
		"one that succeeds":          {calls: [][]error{{io.EOF}, {io.EOF}, {io.EOF, nil}, {io.EOF}, {io.EOF}, {io.EOF}}},
		"spools that cannot be read": {calls: [][]error{{wrongType}, {wrongType}, {wrongType}, {wrongType}, {wrongType}}},
		"callers who leave":          {calls: [][]error{{context.Canceled}, {context.Canceled}, {context.Canceled}, {context.Canceled}, {context.Canceled}}},
		"what proves nothing":        {calls: [][]error{{io.EOF}, {io.EOF}, {wrongType}, {io.EOF}, {context.Canceled}, {io.EOF}, {io.EOF}}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := circuits{byAddr: map[string]*circuit{}}
				_ = all.of("another")
				for _, results := range test.calls {
					all.of("one").leave(results...)
					time.Sleep(time.Second)
				}
				if got := all.failing(time.Now()); (got != nil) != test.want {
					t.Errorf("they fail with %v", got)
				}
				time.Sleep(failuresMemory)
				if got := all.failing(time.Now()); got != nil {
					t.Errorf("a while later they fail with %v", got)
				}
			})
		})
	}
	var quick circuit
	for range 2 * openAfterFailures {
		quick.leave(io.EOF)
	}
	if got := quick.failing(time.Now()); got != nil {
		t.Errorf("in a moment they fail with %v", got)
	}
}
