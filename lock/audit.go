package lock

import (
	"context"
	"errors"
	"log/slog"
)

// action names what somebody did, in the records of the audit.
type action string

const (
	actionTake         action = "TAKE"
	actionRelease      action = "RELEASE"
	actionExtend       action = "EXTEND"
	actionResume       action = "RESUME"
	actionForceRelease action = "FORCE_RELEASE"
)

// namedBy is whom a token names, for the records. A token that nobody has looked up may be
// anything: what is no worker id is left out, and so is a UUID, which may be the secret.
func namedBy(token Token, err error) slog.Attr {
	owner := string(OwnerOf(token.Reveal()))
	_, invalid := ParseWorkerID(owner)
	if _, secret := ParseRequestID(owner); invalid != nil || err != nil && secret == nil {
		owner = ""
	}
	return slog.String("worker", owner)
}

// audit writes one record of what the caller did, or was refused: action, outcome, tag,
// caller, role and address, and more. The outcome is DONE; UNKNOWN, where the change may
// have been made; or FORBIDDEN or UNAUTHENTICATED, where the caller may not make it.
// What changed nothing for any other reason has no record, and neither has what the
// program does by itself.
func (s *Service) audit(ctx context.Context, action action, tag Tag, err error, more ...slog.Attr) {
	caller, asked := CallerOf(ctx)
	level, outcome := slog.LevelInfo, "DONE"
	unavailable, forbidden := (*UnavailableError)(nil), (*ForbiddenError)(nil)
	switch {
	case !asked:
		return
	case err == nil:
	case errors.As(err, &unavailable) && unavailable.Outcome == OutcomeUnknown:
		outcome = string(OutcomeUnknown)
	case errors.As(err, &forbidden):
		level, outcome = slog.LevelWarn, "FORBIDDEN"
	case errors.Is(err, ErrUnauthenticated):
		level, outcome = slog.LevelWarn, "UNAUTHENTICATED"
	default:
		return
	}
	s.log.LogAttrs(ctx, level, "audit", append([]slog.Attr{
		slog.String("action", string(action)), slog.String("outcome", outcome), slog.String("tag", string(tag)),
		slog.String("caller", string(caller.Worker.ID)), slog.String("role", string(caller.Role)),
		slog.Any("address", caller.Address),
	}, more...)...)
}
