package gqlhttp_test

import (
	"fmt"
	"strings"
	"testing"

	"spoollock/gqlhttp"
)

// Fragments in fragments double with each step: a document of a thousand bytes
// that comes to 2^30 fields is measured without going through them.
func TestFragmentsAreVisitedOnce(t *testing.T) {
	t.Parallel()
	var bomb strings.Builder
	bomb.WriteString(`{hello{...F0}}`)
	for i := range 30 {
		fmt.Fprintf(&bomb, "fragment F%d on T{...F%d ...F%d}", i, i+1, i+1)
	}
	bomb.WriteString("fragment F30 on T{id}")
	if visits := gqlhttp.Visits(bomb.String()); visits > 100 {
		t.Errorf("%d nodes were visited", visits)
	}
}
