//go:build bench

package bench_test

import (
	"fmt"
	"strings"
	"testing"

	"spoollock/lock"
)

// TestMemory prints the memory that Redis uses for spools.
func TestMemory(t *testing.T) {
	b := newBench(t)
	newTag := func(i int) string { return fmt.Sprintf("MK-1335-CW-%09d", i) } // as long as real ones
	few := newTag(0)
	for range 3 {
		b.letGo(few, b.holdWithoutNote(few))
	}
	heldOnce := b.fresh()
	b.hold(heldOnce, nil)
	full := b.fullSpool(0).tag

	fmt.Println("| a spool | keys | bytes (MEMORY USAGE) | of 100,000, MB | of 1,000,000, MB |\n|---|---|---|---|---|")
	for _, row := range []struct{ what, tag string }{
		{"free after 3 takes and 3 releases without notes", few},
		{"held for the first time, with a note", heldOnce},
		{"held, everything full", full},
	} {
		keys, usage := b.usage(row.tag)
		fmt.Printf("| %s | %s | %d | %.0f | %.0f |\n", row.what, keys, usage, float64(usage)/10, float64(usage))
	}

	fmt.Println("\n| spools, free after 3 takes and 3 releases | used_memory, MB | bytes of each |\n|---|---|---|")
	empty := b.infoNumber("memory", "used_memory")
	made := 1
	for _, n := range []int{100_000, 1_000_000} {
		var tags []string
		for ; made < n; made++ {
			tags = append(tags, newTag(made))
		}
		b.copySpool(few, tags)
		used := b.infoNumber("memory", "used_memory") - empty
		fmt.Printf("| %d | %.0f | %.0f |\n", n, used/1e6, used/float64(n))
	}
	fmt.Println()
}

func (b *bench) holdWithoutNote(tag string) string {
	return must[lock.Taken](b)(b.service.Take(b.t.Context(), lock.TakeRequest{Tag: tag, WorkerID: "93", WorkerName: "MR(93)"})).Token.Reveal()
}

// usage is the memory of all keys of a spool, and what each has.
func (b *bench) usage(tag string) (keys string, sum int64) {
	var each []string
	for _, key := range b.keysOf(tag) {
		n := must[int64](b)(b.client.MemoryUsage(b.t.Context(), key, 0).Result())
		name, _, _ := strings.Cut(key, ":")
		each = append(each, fmt.Sprintf("%s %d", name, n))
		sum += n
	}
	return strings.Join(each, ", "), sum
}
