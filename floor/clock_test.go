package floor

import (
	"testing"
	"time"
)

// A beat shows a clock that was set only if nothing else explains what it tells, and the next
// one says so, too.
func TestClocksThatAreSet(t *testing.T) {
	t.Parallel()
	const (
		hour = 3600_000
		ages = 70 * 365 * 24 * hour
	)
	type beat struct {
		sent, took int64            // ms
		lead       map[string]int64 // ms that the clock of each server is ahead of this process's
		after      int64            // ms after it was sent, each told it
		want       verdict
	}
	at := func(sent, lead int64, want verdict) beat {
		return beat{sent: sent, took: 2, lead: map[string]int64{"a": lead}, after: 1, want: want}
	}
	slow := func(sent, after int64) beat {
		return beat{sent: sent, took: 5000, lead: map[string]int64{"a": 0}, after: after, want: sameClock}
	}
	of := func(sent int64, lead map[string]int64, want verdict) beat {
		return beat{sent: sent, took: 2, lead: lead, after: 1, want: want}
	}
	for name, beats := range map[string][]beat{
		"steady":                 {at(0, 0, sameClock), at(1000, 0, sameClock), at(2000, 0, sameClock)},
		"an hour forward":        {at(0, 0, sameClock), at(1000, hour, doubtedClock), at(2000, hour, otherClock), at(3000, hour, sameClock)},
		"an hour back":           {at(0, 0, sameClock), at(1000, -hour, doubtedClock), at(2000, -hour, otherClock), at(3000, -hour, sameClock)},
		"70 years forward":       {at(0, 0, sameClock), at(1000, ages, doubtedClock), at(2000, ages, otherClock), at(3000, ages, sameClock)},
		"to the year 9999":       {at(0, 0, sameClock), at(1000, 251e12, doubtedClock), at(2000, 251e12, otherClock), at(3000, 0, doubtedClock)},
		"and set again at once":  {at(0, 0, sameClock), at(1000, hour, doubtedClock), at(2000, 2*hour, otherClock), at(3000, 2*hour, sameClock)},
		"and right again":        {at(0, 0, sameClock), at(1000, hour, doubtedClock), at(2000, 0, sameClock), at(3000, hour, doubtedClock)},
		"a beat that lay before": {at(0, 0, sameClock), slow(1000, 4999), slow(7000, 4999), at(13000, 0, sameClock)},
		"a beat that lay after":  {at(0, 0, sameClock), slow(1000, 1), slow(7000, 1), at(13000, 0, sameClock)},
		"a first beat that lay":  {slow(0, 4999), at(6000, 0, sameClock), slow(7000, 1), at(13000, 0, sameClock)},
		"after a slow beat":      {slow(0, 4999), at(6000, 0, sameClock), at(7000, 3000, doubtedClock), at(8000, 3000, otherClock)},
		"a little":               {at(0, 0, sameClock), at(1000, 1000, sameClock), at(2000, 1000, sameClock)},
		"a little more":          {at(0, 0, sameClock), at(1000, 1010, doubtedClock), at(2000, 1010, otherClock)},
		"little by little":       {at(0, 0, sameClock), at(1000, 400, sameClock), at(2000, 800, sameClock), at(3000, 1200, doubtedClock), at(4000, 1600, otherClock), at(5000, 2000, sameClock)},
		"one server of two": {
			of(0, map[string]int64{"a": 0, "b": 5000}, sameClock), of(1000, map[string]int64{"a": 0, "b": hour}, doubtedClock),
			of(2000, map[string]int64{"a": 0, "b": hour}, otherClock), of(3000, map[string]int64{"a": 0, "b": hour}, sameClock),
		},
		"one server after the other": {
			of(0, map[string]int64{"a": 0, "b": 0}, sameClock), of(1000, map[string]int64{"a": 0, "b": hour}, doubtedClock),
			of(2000, map[string]int64{"a": hour, "b": hour}, otherClock), of(3000, map[string]int64{"a": hour, "b": hour}, otherClock),
		},
		"a server takes over": {
			of(0, map[string]int64{"a": 0, "b": 0}, sameClock), of(1000, map[string]int64{"a": 0, "c": 0}, otherClock),
			of(2000, map[string]int64{"a": 0, "c": 0}, sameClock), of(3000, map[string]int64{"a": 0}, sameClock),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var known storeClocks
			for i, beat := range beats {
				told := map[string]Clock{}
				for server, lead := range beat.lead {
					told[server] = Clock{
						At:       time.UnixMilli(hour + beat.sent + beat.after + lead),
						Received: time.UnixMilli(beat.sent + beat.took),
					}
				}
				next, got := known.take(moment(time.Duration(beat.sent)*time.Millisecond), told, func(t time.Time) moment {
					return moment(time.Duration(t.UnixMilli()) * time.Millisecond)
				})
				if got != beat.want {
					t.Errorf("beat %d says %d, want %d", i, got, beat.want)
				}
				known = next
			}
		})
	}
}

// The time of a beat that is doubted is not believed, and a connection of the feed knows nothing
// of the clocks of the one before.
func TestClocksOfAView(t *testing.T) {
	t.Parallel()
	v := NewView()
	defer v.stop()
	now := time.Now()
	say := func(at time.Time, want verdict) {
		t.Helper()
		if got := v.beatReturned(now, map[string]Clock{"a": {At: at, Received: now}}); got != want {
			t.Errorf("a beat at %v says %d, want %d", at, got, want)
		}
	}
	say(now, sameClock)
	v.subscribed()
	v.finishRebuild(0, v.beginRebuild())
	say(now.Add(time.Hour), doubtedClock)
	if asOf := v.Status().AsOf; !asOf.Equal(now) {
		t.Errorf("the view is as of %v, want %v", asOf, now)
	}
	v.disconnected()
	v.subscribed()
	say(now.Add(time.Hour), sameClock)
	if n := v.Status().ClocksSet; n != 0 {
		t.Errorf("%d clocks were set", n)
	}
}

// A message has waited no longer than the clock says that is behind the others.
func TestEarliestClock(t *testing.T) {
	t.Parallel()
	clocks := storeClocks{"a": {lead: lead{least: 4000, most: 5000}}, "b": {lead: lead{least: 900, most: 1000}}, "c": {lead: lead{least: 8000, most: 9000}}}
	if got := clocks.earliest(moment(2 * time.Second)); got != 3000 {
		t.Errorf("the earliest clock is at %d ms", got)
	}
}
