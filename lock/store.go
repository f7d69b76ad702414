package lock

import (
	"context"
)

// Store keeps the locks. It is handed several commands at once, each of them about
// another spool, each one atomic step, decided and applied by the store alone. The
// answers come in the order of the commands, one for each, whatever becomes of the
// others. Package locktest holds the suite that every implementation must pass.
//
// A command fails with *UnavailableError where the store could not be reached or did
// not answer within ctx's deadline; the same command may then be sent again, and one
// that had been applied already is recognised and applied once. A store that has
// replicas may fail so, too, where it cannot tell in time that they have what a take
// or an extension changed. Any other error that is not of this package means that
// the store is broken.
type Store interface {
	// Take occupies a free spool. A command whose token holds the spool already
	// gets that lock, as replayed, with nothing changed.
	//
	// It fails with *ExpiredError where the token's lock has ended, *OccupiedError
	// where another token holds the spool, *VersionConflictError where the spool
	// is free and its version is not the expected one, and *AtLimitError where it would take
	// the spool, and cmd.AtLimit is set.
	Take(ctx context.Context, cmds []TakeCommand) []Result[Taken]

	// Release ends the lock that the token holds, and no other. A token that does
	// not hold the spool is no error: the outcome says what became of it.
	Release(ctx context.Context, cmds []ReleaseCommand) []Result[Released]

	// Extend moves the expiry of the lock that the token holds by cmd.By. Neither
	// its value nor its version changes. A command whose id was applied to this
	// lock before gets what it was answered then, with nothing changed.
	//
	// It fails with *ExpiredError where the spool is free, *OccupiedError where
	// another token holds it, and *InvalidError for [FieldExtension] where the
	// lock has no expiry or would remain for longer than cmd.MaxTTL.
	Extend(ctx context.Context, cmds []ExtendCommand) []Result[Lock]

	// Resume puts another token in the place of the one that holds the worker's lock. A
	// command whose token holds the spool already gets that lock, as replayed.
	//
	// It fails with *ExpiredError where the spool is free, or the command's token has
	// ended, and with *OccupiedError where another worker holds it, or it was not taken
	// through Take.
	Resume(ctx context.Context, cmd ResumeCommand) (Taken, error)

	// ForceRelease ends the lock of the expected version. A command whose id was applied
	// before, and is in the history, gets what it was answered then.
	//
	// It fails with *ExpiredError where the spool is free, and *VersionConflictError
	// where its lock has another version.
	ForceRelease(ctx context.Context, cmd ForceReleaseCommand) (Forced, error)

	// Check answers whether the token holds the spool.
	Check(ctx context.Context, cmd CheckCommand) (Checked, error)

	// Read answers the spools as they stand.
	Read(ctx context.Context, tags []Tag) []Result[Spool]

	// History answers what happened to a spool, newest first: at least as many events as
	// are asked for, if there are as many, and at most [MaxEvents].
	History(ctx context.Context, cmd HistoryCommand) ([]Event, error)
}
