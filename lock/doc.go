// Package lock decides who may work on a spool.
//
// # Words
//
// A [Spool] is a prefabricated piece of piping, known by its [Tag]. A [Worker]
// takes it and from then on holds its [Lock], until the lock is released, is
// released by force, or lapses. At most one lock of a spool exists at any time.
//
// # Who decides
//
// The [Store] decides, in one atomic step per operation, and its clock is the
// only clock: this package never compares a time of its own with a time of the
// store's. What the store answers on a refusal comes from the same step that
// refused, so an [OccupiedError] names the worker who was in the way and not
// somebody who came later.
//
// # Tokens and versions
//
// A [Token] is the whole value of the lock, "<worker id>:<uuid v4>". It proves that its
// bearer holds the lock; nothing else does. An authenticated [Caller] can use it only if
// it is the worker that the token names, the partner that has that worker in its
// namespace, or an administrator. A token is a secret: only the take or the resume that
// made it answers it, and it prints as "[token]" in a log or a message. Its second half is
// the client's request id, if the client sent one. So a take that is sent again has the
// token of the first one, and the [Store] recognises it by that: see below, when an answer
// is lost.
//
// A [Version] is the fencing version of a spool. It grows with every take, every
// end of a lock and every resume, never with an extension, and while a spool is held
// it is the version of the lock. What the work writes to can refuse a holder
// whose lock has ended by refusing any version older than the newest it saw.
//
// # States and transitions
//
//	            Take                        Extend, Resume
//	free ───────────────────────────▶ held ◀────────────┐
//	  ▲                                │ └───────────────┘
//	  └────────────────────────────────┘
//	    Release, lapse, forced release,
//	    another program's release
//
// A program that writes to the same store without this package may take and
// release spools itself. The next look at such a spool notices, gives the change a
// version of its own and goes on from there; a look is an operation on it, or the
// floor's asking of the store. A foreign take and release that both happen between
// two looks leave no trace in the version.
//
// [Service.Resume] replaces the token of a caller's own lock: the lock goes on, under
// another version, and its former token counts as ended. [Service.ForceRelease] ends a
// lock without its token, for an administrator who has seen its version. Both go by who
// the caller is, and are refused where that is not known.
//
// Ended tokens are remembered with how each ended ([End]): the newest 64 of a spool for 24
// hours, and apart from them the newest 256 that clients' request ids made, for 7 days or as
// long as the store remembers the spool, if that is less. A request whose token is
// forgotten may take again.
//
// # History
//
// Each change of a spool is an [Event], recorded in the step that makes or notices
// it, so each is there once: an expiry, or what another program did, is recorded by the
// first step that looks. Extensions of one lock that follow each other are one event,
// the last, and so are changes of its expiry by another program. A spool keeps its newest
// [MaxEvents] events, or fewer if they are long, at most 32 KB, for as long as anything is
// remembered of it; no event holds a token. A [Cursor] is the place of an event by
// its version and number, so it stays good when the event itself is no longer kept.
//
// # Batches
//
// [Service.TakeAll], [Service.ReleaseAll], [Service.ExtendAll] and [Service.Spools]
// hand up to [MaxBatch] commands to the store at once. Each is an atomic step of its
// own and has a result of its own, at its place; they are not one transaction, and
// others may come between them. Only what concerns the batch as a whole is refused as
// a whole: none, too many, or a tag twice. An operation on one spool is a batch of
// one.
//
// # When an answer is lost
//
// [Service] tries an operation again when the store was out of reach, within the
// one deadline of the operation. The token of a take and the id of an extension
// or a release are made before the first try, so that an attempt whose answer
// was lost is recognised by the next one:
//
//   - Take finds its own token holding the spool and answers the lock, marked as
//     replayed only if the request id was the client's.
//   - Extend finds its id among those applied to the lock and answers what the
//     first application answered. The newest 16 ids that clients sent are kept for 24
//     hours, and the newest 16 that Service made; an attempt at an extension whose id may
//     have been forgotten is not applied again, and its outcome is unknown.
//   - Release finds its id in the event of the release and answers OutcomeReleased.
//   - Resume finds its own token holding the spool.
//   - ForceRelease finds its id, one of the newest 4 of the spool, and its event, and answers
//     what it answered first.
//
// Of a batch, only the commands without an answer are tried again, within the one
// deadline, and what was answered before stands. Each item has its own outcome.
//
// A store with replicas may be asked to confirm a take, an extension or a resume only
// when they have it. Where it cannot tell in time, that counts as an answer that was lost.
//
// Where no attempt could be confirmed, the operation fails with
// [UnavailableError], whose outcome says whether it may have been applied. A take
// that may have been applied and whose token nobody knows is taken back: the
// Service goes on releasing that token for as long as its lock could last, and
// the release also bars the token for at least an hour (the newest 128 of a spool),
// so a take that the store executes late does not come into force afterwards. A client
// that sent a request id gets its lock by sending the request again, and nothing
// is taken back; unless the take was refused in the end, as then nobody expects an
// attempt whose answer was lost to come into force.
//
// # What a failure means
//
//	store out of reach           UnavailableError, not applied
//	answer lost or late          UnavailableError, outcome unknown; see above
//	this process dies            its locks stay until released or lapsed; an
//	                             unconfirmed take that was not yet taken back
//	                             lapses with its time to live
//	store loses what it          locks stay held, their owner's name is unknown;
//	remembers of a spool         versions go on growing, because they follow the
//	                             store's clock, unless that is set back
//	store loses a lock           the spool is free; versions go on growing
package lock
