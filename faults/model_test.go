package faults_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"spoollock/faults"
)

// at builds operations on one spool, which are carried out between the two times, ms.
type at struct{ call, end int64 }

func (a at) operation(kind faults.Kind, owner string, outcome faults.Outcome) *faults.Operation {
	return &faults.Operation{
		Spool: "MK-1", Kind: kind, Token: owner + ":1", Outcome: outcome, Sent: 1, Call: a.call * 1e6, Return: a.end * 1e6,
	}
}

// take takes until the given time, for as long as it is from the call on.
func (a at) take(owner string, version, until int64) *faults.Operation {
	o := a.operation(faults.Take, owner, faults.Taken)
	o.TTL, o.Lock = until-a.call, &faults.Lock{OwnerID: owner, Version: version, Expires: until}
	return o
}

func (a at) extend(owner, id string, by, version, until int64) *faults.Operation {
	o := a.operation(faults.Extend, owner, faults.Extended)
	o.Request, o.TTL, o.Lock = id, by, &faults.Lock{OwnerID: owner, Version: version, Expires: until}
	return o
}

func (a at) foreign(owner string, ttl int64) *faults.Operation {
	o := a.operation(faults.ForeignTake, owner, faults.Taken)
	o.TTL = ttl
	return o
}

func (a at) held(owner string, version, until int64) *faults.Operation {
	o := a.operation(faults.Read, "", faults.Held)
	o.Lock = &faults.Lock{OwnerID: owner, Version: version, Expires: until}
	return o
}

func (a at) free(version int64) *faults.Operation {
	o := a.operation(faults.Read, "", faults.Free)
	o.Version = version
	return o
}

func (a at) release(owner string, outcome faults.Outcome) *faults.Operation {
	return a.operation(faults.Release, owner, outcome)
}

// resume gets the lock the token of the owner with the id; a take's has the id 1.
func (a at) resume(owner, id string, version, until int64) *faults.Operation {
	o := with(a.operation(faults.Resume, owner, faults.Resumed), by(id))
	o.Lock = &faults.Lock{OwnerID: owner, Version: version, Expires: until}
	return o
}

// force ends the lock, which was seen, and leaves the spool at the version.
func (a at) force(request, owner string, seen, until, version int64) *faults.Operation {
	o := a.operation(faults.ForceRelease, "", faults.ForceReleased)
	o.Token, o.Request, o.Expected, o.Version = "", request, &seen, version
	o.Lock = &faults.Lock{OwnerID: owner, Version: seen, Expires: until}
	return o
}

func (a at) ended(kind faults.Kind, owner, cause string) *faults.Operation {
	o := a.operation(kind, owner, faults.Ended)
	o.TTL, o.Cause = 1000, cause
	return o
}

func with(o *faults.Operation, change func(*faults.Operation)) *faults.Operation {
	change(o)
	return o
}

func resent(o *faults.Operation)    { o.Sent = 2 }
func disturbed(o *faults.Operation) { o.Disturbed = true }
func inDoubt(o *faults.Operation)   { o.InDoubt = true }
func unknown(o *faults.Operation)   { o.Outcome, o.Lock, o.Version = faults.Unknown, nil, 0 }

// by has the operation be about another token of its owner.
func by(id string) func(*faults.Operation) {
	return func(o *faults.Operation) { o.Token = o.Owner() + ":" + id }
}

// free has it be answered that nobody holds the spool.
func free(o *faults.Operation) {
	o.Outcome, o.Lock, o.Version, o.Cause = faults.Ended, nil, 0, "NOT_HELD"
}

func lasting(ttl int64) func(*faults.Operation) {
	return func(o *faults.Operation) { o.TTL = ttl }
}

func occupied(owner string, version, until int64) func(*faults.Operation) {
	return func(o *faults.Operation) {
		o.Outcome, o.Lock = faults.Occupied, &faults.Lock{OwnerID: owner, Version: version, Expires: until}
	}
}

func expecting(expected int64) func(*faults.Operation) {
	return func(o *faults.Operation) { o.Expected = &expected }
}

func conflict(expected, actual int64) func(*faults.Operation) {
	return func(o *faults.Operation) {
		o.Outcome, o.Lock, o.Expected, o.Version = faults.Conflict, nil, &expected, actual
	}
}

// a took at 10 as version 7, until 1010.
var taken = at{10, 20}.take("a", 7, 1010)

// many are takes and releases by others, one after the other, as versions from the given
// one on.
func many(n int, version int64) (operations []*faults.Operation) {
	for i := range int64(n) {
		other := fmt.Sprintf("o%d", i)
		operations = append(operations,
			at{51 + 2*i, 51 + 2*i}.take(other, version+2*i, 1050), at{52 + 2*i, 52 + 2*i}.release(other, faults.Released))
	}
	return operations
}

// refused are takes that find the spool free at the version, one after the other.
func refused(n int, version int64) (operations []*faults.Operation) {
	for i := range int64(n) {
		operations = append(operations, with(at{51 + i, 51 + i}.take("b", 0, 1050), conflict(version-1, version)))
	}
	return operations
}

func TestCheck(t *testing.T) {
	t.Parallel()
	resumed, forced := at{30, 40}.resume("a", "2", 8, 1010), at{30, 40}.force("q", "a", 7, 1010, 8)
	for _, test := range []struct {
		name    string
		legal   bool
		bounds  faults.Bounds
		history []*faults.Operation
	}{
		{"two takes after each other", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.take("b", 9, 1050)}},
		{"two holders", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.take("b", 9, 1030)}},
		{"two holders, at once", false, faults.Bounds{}, []*faults.Operation{taken, at{11, 21}.take("b", 9, 1030)}},
		{"a take in the middle of a release", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 60}.release("a", faults.Released), at{40, 50}.take("b", 9, 1040)}},
		{"a take after a lapse", true, faults.Bounds{}, []*faults.Operation{taken, with(at{1005, 1015}.take("b", 9, 2014), lasting(1000))}},
		{"a take before the lapse", false, faults.Bounds{}, []*faults.Operation{taken, at{990, 1000}.take("b", 9, 1990)}},
		{"a take before the lapse, by a clock ahead", true, faults.Bounds{Ahead: 500}, []*faults.Operation{taken, at{990, 1000}.take("b", 9, 2490)}},
		{"a lapse that nobody can have seen yet", false, faults.Bounds{}, []*faults.Operation{taken, at{100, 1500}.free(8), at{200, 300}.take("b", 9, 1200)}},
		{"the same version again", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.take("b", 7, 1050)}},
		{"an older version", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.take("b", 6, 1050)}},

		{"another in the way", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.take("b", 0, 1030), occupied("a", 7, 1010))}},
		{"somebody in the way who never took", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.take("b", 0, 1030), occupied("c", 7, 1010))}},
		{"in the way with another version", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.take("b", 0, 1030), occupied("a", 8, 1010))}},
		{"in the way after its release", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(at{50, 60}.take("b", 0, 1050), occupied("a", 7, 1010))}},
		{"in the way after its lapse", false, faults.Bounds{}, []*faults.Operation{taken, with(at{1020, 1030}.take("b", 0, 2020), occupied("a", 7, 1010))}},
		{"a refused take that holds", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.take("b", 0, 1030), occupied("a", 7, 1010)), at{50, 60}.release("a", faults.Released), at{70, 80}.held("b", 9, 1075)}},
		{"a refused take that was sent before, and holds late", true, faults.Bounds{}, []*faults.Operation{taken, with(with(at{30, 40}.take("b", 0, 1030), occupied("a", 7, 1010)), resent), at{50, 60}.release("a", faults.Released), at{70, 80}.held("b", 9, 1075)}},
		{"a refused take that was disturbed, and holds late", true, faults.Bounds{}, []*faults.Operation{taken, with(with(at{30, 40}.take("b", 0, 1030), occupied("a", 7, 1010)), disturbed), at{50, 60}.release("a", faults.Released), at{70, 80}.held("b", 9, 1075)}},

		{"the version that was expected", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.free(8), with(at{70, 80}.take("b", 9, 1070), expecting(8))}},
		{"another version than was expected", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.free(8), with(at{70, 80}.take("b", 9, 1070), expecting(7))}},
		{"a version that was expected, and does not grow", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(at{50, 60}.take("b", 100, 1050), expecting(100))}},
		{"a version that was expected, and is higher", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(at{50, 60}.take("b", 9, 1050), expecting(100))}},
		{"a conflict", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.free(8), with(at{70, 80}.take("b", 0, 1070), conflict(7, 8))}},
		{"a conflict with a version that is not there", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.free(8), with(at{70, 80}.take("b", 0, 1070), conflict(7, 9))}},
		{"a conflict while somebody holds", false, faults.Bounds{}, []*faults.Operation{taken, with(at{70, 80}.take("b", 0, 1070), conflict(6, 7))}},

		{"released twice", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.release("a", faults.AlreadyReleased)}},
		{"released by a sending whose answer was lost", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.release("a", faults.AlreadyReleased), resent), at{50, 60}.free(8)}},
		{"never released before", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.AlreadyReleased)}},
		{"released after its lapse", true, faults.Bounds{}, []*faults.Operation{taken, at{1020, 1030}.release("a", faults.Expired)}},
		{"lapsed too early", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Expired)}},
		{"forgotten", false, faults.Bounds{}, []*faults.Operation{taken, at{1020, 1030}.release("a", faults.NotHeld)}},
		{"a release that does nothing", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.held("a", 7, 1010)}},
		{"another one's lock released", false, faults.Bounds{}, []*faults.Operation{taken, at{1020, 1030}.take("b", 9, 2020), at{1040, 1050}.release("a", faults.Released), at{1060, 1070}.take("c", 11, 2060)}},

		{"extended", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.extend("a", "x", 500, 7, 1510), at{1100, 1110}.held("a", 7, 1510)}},
		{"extended by something else", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.extend("a", "x", 500, 7, 1600)}},
		{"extended after its lapse", false, faults.Bounds{}, []*faults.Operation{taken, at{1100, 1110}.extend("a", "x", 500, 7, 1510)}},
		{"the same extension again", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.extend("a", "x", 500, 7, 1510), at{50, 60}.extend("a", "y", 500, 7, 2010), at{70, 80}.extend("a", "x", 500, 7, 1510), at{90, 100}.held("a", 7, 2010)}},
		{"the same extension applied again", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.extend("a", "x", 500, 7, 1510), at{70, 80}.extend("a", "x", 500, 7, 2010)}},
		{"the same extension again, of another version", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.extend("a", "x", 500, 7, 1510), at{50, 60}.extend("a", "x", 500, 9, 1510)}},
		{"the same extension again, of another owner", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.extend("a", "x", 500, 7, 1510), with(at{50, 60}.extend("a", "x", 500, 7, 1510), func(o *faults.Operation) { o.Lock.OwnerID = "b" })}},
		{"an extension that is lost", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.extend("a", "x", 500, 7, 1510), at{1020, 1030}.free(8)}},
		{"extended too late", true, faults.Bounds{}, []*faults.Operation{taken, at{1020, 1030}.ended(faults.Extend, "a", "EXPIRED")}},
		{"extended too late, but for a sending whose answer was lost", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 2100}.ended(faults.Extend, "a", "EXPIRED"), at{1500, 1510}.held("a", 7, 2010)}},

		{"the same take again", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.take("a", 7, 1010)}},
		{"the same take as another lock", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.take("a", 9, 1030)}},
		{"the same take after its end", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.ended(faults.Take, "a", "RELEASED")}},
		{"the same take comes back", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.take("a", 9, 1050)}},
		{"a take whose answer comes after its lapse", true, faults.Bounds{}, []*faults.Operation{at{10, 2000}.ended(faults.Take, "b", "EXPIRED"), at{100, 110}.held("b", 7, 1050)}},
		{"a take that nobody released", false, faults.Bounds{}, []*faults.Operation{at{10, 2000}.ended(faults.Take, "b", "RELEASED")}},
		{"a take that was taken back", true, faults.Bounds{TakesBack: true}, []*faults.Operation{at{10, 2000}.ended(faults.Take, "b", "RELEASED"), at{100, 110}.held("b", 7, 1050), at{200, 300}.free(8)}},

		{"another program's lock", true, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{30, 40}.held("f", 7, 1015), at{50, 60}.operation(faults.ForeignRelease, "f", faults.Released), at{70, 80}.free(8)}},
		{"another program's lock lapses unseen", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{41, 42}.free(8), at{50, 60}.foreign("f", 1000), at{1070, 1080}.free(8)}},
		{"another program's lock after its lapse", false, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{30, 40}.held("f", 7, 1010), at{1015, 1016}.held("f", 7, 1010)}},
		{"another program's lock is overwritten", false, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{30, 40}.take("a", 7, 1030)}},
		{"another program releases it", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.operation(faults.ForeignRelease, "a", faults.Released), at{50, 60}.release("a", faults.AlreadyReleased)}},
		{"another program's take of unknown outcome holds", true, faults.Bounds{}, []*faults.Operation{with(at{10, 20}.foreign("f", 1000), unknown), at{500, 510}.held("f", 7, 1400)}},
		{"another program's take of unknown outcome does not", true, faults.Bounds{}, []*faults.Operation{with(at{10, 20}.foreign("f", 1000), unknown), at{500, 510}.free(0), at{520, 530}.take("a", 7, 1520)}},

		{"another program's lock that nobody saw is released late", true, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{30, 40}.operation(faults.ForeignRelease, "f", faults.Released), at{50, 60}.release("f", faults.NotHeld)}},
		{"another program's lock that somebody saw is forgotten", false, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{21, 22}.held("f", 7, 1015), at{30, 40}.operation(faults.ForeignRelease, "f", faults.Released), at{50, 60}.release("f", faults.NotHeld)}},
		{"another program's take that was sent twice", true, faults.Bounds{}, []*faults.Operation{with(at{10, 1500}.foreign("f", 1000), resent), at{100, 110}.held("f", 7, 1090), at{1200, 1210}.free(8), at{1600, 1610}.held("f", 9, 2400)}},
		{"another program's take that was sent twice, without a look in between", true, faults.Bounds{}, []*faults.Operation{with(at{10, 1500}.foreign("f", 1000), resent), at{100, 110}.held("f", 7, 1090), at{1600, 1610}.held("f", 7, 2400)}},
		{"another program's take that was sent twice, and has its version from before a look", false, faults.Bounds{}, []*faults.Operation{with(at{10, 1500}.foreign("f", 1000), resent), at{100, 110}.held("f", 7, 1090), at{1200, 1210}.free(8), at{1600, 1610}.held("f", 7, 2400)}},

		{"resumed", true, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.extend("a", "x", 500, 8, 1510), by("2")), with(at{70, 80}.release("a", faults.Released), by("2")), at{90, 100}.free(9)}},
		{"what the former token is told", true, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.release("a", faults.Superseded), at{61, 62}.ended(faults.Extend, "a", "SUPERSEDED"), at{63, 64}.ended(faults.Take, "a", "SUPERSEDED"), at{70, 80}.held("a", 8, 1010)}},
		{"what the former token is told when the lock has ended", true, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.release("a", faults.Released), by("2")), at{61, 62}.ended(faults.Extend, "a", "SUPERSEDED"), at{70, 80}.release("a", faults.Superseded)}},
		{"what the former token is told when somebody else holds", true, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.release("a", faults.Released), by("2")), at{70, 80}.take("b", 10, 1070), with(at{90, 100}.extend("a", "x", 500, 0, 0), occupied("b", 10, 1070)), at{110, 120}.ended(faults.Take, "a", "SUPERSEDED"), at{130, 140}.release("a", faults.Superseded)}},
		{"superseded while somebody else holds", false, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.release("a", faults.Released), by("2")), at{70, 80}.take("b", 10, 1070), at{90, 100}.ended(faults.Extend, "a", "SUPERSEDED")}},
		{"the former token releases", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.release("a", faults.Released)}},
		{"the former token extends", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.extend("a", "x", 500, 8, 1510)}},
		{"the former token extends as before", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.extend("a", "x", 500, 7, 1510)}},
		{"the former token takes", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.take("a", 8, 1010)}},
		{"the former token is in its own way", false, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.extend("a", "x", 500, 0, 0), occupied("a", 8, 1010))}},
		{"a take again is in its own way", false, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.take("a", 0, 1050), occupied("a", 8, 1010))}},
		{"the former token was released", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.release("a", faults.AlreadyReleased)}},
		{"superseded by nobody", false, faults.Bounds{}, []*faults.Operation{taken, at{50, 60}.release("a", faults.Superseded)}},
		{"another program releases by the former token", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.operation(faults.ForeignRelease, "a", faults.Released)}},
		{"resumed without another version", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.resume("a", "2", 7, 1010)}},
		{"resumed as an older version", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.resume("a", "2", 6, 1010)}},
		{"shown as before after a resume", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.held("a", 7, 1010)}},
		{"resumed for longer", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.resume("a", "2", 8, 1030)}},
		{"resumed for less long", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.resume("a", "2", 8, 1000)}},
		{"somebody else's lock resumed", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.resume("b", "2", 8, 1010)}},
		{"somebody else's lock resumed, as theirs", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("b", "2", 8, 1010), func(o *faults.Operation) { o.Lock.OwnerID = "a" })}},
		{"a free spool resumed", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.resume("a", "2", 9, 1010)}},
		{"resumed after its lapse", false, faults.Bounds{}, []*faults.Operation{taken, at{1020, 1030}.resume("a", "2", 9, 1010)}},
		{"somebody else in the way of a resume", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("b", "2", 0, 0), occupied("a", 7, 1010))}},
		{"the own lock in the way of a resume", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("a", "2", 0, 0), occupied("a", 7, 1010))}},
		{"another program's lock in the way of a resume", true, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), with(at{30, 40}.resume("f", "2", 0, 0), occupied("f", 7, 1015))}},
		{"resumed where another program was before", true, faults.Bounds{}, []*faults.Operation{at{1, 2}.foreign("f", 1000), at{3, 4}.operation(faults.ForeignRelease, "f", faults.Released), taken, resumed}},
		{"another program's lock resumed", false, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{30, 40}.resume("f", "2", 7, 1015)}},
		{"nothing to resume", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(at{50, 60}.resume("a", "2", 0, 0), free)}},
		{"nothing to resume while somebody holds", false, faults.Bounds{}, []*faults.Operation{taken, with(at{50, 60}.resume("a", "2", 0, 0), free)}},
		{"the same resume again", true, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.extend("a", "x", 500, 8, 1510), by("2")), at{70, 80}.resume("a", "2", 8, 1510)}},
		{"the same resume applied again", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.resume("a", "2", 9, 1010)}},
		{"the same resume after another", true, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.resume("a", "3", 9, 1010), with(at{70, 80}.ended(faults.Resume, "a", "SUPERSEDED"), by("2"))}},
		{"the same resume comes back", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{50, 60}.resume("a", "3", 9, 1010), at{70, 80}.resume("a", "2", 10, 1010)}},
		{"the same resume after its end", true, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.release("a", faults.Released), by("2")), at{70, 80}.take("b", 10, 1070), with(at{90, 100}.ended(faults.Resume, "a", "RELEASED"), by("2"))}},
		{"the same resume is in nobody's way after its end", false, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.release("a", faults.Released), by("2")), at{70, 80}.take("b", 10, 1070), with(at{90, 100}.resume("a", "2", 0, 0), occupied("b", 10, 1070))}},
		{"the same resume is forgotten", false, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.release("a", faults.Released), by("2")), with(at{90, 100}.resume("a", "2", 0, 0), free)}},
		{"a resume that ended before it was", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(at{50, 60}.ended(faults.Resume, "a", "RELEASED"), by("2"))}},
		{"a resume whose answer comes after the lapse", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 2000}.ended(faults.Resume, "a", "EXPIRED"), by("2")), at{100, 110}.held("a", 8, 1010), at{120, 130}.release("a", faults.Superseded)}},
		{"a resume of unknown outcome that was done", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("a", "2", 0, 0), unknown), at{45, 46}.extend("a", "x", 500, 7, 1510), at{50, 60}.release("a", faults.Superseded), at{70, 80}.held("a", 8, 1510), at{1520, 1530}.free(9)}},
		{"a resume of unknown outcome that was not", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("a", "2", 0, 0), unknown), at{50, 60}.release("a", faults.Released)}},
		{"a resume of unknown outcome that does both", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("a", "2", 0, 0), unknown), at{50, 60}.release("a", faults.Superseded), at{70, 80}.extend("a", "x", 500, 7, 1510)}},
		{"a resume of unknown outcome without another version", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("a", "2", 0, 0), unknown), at{50, 60}.release("a", faults.Superseded), at{70, 80}.held("a", 7, 1010)}},
		{"a resume of unknown outcome that is forgotten", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("a", "2", 0, 0), unknown), at{50, 60}.release("a", faults.Superseded), with(at{1020, 1030}.release("a", faults.NotHeld), by("2"))}},
		{"a resume of unknown outcome of another program's lock", false, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{21, 22}.held("f", 7, 1015), with(at{30, 40}.resume("f", "2", 0, 0), unknown), at{50, 60}.held("f", 8, 1015)}},
		{"an extension by the token of a resume, with an id that was used before", true, faults.Bounds{}, []*faults.Operation{taken, at{21, 22}.extend("a", "x", 500, 7, 1510), at{30, 40}.resume("a", "2", 8, 1510), with(at{50, 60}.extend("a", "x", 500, 8, 2010), by("2"))}},
		{"a resume that a failover undid", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.resume("a", "2", 8, 1010), inDoubt), at{50, 60}.extend("a", "x", 500, 7, 1510)}},

		{"ended by force", true, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.free(8), at{61, 62}.release("a", faults.ForceReleased), at{63, 64}.ended(faults.Extend, "a", "FORCE_RELEASED"), at{65, 66}.ended(faults.Take, "a", "FORCE_RELEASED"), at{70, 80}.take("b", 9, 1070), at{90, 91}.release("a", faults.ForceReleased), at{92, 93}.ended(faults.Take, "a", "FORCE_RELEASED"), with(at{94, 95}.extend("a", "x", 500, 0, 0), occupied("b", 9, 1070))}},
		{"ended by force, and extends", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.extend("a", "x", 500, 7, 1510)}},
		{"ended by force, and holds", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.held("a", 7, 1010)}},
		{"ended by force, and releases", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.release("a", faults.Released)}},
		{"ended by force, and takes", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.take("a", 9, 1050)}},
		{"ended by force, and resumes", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.resume("a", "2", 9, 1010)}},
		{"ended by force, and told of a release", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.release("a", faults.AlreadyReleased)}},
		{"ended by nobody's force", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.release("a", faults.ForceReleased)}},
		{"ended by force as no other version", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.force("q", "a", 7, 1010, 7)}},
		{"ended by force as another version than it has then", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.free(9)}},
		{"ended by force with another expiry", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.force("q", "a", 7, 1020, 8)}},
		{"ended by force after its lapse", false, faults.Bounds{}, []*faults.Operation{taken, at{1020, 1030}.force("q", "a", 7, 1010, 8)}},
		{"somebody else's lock ended by force", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.force("q", "b", 7, 1010, 8)}},
		{"a later lock ended by force", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.take("b", 9, 1050), with(at{70, 80}.force("q", "b", 9, 1050, 10), expecting(7))}},
		{"a resumed lock ended by force", false, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{70, 80}.force("q", "a", 8, 1010, 9), expecting(7))}},
		{"a lock ended by force as it was before it was resumed", false, faults.Bounds{}, []*faults.Operation{taken, resumed, at{70, 80}.force("q", "a", 7, 1010, 9)}},
		{"another program's lock ended by force", true, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{21, 22}.held("f", 7, 1015), at{30, 40}.force("q", "f", 7, 1015, 8), at{50, 60}.release("f", faults.ForceReleased)}},
		{"force against another version", true, faults.Bounds{}, []*faults.Operation{taken, resumed, with(at{50, 60}.force("q", "", 7, 0, 0), conflict(7, 8)), at{70, 80}.held("a", 8, 1010)}},
		{"force against another program's lock that nobody saw", true, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), with(at{30, 40}.force("q", "", 6, 0, 0), conflict(6, 7)), at{50, 60}.held("f", 7, 1015)}},
		{"force against the version that is there", false, faults.Bounds{}, []*faults.Operation{taken, with(at{50, 60}.force("q", "", 7, 0, 0), conflict(7, 7))}},
		{"force against a version that is not there", false, faults.Bounds{}, []*faults.Operation{taken, with(at{50, 60}.force("q", "", 6, 0, 0), conflict(6, 8))}},
		{"force against a version while nobody holds", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(at{50, 60}.force("q", "", 7, 0, 0), conflict(7, 9))}},
		{"nothing to end by force", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(at{50, 60}.force("q", "", 7, 0, 0), free)}},
		{"nothing to end by force while somebody holds", false, faults.Bounds{}, []*faults.Operation{taken, with(at{50, 60}.force("q", "", 7, 0, 0), free)}},
		{"nothing to end by force, with a cause", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), with(with(at{50, 60}.force("q", "", 7, 0, 0), free), func(o *faults.Operation) { o.Cause = "RELEASED" })}},
		{"the same forced release again", true, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.take("b", 9, 1050), at{70, 80}.force("q", "a", 7, 1010, 8), at{90, 100}.held("b", 9, 1050)}},
		{"the same forced release ends a later lock", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.take("b", 9, 1050), at{70, 80}.force("q", "a", 7, 1010, 8), at{90, 100}.free(10)}},
		{"the same forced release is done again", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.take("b", 9, 1050), with(at{70, 80}.force("q", "b", 9, 1050, 10), expecting(7))}},
		{"the same forced release with another version", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.force("q", "a", 7, 1010, 9)}},
		{"the same forced release with another expiry", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.force("q", "a", 7, 1011, 8)}},
		{"the same forced release finds nobody", false, faults.Bounds{}, []*faults.Operation{taken, forced, with(at{50, 60}.force("q", "", 7, 0, 0), free)}},
		{"the same forced release finds another", false, faults.Bounds{}, []*faults.Operation{taken, forced, at{50, 60}.take("b", 9, 1050), with(at{70, 80}.force("q", "", 7, 0, 0), conflict(7, 9))}},
		{"a forced release that was forgotten", true, faults.Bounds{}, slices.Concat([]*faults.Operation{taken, forced}, many(50, 11), []*faults.Operation{with(at{170, 180}.force("q", "", 7, 0, 0), free)})},
		{"a forced release that was forgotten too early", false, faults.Bounds{}, slices.Concat([]*faults.Operation{taken, forced}, many(49, 11), []*faults.Operation{with(at{170, 180}.force("q", "", 7, 0, 0), free)})},
		{"a forced release that was forgotten before so much happened", false, faults.Bounds{}, slices.Concat([]*faults.Operation{taken, forced, with(at{45, 46}.force("q", "", 7, 0, 0), free)}, many(50, 11))},
		{"a forced release that was forgotten while others were refused", false, faults.Bounds{}, slices.Concat([]*faults.Operation{taken, forced}, refused(50, 8), []*faults.Operation{with(at{170, 180}.force("q", "", 7, 0, 0), free)})},
		{"a forced release that was forgotten before its answer", true, faults.Bounds{}, slices.Concat([]*faults.Operation{taken}, many(50, 11), []*faults.Operation{with(at{30, 180}.force("q", "", 7, 0, 0), free), at{181, 182}.release("a", faults.ForceReleased)})},
		{"a forced release that was forgotten too early before its answer", false, faults.Bounds{}, slices.Concat([]*faults.Operation{taken}, many(49, 11), []*faults.Operation{with(at{30, 180}.force("q", "", 7, 0, 0), free), at{181, 182}.release("a", faults.ForceReleased)})},
		{"a forced release of unknown outcome that was done", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.force("q", "", 7, 0, 0), unknown), at{50, 60}.free(8), at{61, 62}.release("a", faults.ForceReleased), at{70, 80}.take("b", 9, 1070), at{90, 100}.force("q", "a", 7, 1010, 8), at{101, 102}.force("q", "a", 7, 1010, 8)}},
		{"a forced release of unknown outcome that was not", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.force("q", "", 7, 0, 0), unknown), at{50, 60}.release("a", faults.Released), at{70, 80}.take("b", 9, 1070)}},
		{"a forced release of unknown outcome that ended nothing", false, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.free(8), with(at{70, 80}.force("q", "", 100, 0, 0), unknown), at{90, 100}.free(101)}},
		{"a forced release of unknown outcome that was of another's lock", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.force("q", "", 7, 0, 0), unknown), at{50, 60}.free(8), at{70, 80}.force("q", "b", 7, 1010, 8)}},
		{"a forced release of unknown outcome that ended a later lock", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.force("q", "", 7, 0, 0), unknown), at{50, 60}.release("a", faults.Released), at{70, 80}.take("b", 9, 1070), at{90, 100}.free(10)}},
		{"a forced release of unknown outcome that is done again", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.force("q", "", 7, 0, 0), unknown), at{50, 60}.free(8), at{70, 80}.take("b", 9, 1070), with(at{90, 100}.force("q", "b", 9, 1070, 10), expecting(7))}},
		{"a forced release of unknown outcome that gets two answers", false, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.force("q", "", 7, 0, 0), unknown), at{50, 60}.take("b", 10, 1050), at{70, 80}.force("q", "a", 7, 1010, 8), at{81, 82}.force("q", "a", 7, 1010, 9)}},
		{"a forced release that a failover undid", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.force("q", "a", 7, 1010, 8), inDoubt), at{50, 60}.held("a", 7, 1010), at{70, 80}.force("q", "a", 7, 1010, 9), at{90, 100}.force("q", "a", 7, 1010, 9)}},

		{"a release that a failover undid", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.release("a", faults.Released), inDoubt), at{50, 60}.held("a", 7, 1010)}},
		{"a release that no failover undid", true, faults.Bounds{}, []*faults.Operation{taken, with(at{30, 40}.release("a", faults.Released), inDoubt), at{50, 60}.take("b", 9, 1050)}},
		{"a take that a failover undid", false, faults.Bounds{}, []*faults.Operation{with(at{10, 20}.take("a", 7, 1010), inDoubt), at{50, 60}.take("b", 9, 1050)}},
		{"what a master showed that was none any more", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.release("a", faults.Released), at{50, 60}.take("b", 9, 1050), with(at{70, 80}.held("a", 7, 1010), inDoubt)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			verdict := test.bounds.Check(test.history, time.Minute)
			if len(verdict.Unchecked) > 0 || verdict.Checked != len(test.history) {
				t.Fatalf("not checked: %+v", verdict)
			}
			if legal := len(verdict.Illegal) == 0; legal != test.legal {
				t.Errorf("legal: %v", legal)
			}
		})
	}
}

func TestLateTakesAreCounted(t *testing.T) {
	t.Parallel()
	late := with(with(at{30, 40}.take("b", 0, 1030), occupied("a", 7, 1010)), resent)
	verdict := faults.Bounds{}.Check([]*faults.Operation{taken, late, at{1070, 1080}.held("b", 9, 2075)}, time.Minute)
	if len(verdict.Illegal) != 0 || verdict.Late != 1 {
		t.Errorf("%+v", verdict)
	}
}

func TestGrowing(t *testing.T) {
	t.Parallel()
	older := at{30, 40}.take("b", 6, 1030)
	if violations := faults.Growing([]*faults.Operation{taken, older}, false); len(violations) != 1 {
		t.Errorf("%q", violations)
	}
	same := at{15, 40}.take("b", 7, 1030)
	doubted, other := *taken, *same
	doubted.InDoubt, other.InDoubt = true, true
	if violations := faults.Growing([]*faults.Operation{&doubted, &other}, true); len(violations) != 0 {
		t.Errorf("two masters that part give the same version, and it is said that %v", violations)
	}
	if violations := faults.Growing([]*faults.Operation{taken, same}, false); len(violations) == 0 {
		t.Error("two takes have one version")
	}
	newer, again := at{30, 40}.take("b", 8, 1030), at{50, 60}.take("a", 7, 1010)
	if violations := faults.Growing([]*faults.Operation{taken, newer, again}, false); len(violations) != 0 {
		t.Errorf("%q", violations)
	}
	if violations := faults.Growing([]*faults.Operation{taken, at{30, 40}.resume("a", "2", 6, 1010)}, false); len(violations) != 1 {
		t.Errorf("a resume has an older version: %q", violations)
	}
}

func TestCheckEvents(t *testing.T) {
	t.Parallel()
	operations := []*faults.Operation{
		taken, at{21, 22}.extend("a", "x", 500, 7, 1510), at{23, 24}.extend("a", "y", 500, 7, 2010), at{30, 40}.release("a", faults.Released),
		at{50, 60}.take("b", 9, 1050), at{1060, 1070}.foreign("f", 1000),
	}
	took, released := faults.Event{Type: "TAKEN", OwnerID: "a", Version: 7}, faults.Event{Type: "RELEASED", OwnerID: "a", Version: 8}
	extended := faults.Event{Type: "EXTENDED", OwnerID: "a", Version: 7}
	second, lapsed := faults.Event{Type: "TAKEN", OwnerID: "b", Version: 9}, faults.Event{Type: "EXPIRED", OwnerID: "b", Version: 10}
	foreign := faults.Event{Type: "TAKEN_EXTERNALLY", OwnerID: "f", Version: 11}
	for _, test := range []struct {
		name   string
		equal  bool
		events []faults.Event // oldest first
	}{
		{"all of it", true, []faults.Event{took, extended, released, second, lapsed, foreign}},
		{"unseen", true, []faults.Event{took, extended, released, second, lapsed}},
		{"no take", false, []faults.Event{took, extended, released, foreign}},
		{"no end", false, []faults.Event{took, extended, released, second, foreign}},
		{"two ends", false, []faults.Event{took, extended, released, second, lapsed, {Type: "EXPIRED", OwnerID: "b", Version: 11}}},
		{"another end", false, []faults.Event{took, extended, {Type: "EXPIRED", OwnerID: "a", Version: 8}, second, lapsed}},
		{"another version", false, []faults.Event{{Type: "TAKEN", OwnerID: "a", Version: 6}, extended, released, second}},
		{"a version that does not grow", false, []faults.Event{took, extended, {Type: "RELEASED", OwnerID: "a", Version: 7}, second}},
		{"somebody else", false, []faults.Event{took, extended, released, second, lapsed, {Type: "TAKEN", OwnerID: "c", Version: 12}}},
		{"a type that there is not", false, []faults.Event{took, extended, released, second, {Type: "LAPSED", OwnerID: "b", Version: 10}}},
		{"no extension", false, []faults.Event{took, released, second, lapsed}},
		{"an extension of somebody else", false, []faults.Event{took, released, second, {Type: "EXTENDED", OwnerID: "b", Version: 9}, lapsed}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			events := slices.Clone(test.events)
			slices.Reverse(events)
			if differences := faults.CheckEvents(events, operations); (len(differences) == 0) != test.equal {
				t.Errorf("%q", differences)
			}
		})
	}
}

// What is done on the authority of who the caller is.
func TestCheckEventsOnAuthority(t *testing.T) {
	t.Parallel()
	operations := []*faults.Operation{
		taken, with(at{21, 22}.resume("a", "3", 0, 0), unknown), at{30, 40}.resume("a", "2", 10, 1010), at{41, 42}.resume("a", "2", 10, 1010),
		with(at{43, 44}.force("p", "", 7, 0, 0), conflict(7, 10)), at{45, 46}.force("q", "a", 10, 1010, 19), at{47, 48}.force("q", "a", 10, 1010, 19),
		with(at{200, 210}.take("b", 300, 1200), inDoubt), // so that it need not be told
	}
	took, resumed := faults.Event{Type: "TAKEN", OwnerID: "a", Version: 7}, faults.Event{Type: "RESUMED", OwnerID: "a", Version: 10}
	forced, lapsed := faults.Event{Type: "FORCE_RELEASED", OwnerID: "a", Version: 19}, faults.Event{Type: "EXPIRED", OwnerID: "a", Version: 19}
	second := faults.Event{Type: "TAKEN", OwnerID: "b", Version: 300}
	var others []faults.Event
	for i := range int64(49) {
		other := fmt.Sprintf("o%d", i)
		others = append(others, faults.Event{Type: "TAKEN", OwnerID: other, Version: 41 + 2*i}, faults.Event{Type: "RELEASED", OwnerID: other, Version: 42 + 2*i})
	}
	event := func(kind, owner string, version int64) faults.Event {
		return faults.Event{Type: kind, OwnerID: owner, Version: version}
	}
	for _, test := range []struct {
		name   string
		equal  bool
		events []faults.Event // oldest first
	}{
		{"all of it", true, []faults.Event{took, resumed, forced, second}},
		{"a resume of unknown outcome that was done", true, []faults.Event{took, event("RESUMED", "a", 8), resumed, forced, second}},
		{"no resume", false, []faults.Event{took, forced, second}},
		{"a resume too many", false, []faults.Event{took, event("RESUMED", "a", 8), event("RESUMED", "a", 9), resumed, forced, second}},
		{"a resume of a worker who asked for none", false, []faults.Event{took, resumed, forced, second, event("RESUMED", "b", 301)}},
		{"a resume of somebody else's lock", false, []faults.Event{took, event("RESUMED", "b", 10), event("FORCE_RELEASED", "b", 19), second}},
		{"a resume while nobody holds", false, []faults.Event{took, resumed, forced, event("RESUMED", "a", 20), event("EXPIRED", "a", 21), second}},
		{"a resume whose version does not grow", false, []faults.Event{took, event("RESUMED", "a", 7), resumed, forced, second}},
		{"a resume of another version", false, []faults.Event{took, event("RESUMED", "a", 9), forced, second}},
		{"no end by force", false, []faults.Event{took, resumed, lapsed, second}},
		{"an end by force too many", false, []faults.Event{took, resumed, forced, second, event("FORCE_RELEASED", "b", 301)}},
		{"an end by force while nobody holds", false, []faults.Event{took, resumed, forced, event("FORCE_RELEASED", "a", 20), second}},
		{"an end by force whose version does not grow", false, []faults.Event{took, resumed, event("FORCE_RELEASED", "a", 10), second}},
		{"an end by force of another version", false, []faults.Event{took, resumed, event("FORCE_RELEASED", "a", 18), second}},
		{"all that is not forgotten", true, slices.Concat(others, []faults.Event{second, event("EXPIRED", "b", 301)})},
		{"all that is not forgotten, from a resume on", true, slices.Concat([]faults.Event{resumed, forced}, others)},
		{"all that is not forgotten, from an end by force on", true, slices.Concat([]faults.Event{forced}, others, []faults.Event{second})},
		{"no end by force, of what is not forgotten", false, slices.Concat([]faults.Event{resumed, lapsed}, others)},
		{"no resume, of what is not forgotten", false, slices.Concat([]faults.Event{event("EXTENDED", "a", 7), forced}, others)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			events, done := slices.Clone(test.events), operations
			if len(events) == 100 {
				done = slices.Concat(done, many(49, 41))
			}
			slices.Reverse(events)
			if differences := faults.CheckEvents(events, done); (len(differences) == 0) != test.equal {
				t.Errorf("%q", differences)
			}
		})
	}
}

func TestHistoryIsReadAgain(t *testing.T) {
	t.Parallel()
	bounds := faults.Bounds{Ahead: 500, TakesBack: true}
	history := []*faults.Operation{taken, with(at{30, 40}.take("b", 0, 1030), conflict(6, 8)), with(at{50, 60}.release("a", faults.Released), inDoubt)}
	var file bytes.Buffer
	if err := faults.Write(&file, bounds, history); err != nil {
		t.Fatal(err)
	}
	readBounds, read, err := faults.ReadFrom(&file)
	if err != nil || readBounds != bounds || !reflect.DeepEqual(read, history) {
		t.Errorf("%+v, %+v, %v", readBounds, read, err)
	}
	if _, _, err := faults.ReadFrom(strings.NewReader("{}\n{\"Client\":")); err == nil {
		t.Error("a part of a history is read")
	}
}

func TestDraw(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "picture.html")
	history := []*faults.Operation{taken, at{30, 40}.take("b", 9, 1030)}
	if err := (faults.Bounds{}).Draw(path, history, "MK-1", time.Minute); err != nil {
		t.Fatal(err)
	}
	if picture, err := os.ReadFile(path); err != nil || !bytes.Contains(picture, []byte("take b")) {
		t.Errorf("the picture does not tell of the take: %v", err)
	}
}
