package gqlhttp

import "sync"

// quotaKey is what open streams are counted by: their network, and their caller if it
// is not empty.
type quotaKey struct{ network, caller string }

// quota counts what is open: in all, of each network and of each caller.
type quota struct {
	limits StreamLimits

	mu        sync.Mutex
	open      int
	ofNetwork map[string]int
	ofCaller  map[string]int
}

func newQuota(limits StreamLimits) *quota {
	return &quota{limits: limits, ofNetwork: map[string]int{}, ofCaller: map[string]int{}}
}

// enter reports whether there was room.
func (q *quota) enter(key quotaKey) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open >= q.limits.Subscriptions || q.ofNetwork[key.network] >= q.limits.PerNetwork ||
		key.caller != "" && q.ofCaller[key.caller] >= q.limits.PerCaller {
		return false
	}
	q.open++
	q.ofNetwork[key.network]++
	q.ofCaller[key.caller]++
	return true
}

func (q *quota) leave(key quotaKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if q.ofNetwork[key.network]--; q.ofNetwork[key.network] == 0 {
		delete(q.ofNetwork, key.network)
	}
	if q.ofCaller[key.caller]--; q.ofCaller[key.caller] == 0 {
		delete(q.ofCaller, key.caller)
	}
}

func (q *quota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}
