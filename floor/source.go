package floor

import (
	"context"
	"time"

	"spoollock/lock"
)

// Source is what a view is kept from: the store, and the feed on which the store
// says what changes.
type Source interface {
	// ReadDue asks the store about spools whose locks are likely to have expired, before
	// what others want to know. What it answers reaches View.Apply, too.
	ReadDue(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool]

	// ReadScanned does the same for spools that a scan has found, or has not found. It
	// leaves the store free for others.
	ReadScanned(ctx context.Context, tags []lock.Tag) []lock.Result[lock.Spool]

	// Listen follows the feed on a connection of its own: it calls subscribed once
	// nothing will be missed, then heard with each message. It returns when ctx is
	// done, when the connection fails, or when nothing was heard for a few beats.
	//
	// Before it decodes who holds a spool, it asks whether the state is known. The lock of
	// the spool that it hands to knows has a version and an expiry only, and so has that of
	// a message of a known state.
	Listen(ctx context.Context, subscribed func(), knows func(lock.Spool) bool, heard func(Message)) error

	// Beat sends a beat through the feed, by way of each server of the store. It comes back
	// as one message, with the time of each server, when it is back from all. A server that
	// accepts no changes refuses it.
	Beat(ctx context.Context, id string) error

	// Scan goes through all locks, in parts and no order, without holding up the
	// store. Each lock that is there from beginning to end is found at least once, if
	// its tag can be shown, and unless the store moves it from one of its servers to
	// another meanwhile.
	Scan(ctx context.Context, found func([]Found) error) error
}

// Message is what the feed carries: a beat, or the state of a spool.
type Message struct {
	Beat   string           // the id of a beat; empty: the message is about a spool
	Clocks map[string]Clock // what the beat tells of each server, by its name

	At time.Time // of what the message is about, on the store's clock

	// Spool is as it stands after the change that Spool.Change numbers.
	Spool lock.Spool
	Known bool // see Listen
}

// Found is a lock as its key alone tells it.
type Found struct {
	// Tag is canonical, or, if Foreign is set, whatever stands in the key.
	Tag     lock.Tag
	Foreign bool

	Owner       lock.WorkerID
	Fingerprint uint64        // as [lock.Spool] has it
	ExpiresAt   time.Time     // zero: never
	Remaining   time.Duration // meaningless where ExpiresAt is zero
}
