package gqlhttp

import "sync"

// quotaKey is what open streams are counted by: their network, and their caller if it
// is not empty.
type quotaKey struct{ network, caller string }

// quota counts what is open: in all, of each network and of each caller.
type quota struct {
	most, perNetwork, perCaller int

	mu        sync.Mutex
	open      int
	ofNetwork map[string]int
	ofCaller  map[string]int
}

func newQuota(most, perNetwork, perCaller int) *quota {
	return &quota{
		most: most, perNetwork: perNetwork, perCaller: perCaller,
		ofNetwork: map[string]int{}, ofCaller: map[string]int{},
	}
}

// enter reports whether there was room.
func (q *quota) enter(key quotaKey) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open >= q.most || q.ofNetwork[key.network] >= q.perNetwork || !q.hasRoom(key.caller) {
		return false
	}
	q.open++
	q.ofNetwork[key.network]++
	q.ofCaller[key.caller]++
	return true
}

// identify counts a place of no caller as the caller's, and reports whether there was room.
func (q *quota) identify(caller string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.hasRoom(caller) {
		return false
	}
	q.leaveCaller("")
	q.ofCaller[caller]++
	return true
}

func (q *quota) hasRoom(caller string) bool { return caller == "" || q.ofCaller[caller] < q.perCaller }

func (q *quota) leave(key quotaKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if q.ofNetwork[key.network]--; q.ofNetwork[key.network] == 0 {
		delete(q.ofNetwork, key.network)
	}
	q.leaveCaller(key.caller)
}

func (q *quota) leaveCaller(caller string) {
	if q.ofCaller[caller]--; q.ofCaller[caller] == 0 {
		delete(q.ofCaller, caller)
	}
}

func (q *quota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}
