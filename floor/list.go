package floor

import (
	"errors"
	"time"

	"spoollock/lock"
)

// Page is a part of the list of locks, in the order of tags by code point.
type Page struct {
	Locks []lock.Lock
	More  bool // further locks follow
	Total int  // all that match, on every page

	// AsOf is the moment, on the store's clock, up to which the list is complete.
	AsOf time.Time
}

// ErrNotLive says that the view cannot vouch for what it has.
var ErrNotLive = errors.New("the view of the floor is not live")

// List answers the first locks that match and whose tags are after the given one;
// first is 1 to lock.MaxPage. A lock that stays while somebody walks through the
// pages, each beginning after the last tag of the one before, is on exactly one of
// them. It returns *lock.InvalidError, and *lock.UnavailableError with [ErrNotLive]
// while the view is not live.
func (v *View) List(f Filter, first int, after lock.Tag) (Page, error) {
	if err := lock.CheckPage(first); err != nil {
		return Page{}, err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	now := time.Now()
	if !v.isLive(now) {
		return Page{}, &lock.UnavailableError{Outcome: lock.NotApplied, Err: ErrNotLive}
	}
	page := Page{Total: v.count(f), AsOf: v.asOf}
	v.each(f, after, func(e *entry) bool {
		if page.More = len(page.Locks) == first; page.More {
			return false
		}
		page.Locks = append(page.Locks, e.lockAt(v.moment(now)))
		return true
	})
	return page, nil
}
