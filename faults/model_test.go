package faults_test

import (
	"bytes"
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
	o.Extension, o.TTL, o.Lock = id, by, &faults.Lock{OwnerID: owner, Version: version, Expires: until}
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
func unknown(o *faults.Operation)   { o.Outcome, o.Lock = faults.Unknown, nil }

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

func TestCheck(t *testing.T) {
	t.Parallel()
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
		{"another program's lock is overwritten", false, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{30, 40}.take("a", 7, 1030)}},
		{"another program releases it", true, faults.Bounds{}, []*faults.Operation{taken, at{30, 40}.operation(faults.ForeignRelease, "a", faults.Released), at{50, 60}.release("a", faults.AlreadyReleased)}},
		{"another program's take of unknown outcome holds", true, faults.Bounds{}, []*faults.Operation{with(at{10, 20}.foreign("f", 1000), unknown), at{500, 510}.held("f", 7, 1400)}},
		{"another program's take of unknown outcome does not", true, faults.Bounds{}, []*faults.Operation{with(at{10, 20}.foreign("f", 1000), unknown), at{500, 510}.free(0), at{520, 530}.take("a", 7, 1520)}},

		{"another program's lock that nobody saw is released late", true, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{30, 40}.operation(faults.ForeignRelease, "f", faults.Released), at{50, 60}.release("f", faults.NotHeld)}},
		{"another program's lock that somebody saw is forgotten", false, faults.Bounds{}, []*faults.Operation{at{10, 20}.foreign("f", 1000), at{21, 22}.held("f", 7, 1015), at{30, 40}.operation(faults.ForeignRelease, "f", faults.Released), at{50, 60}.release("f", faults.NotHeld)}},
		{"another program's take that was sent twice", true, faults.Bounds{}, []*faults.Operation{with(at{10, 1500}.foreign("f", 1000), resent), at{100, 110}.held("f", 7, 1090), at{1200, 1210}.free(8), at{1600, 1610}.held("f", 9, 2400)}},

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
