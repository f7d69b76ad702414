package lock

import "sync"

// holdings bound how many locks a worker has: those that are known to be held, and
// those that this process is taking.
type holdings struct {
	limit int // 0: any number
	held  func(WorkerID, Tag) (int, bool)

	mu     sync.Mutex
	taking map[WorkerID]map[Tag]int // takes of each spool that are under way
}

func newHoldings(most int, held func(WorkerID, Tag) (int, bool)) *holdings {
	return &holdings{limit: most, held: held, taking: map[WorkerID]map[Tag]int{}}
}

// begin counts a take of the spool as under way until end. It returns *LimitError where
// the worker has as many locks as it may have, and is to be given no other. A take of a
// spool that is known to be held gives no further lock, and does not count.
func (h *holdings) begin(worker WorkerID, tag Tag) (limit *LimitError, end func()) {
	if h.limit == 0 {
		return nil, func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	has := 0
	for other, takes := range h.taking[worker] {
		if _, occupied := h.held(worker, other); !occupied { // else it is taken, and not answered yet
			has += takes
		}
	}
	// Known last: what is taken meanwhile counts twice, rather than not at all.
	known, occupied := h.held(worker, tag)
	if occupied {
		return nil, func() {}
	}
	if has += known; has >= h.limit {
		limit = &LimitError{Limit: h.limit, Held: has}
	}
	if h.taking[worker] == nil {
		h.taking[worker] = map[Tag]int{}
	}
	h.taking[worker][tag]++
	return limit, func() { h.end(worker, tag) }
}

func (h *holdings) end(worker WorkerID, tag Tag) {
	h.mu.Lock()
	defer h.mu.Unlock()
	takes := h.taking[worker]
	if takes[tag]--; takes[tag] == 0 {
		delete(takes, tag)
	}
	if len(takes) == 0 {
		delete(h.taking, worker)
	}
}
