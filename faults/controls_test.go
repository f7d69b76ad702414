//go:build faults

package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/faults"
	"spoollock/repository/redistest"
)

// control is a lock service made of a few commands, right but for what it is told to do
// wrong.
type control struct {
	plain func() *redis.Client // of the master
	naive bool                 // looks first, and takes then
	rash  bool                 // releases without a look at whose lock it is
}

// take takes the spool if it is free, or ARGV[3] says that it was. A lock's value is a
// [faults.Lock] as JSON, its version from a counter, in which each end of a lock has a
// place, as the service counts. Beside it is kept what became of each take.
var take = redis.NewScript(`
local held, fate = redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[1] .. ':fates', ARGV[1])
if held and ARGV[3] == '' then return held end
if fate then return cjson.encode({Cause = fate}) end
local clock = redis.call('TIME')
local expires = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[2]
local version = redis.call('INCRBY', KEYS[1] .. ':version', 2)
local value = string.format('{"OwnerID":"%s","Version":%d,"Expires":%.0f}', ARGV[1], version, expires)
redis.call('SET', KEYS[1], value, 'PXAT', string.format('%.0f', expires))
redis.call('HSET', KEYS[1] .. ':fates', ARGV[1], 'EXPIRED')
return value`)

// release deletes the lock if it is the owner's, or ARGV[2] says so.
var release = redis.NewScript(`
local held, fate = redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[1] .. ':fates', ARGV[1])
if ARGV[2] == '' and (not held or cjson.decode(held).OwnerID ~= ARGV[1]) then
  return fate == 'RELEASED' and 'ALREADY_RELEASED' or 'EXPIRED'
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1] .. ':fates', ARGV[1], 'RELEASED')
return 'RELEASED'`)

func (c control) carry(ctx context.Context, _ int, operations []*faults.Operation) {
	for _, o := range operations {
		wrong := ""
		if o.Kind == faults.Release {
			if c.rash {
				wrong = "yes"
			}
			released, _ := release.Run(ctx, c.plain(), []string{o.Spool}, o.Owner(), wrong).Text()
			o.Outcome = faults.Outcome(released)
			continue
		}
		o.Expected = nil // this service has no such thing
		value, err := "", error(redis.Nil)
		if c.naive {
			wrong = "yes"
			value, err = c.plain().Get(ctx, o.Spool).Result()
		}
		if errors.Is(err, redis.Nil) {
			value, err = take.Run(ctx, c.plain(), []string{o.Spool}, o.Owner(), o.TTL, wrong).Text()
		}
		var answer struct {
			faults.Lock
			Cause string
		}
		if err != nil || json.Unmarshal([]byte(value), &answer) != nil {
			continue
		}
		switch o.Lock, o.Cause = &answer.Lock, answer.Cause; {
		case o.Cause != "":
			o.Lock, o.Outcome = nil, faults.Ended
		case o.Lock.OwnerID == o.Owner():
			o.Outcome = faults.Taken
		default:
			o.Outcome = faults.Occupied
		}
	}
}

// TestControls has the same driver work with lock services that are wrong, each of
// which must be found out, and with one that is right.
func TestControls(t *testing.T) {
	printf("\n## Controls\n\nA lock service of a few commands, which is made to be wrong, under the same load: what the checks find.\n\n" +
		"| control | operations | spools with a history that cannot be | takes whose versions do not grow |\n|---|---|---|---|")
	for _, test := range []struct {
		name          string
		control       control
		failover      bool // in the middle of it
		wrong, shrink bool
	}{
		{name: "right"},
		{name: "GET, then SET", control: control{naive: true}, wrong: true},
		{name: "a release that does not look at the token", control: control{rash: true}, wrong: true},
		{name: "a version from a counter, through a failover", failover: true, wrong: true, shrink: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := scenario(t, *length+5*time.Minute)
			var master atomic.Pointer[redis.Client]
			failOver := func() {}
			if test.failover {
				servers := redistest.StartSentinels(t)
				old := servers.Master()
				master.Store(old.Client())
				failOver = func() {
					// It goes on to count what its replicas never hear of.
					servers.Isolate(old)
					master.Store(servers.AwaitMaster(old).Client())
				}
			} else {
				master.Store(redistest.Start(t).Client())
			}
			test.control.plain = master.Load
			d := newDriver(*seed, test.control.carry, nil, []faults.Kind{faults.Take, faults.Take, faults.Release})
			e := keep(t, directory(t), d, faults.Bounds{}, nil)
			stop := d.start(ctx)
			during(ctx, time.Second)
			failOver()
			during(ctx, time.Second)
			history := stop()
			verdict, shrinks := e.judge(), faults.Growing(history, false)
			printf("| %s | %d | %d | %d |", test.name, len(history), len(verdict.Illegal), len(shrinks))
			if !test.wrong { // a wrong one fails unless it is found
				e.wantChecked(verdict)
			}
			if wrong := len(verdict.Illegal) > 0; wrong != test.wrong {
				t.Errorf("%d spools have a history that cannot be", len(verdict.Illegal))
				e.about(verdict.Illegal...)
			}
			if shrink := len(shrinks) > 0; test.shrink && !shrink || !test.wrong && shrink {
				t.Errorf("the versions of %d takes do not grow", len(shrinks))
				for _, shrink := range shrinks {
					e.about(shrink.Spool)
				}
			}
		})
	}
}
