package lock

import (
	"context"
	"fmt"
)

// What is done on the authority of who the caller is, and not of a token.

// ResumeRequest is a request for another token, as the client wrote it.
type ResumeRequest struct {
	Tag string

	// RequestID is nil where the client will not send the request again.
	RequestID *string
}

// Resume gives the caller's own lock another token, and another version; its expiry
// stays. The token that held it until then is dead. A request that was sent before
// with the same id gets the same token again.
//
// It returns [ErrUnauthenticated] if it is not known who the caller is;
// *OccupiedError if the lock is not the caller's, or was not taken through this
// package; *ExpiredError if nobody holds the spool, or if the lock that this request
// got before has ended; *InvalidError; or *UnavailableError.
func (s *Service) Resume(ctx context.Context, req ResumeRequest) (Taken, error) {
	caller, _ := CallerOf(ctx)
	if !caller.Known() {
		return Taken{}, ErrUnauthenticated
	}
	cmd := ResumeCommand{Worker: caller.Worker.ID}
	var err error
	if cmd.Tag, err = s.config.Tags.Parse(req.Tag); err != nil {
		return Taken{}, err
	}
	id, err := requestID(req.RequestID)
	if err != nil {
		return Taken{}, err
	}
	cmd.Token = NewToken(cmd.Worker, id)
	result := tryOne(ctx, s, cmd, s.store.Resume)
	return result.Value, result.Err
}

// ForceReleaseRequest is a request to end somebody's lock, as the client wrote it.
type ForceReleaseRequest struct {
	Tag    string
	Reason string // for the history

	// ExpectedVersion is the lock's, so that nobody who came later is driven out.
	ExpectedVersion Version

	// RequestID is nil where the client will not send the request again.
	RequestID *string
}

// Forced is the answer to a forced release.
type Forced struct {
	Spool    Spool // as it was left
	Released Lock  // as it was
}

// ForceRelease ends a lock whoever holds it, another program's too. Caller and reason
// go into the history. A request that was sent before with the same id gets the answer
// it got then, while the history has it.
//
// It returns [ErrUnauthenticated] if it is not known who the caller is;
// *ForbiddenError without the role ADMIN; *VersionConflictError if the lock has
// another version; *ExpiredError if nobody holds the spool; *InvalidError; or
// *UnavailableError.
func (s *Service) ForceRelease(ctx context.Context, req ForceReleaseRequest) (Forced, error) {
	caller, _ := CallerOf(ctx)
	if !caller.Known() {
		return Forced{}, ErrUnauthenticated
	}
	if !caller.Role.Includes(RoleAdmin) {
		return Forced{}, &ForbiddenError{Required: RoleAdmin}
	}
	cmd := ForceReleaseCommand{Actor: caller.Worker.ID, Expected: req.ExpectedVersion}
	var err error
	if cmd.Tag, err = s.config.Tags.Parse(req.Tag); err != nil {
		return Forced{}, err
	}
	if cmd.Reason, err = ParseReason(req.Reason); err != nil {
		return Forced{}, err
	}
	if err = checkVersion(cmd.Expected); err != nil {
		return Forced{}, err
	}
	if cmd.ID, err = requestID(req.RequestID); err != nil {
		return Forced{}, err
	}
	result := tryOne(ctx, s, cmd, s.store.ForceRelease)
	return result.Value, result.Err
}

// Checked is the answer to a check.
type Checked struct {
	Valid bool // the token holds the spool
	Spool Spool
}

// Check answers whether the token holds the spool at the time of the call, whoever
// asks. It returns *InvalidError or *UnavailableError.
func (s *Service) Check(ctx context.Context, tag, token string) (Checked, error) {
	parsedTag, parsedToken, err := s.holding(Caller{}, tag, token)
	if err != nil {
		return Checked{}, err
	}
	result := notApplied(tryOne(ctx, s, CheckCommand{Tag: parsedTag, Token: parsedToken}, s.store.Check))
	return result.Value, result.Err
}

func checkVersion(v Version) error {
	if 0 <= v && v <= MaxVersion {
		return nil
	}
	return bounded(FieldExpectedVersion, ReasonOutOfRange, fmt.Sprintf("must be 0 to %d", MaxVersion), 0, int64(MaxVersion))
}
