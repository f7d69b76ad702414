package lock

import "sync"

// holdings bound how many locks a worker has: those that are known to be held, and
// those that this process is taking.
type holdings struct {
	most int // 0: any number
	held func(WorkerID, Tag) (int, bool)

	mu     sync.Mutex
	taking map[WorkerID]int
}

func newHoldings(most int, held func(WorkerID, Tag) (int, bool)) *holdings {
	return &holdings{most: most, held: held, taking: map[WorkerID]int{}}
}

// begin counts a take of the spool as under way until end. It returns *LimitError where
// the worker has as many locks as it may have, and is to be given no other. A spool that
// somebody is known to have gives nobody a further lock, and does not count.
func (h *holdings) begin(worker WorkerID, tag Tag) (limit *LimitError, end func()) {
	if h.most == 0 {
		return nil, func() {}
	}
	known, occupied := h.held(worker, tag)
	if occupied {
		return nil, func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if has := known + h.taking[worker]; has >= h.most {
		limit = &LimitError{Limit: h.most, Held: has}
	}
	h.taking[worker]++
	return limit, func() { h.end(worker) }
}

func (h *holdings) end(worker WorkerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.taking[worker]--; h.taking[worker] == 0 {
		delete(h.taking, worker)
	}
}
