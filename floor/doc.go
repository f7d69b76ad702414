// Package floor knows which spools are held, all of them, without asking the store
// each time: it is what the list of locks and the live feed are answered from.
//
// # The view
//
// Each process keeps a [View] of all locks. It learns from four sources, in any
// order and any number of times, because an entry only ever gives way to a newer
// one (a higher version; or the same version and a higher number of the change):
//
//   - what the store answers to this process's own operations,
//   - the feed, one connection on which the store says what any process changed,
//   - the expiries: when a lock is due to lapse, the store is asked about it, which
//     also makes the store record the lapse; nothing lapses by this process's clock,
//   - a rebuild, which compares all keys of the store with the view: at the start,
//     whenever the feed was cut or left something out, or the store's clock was set, and
//     from time to time, as other programs' takes and releases leave no message.
//
// # When it cannot vouch for itself
//
// About once a second each process sends a beat through the feed. A view is live
// while a beat of its own has come back within the last three seconds, and a
// rebuild was completed on the connection that carried it. Of what other processes
// did, a live view has everything up to the time of that beat, [Status.AsOf]. That is a
// time on the store's clock, and goes back if the clock does. A store that accepts no
// changes takes no beat: it may be a master that has become a replica, and what it has
// may be old. A view that is not live refuses to list, and tells its subscribers that it
// is stale.
//
// # Subscribers
//
// A [Subscription] holds no queue. The view keeps one bounded log of which spools
// changed; a subscriber has a place in it, and gets the present state of whatever
// changed since, merged over at most a tenth of a second. So a slow one gets fewer
// messages, never old ones, and costs no memory. One that fell behind the log, or
// lived through a time in which the view was stale, begins again with a snapshot. So
// do all where a spool goes back to a state that they would ignore as older.
package floor
