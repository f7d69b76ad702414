package lock

import "sync"

// workersPerPartner is how many workers' limits a partner has for all its workers together.
const workersPerPartner = 10

// holdings bound how many locks a worker has, and a partner with all its workers: those that
// are known to be held, and those that this process is taking.
type holdings struct {
	limit         int // of a worker; 0: any number
	held          func(WorkerID, Tag) (int, bool)
	heldByPartner func(WorkerID) int

	mu     sync.Mutex
	taking map[holder]map[Tag]int // takes of each spool that are under way
}

// holder is whose locks count together: a worker's, or a partner's with those of all its
// workers.
type holder struct {
	id      WorkerID
	partner bool
}

func newHoldings(config Config) *holdings {
	return &holdings{
		limit: config.Limits.LocksPerWorker, held: config.Held, heldByPartner: config.HeldByPartner,
		taking: map[holder]map[Tag]int{},
	}
}

// begin counts the caller's take of the spool for the worker as under way until end. Where the
// worker, or the caller as a partner, has as many locks as it may have and is to be given no
// other, it returns *LimitError and counts nothing. A take of a spool that is known to be held
// gives no further lock, and does not count either.
func (h *holdings) begin(caller Caller, worker WorkerID, tag Tag) (limit *LimitError, end func()) {
	if h.limit == 0 {
		return nil, func() {}
	}
	holders := []holder{{id: worker}}
	if caller.Role == RolePartner {
		holders = append(holders, holder{id: caller.Worker.ID, partner: true})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	has := make([]int, len(holders))
	for i, holder := range holders {
		has[i] = h.underWay(holder)
	}
	// Known last: what is taken meanwhile counts twice, rather than not at all.
	known, occupied := h.held(worker, tag)
	if occupied {
		return nil, func() {}
	}
	for i, holder := range holders {
		most := h.limit
		if holder.partner {
			known, most = h.heldByPartner(holder.id), workersPerPartner*h.limit
		}
		if has[i] += known; has[i] >= most {
			return &LimitError{Limit: most, Held: has[i], Partner: holder.partner}, func() {}
		}
	}
	for _, holder := range holders {
		if h.taking[holder] == nil {
			h.taking[holder] = map[Tag]int{}
		}
		h.taking[holder][tag]++
	}
	return nil, func() { h.end(holders, tag) }
}

// underWay is how many takes are under way that are not known to be held.
func (h *holdings) underWay(holder holder) (takes int) {
	for tag, n := range h.taking[holder] {
		if _, occupied := h.held(holder.id, tag); !occupied { // else it is taken, and not answered yet
			takes += n
		}
	}
	return takes
}

func (h *holdings) end(holders []holder, tag Tag) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, holder := range holders {
		takes := h.taking[holder]
		if takes[tag]--; takes[tag] == 0 {
			delete(takes, tag)
		}
		if len(takes) == 0 {
			delete(h.taking, holder)
		}
	}
}
