package lock

import (
	"context"
	"log/slog"
)

// ReleaseRequest is a request to release a spool, as the client wrote it.
type ReleaseRequest struct {
	Tag   string
	Token string

	// Note is what was done, for the history; empty: none.
	Note string
}

// Released is the answer to a release.
type Released struct {
	Outcome ReleaseOutcome
	Spool   Spool // as it stands afterwards
}

// ReleaseOutcome says what became of a token that was handed in for release.
type ReleaseOutcome string

// The outcomes of a release. Only the first two mean that the token's lock is
// released.
const (
	OutcomeReleased        ReleaseOutcome = "RELEASED"         // by this call
	OutcomeAlreadyReleased ReleaseOutcome = "ALREADY_RELEASED" // by an earlier call
	OutcomeExpired         ReleaseOutcome = "EXPIRED"          // it expired
	OutcomeForceReleased   ReleaseOutcome = "FORCE_RELEASED"   // an administrator ended it
	OutcomeSuperseded      ReleaseOutcome = "SUPERSEDED"       // its worker got another token
	OutcomeNotOwner        ReleaseOutcome = "NOT_OWNER"        // unknown token, spool held
	OutcomeNotHeld         ReleaseOutcome = "NOT_HELD"         // unknown token, spool free
)

// Released reports whether the token's lock is released, by this call or by an
// earlier one.
func (o ReleaseOutcome) Released() bool {
	return o == OutcomeReleased || o == OutcomeAlreadyReleased
}

// ReleaseCommand asks a [Store] to end a lock.
type ReleaseCommand struct {
	Tag   Tag
	Token Token
	Note  string
	ID    RequestID // the same for each attempt at the same release

	// Bar remembers the token as released even where it is not known, so that a
	// take which the store has yet to execute cannot come into force.
	Bar bool
}

// Release ends the lock that the token holds, and never another one: for a token
// that does not hold the spool, the outcome says what became of it.
//
// It returns *ForbiddenError if the caller may not act as the worker that the token
// names; *RateLimitedError; *InvalidError; or *UnavailableError.
func (s *Service) Release(ctx context.Context, req ReleaseRequest) (Released, error) {
	return single(s.releaseAll(ctx, []ReleaseRequest{req}))
}

// ReleaseAll releases each of 1 to 50 spools on its own: the results are those of
// [Service.Release], in the order of the requests. It returns *InvalidError for
// [FieldItems], and releases nothing, where there are none, too many, or a tag
// twice.
func (s *Service) ReleaseAll(ctx context.Context, reqs []ReleaseRequest) ([]Result[Released], error) {
	if err := checkBatch(s, FieldItems, reqs, func(r ReleaseRequest) string { return r.Tag }); err != nil {
		return nil, err
	}
	return s.releaseAll(ctx, reqs), nil
}

func (s *Service) releaseAll(ctx context.Context, reqs []ReleaseRequest) []Result[Released] {
	cmds, results := parseBatch[Released](ctx, reqs, s.releaseCommand)
	try(ctx, s, cmds, results, s.store.Release)
	for i, result := range results {
		if result.Err == nil && result.Value.Outcome != OutcomeReleased {
			continue
		}
		s.audit(ctx, actionRelease, cmds[i].Tag, result.Err,
			workerAttr(cmds[i].Token, result.Err), slog.Int64("version", int64(result.Value.Spool.Version)))
	}
	return results
}

func (s *Service) releaseCommand(ctx context.Context, req ReleaseRequest) (cmd ReleaseCommand, err error) {
	caller, err := s.admit(ctx)
	if err != nil {
		return cmd, err
	}
	if cmd.Tag, cmd.Token, err = s.parseTagAndToken(caller, req.Tag, req.Token); err != nil {
		return cmd, err
	}
	if cmd.Note, err = ParseNote(req.Note); err != nil {
		return cmd, err
	}
	cmd.ID, err = NewRequestID()
	return cmd, err
}
