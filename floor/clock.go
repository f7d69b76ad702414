package floor

import "time"

// A clock of the store may be set, a failover may lead to a server with another clock, and this
// process's clock stands still while its machine sleeps. The time that remains of each lock is
// then another one, and no message says so. The beats do: each shows within which bounds a
// server's clock is ahead of this process's. The bounds hold however long the beat took, so a
// slow beat never looks like a clock that was set.

// tolerance is by how much a clock may go apart from this process's before it counts as set.
const tolerance = time.Second

// Clock is what a beat tells of the clock of one server of the store.
type Clock struct {
	At       time.Time // on that clock
	Received time.Time // on this process's clock, when the beat came back
}

// lead is by how much a clock of the store is ahead of this process's [moment], at the least and
// at the most. It is in ms, because clocks can be further apart than a Duration is long.
type lead struct{ least, most int64 }

// isFar reports whether the two leads cannot be those of one clock.
func (l lead) isFar(from lead) bool {
	apart := max(l.least-from.most, from.least-l.most)
	return apart > tolerance.Milliseconds()
}

// narrowed is l within the bounds of another lead of the same clock. A clock that drifts leaves
// the bounds of l in time. Then l stays as it is until the clock is far from it, so that the
// drift adds up.
func (l lead) narrowed(by lead) lead {
	both := lead{max(l.least, by.least), min(l.most, by.most)}
	if both.least > both.most {
		return l
	}
	return both
}

// storeClock is what is known of the clock of one server.
type storeClock struct {
	lead  lead
	doubt bool // the last beat was far from it
}

// verdict is what a beat says of the clocks. The greater one decides.
type verdict int

const (
	sameClock    verdict = iota
	doubtedClock         // one may have been set: the next beat decides
	otherClock           // one was set, or there is another server
)

// judge compares what is known with the lead that a beat shows.
func (c storeClock) judge(seen lead) (storeClock, verdict) {
	switch {
	case !c.lead.isFar(seen):
		return storeClock{lead: c.lead.narrowed(seen)}, sameClock
	case !c.doubt:
		return storeClock{lead: c.lead, doubt: true}, doubtedClock
	default:
		return storeClock{lead: seen}, otherClock
	}
}

// storeClocks are those of the servers that the last beat went through, by their names.
type storeClocks map[string]storeClock

// take takes in what a beat told that was sent at a moment. It returns what is known then.
func (c storeClocks) take(sent moment, told map[string]Clock, momentOf func(time.Time) moment) (next storeClocks, all verdict) {
	next = storeClocks{}
	for server, clock := range told {
		at := clock.At.UnixMilli()
		seen := lead{at - momentOf(clock.Received).milliseconds(), at - sent.milliseconds()}
		one := sameClock
		if known, ok := c[server]; ok {
			next[server], one = known.judge(seen)
		} else {
			next[server] = storeClock{lead: seen}
			if len(c) > 0 {
				one = otherClock
			}
		}
		all = max(all, one)
	}
	return next, all
}

// earliest is the time, in ms, that the clock of the store shows at a moment, at the most. Of
// several clocks, it is of the one that is behind. It is 0 if no clock is known.
func (c storeClocks) earliest(now moment) int64 {
	earliest := int64(0)
	for _, clock := range c {
		if at := now.milliseconds() + clock.lead.most; earliest == 0 || at < earliest {
			earliest = at
		}
	}
	return earliest
}
