//go:build faults

package faults_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"spoollock/faults"
)

// evidence is what a test that fails leaves, wherever it fails: its history, with the
// seed, and pictures of the spools concerned.
type evidence struct {
	t       *testing.T
	dir     string
	bounds  faults.Bounds
	history func() []*faults.Operation

	mayLose   bool // so that it takes the longest to judge, and says least
	judged    bool
	concerned []string
}

// mostPictures are enough to understand a failure; where one spool is wrong, often all are.
const mostPictures = 10

// directory is one that stays if the test fails.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			progress(t, "what is left of it is in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// keep has the evidence written into the directory if the test fails from here on. It
// stops the driver, and is called after all that the driver needs was started. The
// nemesis may be nil.
func keep(t *testing.T, dir string, d *driver, bounds faults.Bounds, n *nemesis) *evidence {
	t.Helper()
	e := &evidence{t: t, dir: dir, bounds: bounds}
	e.history = func() []*faults.Operation {
		if n != nil {
			n.mark(d.history)
		}
		return d.history
	}
	t.Cleanup(func() {
		if d.halt != nil {
			d.halt()
		}
		if t.Failed() {
			e.write(d.seed)
		}
	})
	return e
}

// judge has the history checked, the driver being stopped.
func (e *evidence) judge() faults.Verdict {
	e.judged = true
	if e.mayLose {
		return e.bounds.Check(e.history(), lossTime)
	}
	return e.bounds.Check(e.history(), checkTime)
}

// wantLegal fails the test where something cannot have happened.
func (e *evidence) wantLegal(verdict faults.Verdict) {
	e.t.Helper()
	if len(verdict.Illegal) > 0 {
		e.t.Errorf("%q cannot have happened", verdict.Illegal)
		e.about(verdict.Illegal...)
	}
}

// wantGrowing fails the test where versions do not grow.
func (e *evidence) wantGrowing(mayLose bool) {
	e.t.Helper()
	for _, violation := range faults.Growing(e.history(), mayLose) {
		e.t.Error(violation)
		e.about(violation.Spool)
	}
}

// wantChecked fails the test where so much went unchecked that a pass says nothing.
func (e *evidence) wantChecked(verdict faults.Verdict) {
	e.t.Helper()
	if verdict.Checked == 0 || 20*len(verdict.Unchecked) > spools {
		e.t.Errorf("%d operations were checked; the check of %d spools of %d ran out of time", verdict.Checked, len(verdict.Unchecked), spools)
		e.about(verdict.Unchecked...)
	}
}

// about has the spools drawn.
func (e *evidence) about(spools ...string) { e.concerned = append(e.concerned, spools...) }

func (e *evidence) write(seed int) {
	if !e.judged && !e.mayLose {
		e.about(e.judge().Illegal...) // it failed before
	}
	history := e.history()
	var file bytes.Buffer
	err := faults.Write(&file, e.bounds, history)
	if err == nil {
		err = os.WriteFile(filepath.Join(e.dir, fmt.Sprintf("history-seed-%d.jsonl", seed)), file.Bytes(), 0o600)
	}
	if err != nil {
		e.t.Error(err)
	}
	slices.Sort(e.concerned)
	concerned := slices.Compact(e.concerned)
	for _, spool := range concerned[:min(len(concerned), mostPictures)] {
		if err := e.bounds.Draw(filepath.Join(e.dir, spool+".html"), history, spool, lossTime); err != nil {
			e.t.Error(err)
		}
	}
}
