package repository_test

import (
	"strconv"
	"testing"

	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// Beats that no feed brings back, as where the user may publish but not subscribe, are forgotten.
func TestBeatsWithoutAFeed(t *testing.T) {
	t.Parallel()
	store, ctx := open(t, redistest.Start(t).URL), testwait.Context(t)
	for n := range 200 {
		if err := store.Beat(ctx, strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
	if n := store.BeatsUnderWay(); n > 64 {
		t.Errorf("of 200 beats, %d are waited for", n)
	}
}
