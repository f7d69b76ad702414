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
