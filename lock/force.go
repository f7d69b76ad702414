package lock

import (
	"context"
	"log/slog"
)

// ForceReleaseRequest is a request to end any worker's lock, as the client wrote it.
type ForceReleaseRequest struct {
	Tag    string
	Reason string // for the history

	// ExpectedVersion is the lock's, so that a later holder is not driven out.
	ExpectedVersion Version

	// RequestID is nil where the client will not send the request again.
	RequestID *string
}

// Forced is the answer to a forced release.
type Forced struct {
	Spool    Spool // as it was left
	Released Lock  // as it was

	// Replayed says that this very request had ended the lock before, sent by any caller
	// and for any reason.
	Replayed bool
}

// ForceReleaseCommand asks a [Store] to end a lock.
type ForceReleaseCommand struct {
	Tag      Tag
	Expected Version
	Actor    WorkerID
	Reason   string
	ID       RequestID // the same for each attempt at the same forced release
}

// ForceRelease ends the lock of any holder, another program's too. Caller and reason go
// into the history. A request that was sent before with the same id gets the answer it got
// then, while the history has it.
//
// It returns [ErrUnauthenticated] if the caller is anonymous; *ForbiddenError without the
// role ADMIN; *VersionConflictError if the lock has another version; *ExpiredError if the
// spool is free; *RateLimitedError; *InvalidError; or *UnavailableError.
func (s *Service) ForceRelease(ctx context.Context, req ForceReleaseRequest) (Forced, error) {
	cmd, err := s.forceReleaseCommand(ctx, req)
	result := Result[Forced]{Err: err}
	if err == nil {
		result = tryOne(ctx, s, cmd, s.store.ForceRelease)
	}
	reason := cmd.Reason
	if result.Value.Replayed {
		reason = "" // the history has the one that counts
	}
	s.audit(ctx, actionForceRelease, cmd.Tag, result.Err,
		slog.String("worker", string(result.Value.Released.Owner.ID)), slog.Int64("expectedVersion", int64(cmd.Expected)),
		slog.Int64("version", int64(result.Value.Spool.Version)), slog.String("reason", reason), slog.Bool("replayed", result.Value.Replayed))
	return result.Value, result.Err
}

func (s *Service) forceReleaseCommand(ctx context.Context, req ForceReleaseRequest) (cmd ForceReleaseCommand, err error) {
	caller, err := s.admit(ctx)
	if err != nil {
		return cmd, err
	}
	tag, invalid := s.config.Tags.Parse(req.Tag)
	cmd.Tag, cmd.Actor, cmd.Expected = tag, caller.Worker.ID, req.ExpectedVersion
	switch {
	case caller.Anonymous():
		return cmd, ErrUnauthenticated
	case !caller.Role.Includes(RoleAdmin):
		return cmd, &ForbiddenError{Required: RoleAdmin}
	case invalid != nil:
		return cmd, invalid
	}
	if cmd.Reason, err = ParseReason(req.Reason); err != nil {
		return cmd, err
	}
	if err = checkVersion(cmd.Expected); err != nil {
		return cmd, err
	}
	cmd.ID, err = parseOrNewRequestID(req.RequestID)
	return cmd, err
}
