package httpapi

import (
	"net/netip"
	"sync"

	"spoollock/lock"
)

// whose is what is open: of an address, and where that is known, of a worker.
type whose struct {
	address netip.Addr
	worker  lock.WorkerID
}

// quota counts what is open, in all, of each address and of each worker.
type quota struct {
	most, mostOfAddress, mostOfWorker int

	mu        sync.Mutex
	open      int
	ofAddress map[netip.Addr]int
	ofWorker  map[lock.WorkerID]int
}

func newQuota(limits Limits) *quota {
	return &quota{
		most: limits.Subscriptions, mostOfAddress: limits.AddressSubscriptions, mostOfWorker: limits.IdentitySubscriptions,
		ofAddress: map[netip.Addr]int{}, ofWorker: map[lock.WorkerID]int{},
	}
}

func (q *quota) enter(who whose) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == q.most || q.ofAddress[who.address] == q.mostOfAddress ||
		who.worker != "" && q.ofWorker[who.worker] == q.mostOfWorker {
		return false
	}
	q.open++
	q.ofAddress[who.address]++
	q.ofWorker[who.worker]++
	return true
}

func (q *quota) leave(who whose) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if q.ofAddress[who.address]--; q.ofAddress[who.address] == 0 {
		delete(q.ofAddress, who.address)
	}
	if q.ofWorker[who.worker]--; q.ofWorker[who.worker] == 0 {
		delete(q.ofWorker, who.worker)
	}
}

func (q *quota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}
