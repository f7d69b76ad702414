package lock

import "sync"

// holdings bound how many locks a worker has: those that are known to be held, and
// those that this process is taking.
type holdings struct {
	most int // 0: any number
	held func(WorkerID) int

	mu     sync.Mutex
	taking map[WorkerID]int
}

func newHoldings(most int, held func(WorkerID) int) *holdings {
	return &holdings{most: most, held: held, taking: map[WorkerID]int{}}
}

// begin counts a take of the worker as under way until end. It returns *LimitError
// where the worker has as many locks as it may have, and is to be given no other.
func (h *holdings) begin(worker WorkerID) *LimitError {
	if h.most == 0 {
		return nil
	}
	known := h.held(worker)
	h.mu.Lock()
	defer h.mu.Unlock()
	has := known + h.taking[worker]
	h.taking[worker]++
	if has < h.most {
		return nil
	}
	return &LimitError{Limit: h.most, Held: has}
}

func (h *holdings) end(worker WorkerID) {
	if h.most == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.taking[worker]--; h.taking[worker] == 0 {
		delete(h.taking, worker)
	}
}
