package lock

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// action names what a caller did, in the records of the audit.
type action string

const (
	actionTake         action = "TAKE"
	actionRelease      action = "RELEASE"
	actionExtend       action = "EXTEND"
	actionResume       action = "RESUME"
	actionForceRelease action = "FORCE_RELEASE"
	actionCall         action = "CALL" // of what the caller's role does not allow at all
)

// Refuse returns why a caller without the required role is refused: *ForbiddenError, or
// [ErrUnauthenticated] for an anonymous one. That is a record of the audit, too, with what
// was asked for. It counts as a change, so that a caller cannot flood the log with it, and
// can be *RateLimitedError instead.
func (s *Service) Refuse(ctx context.Context, what string, required Role) error {
	if err := s.config.Admit(ctx); err != nil {
		return err
	}
	err := ErrUnauthenticated
	if caller, _ := CallerOf(ctx); !caller.Anonymous() {
		err = &ForbiddenError{Required: required}
	}
	s.audit(ctx, actionCall, "", err, slog.String("field", what))
	return err
}

// workerAttr is the worker that a token names, for the records.
func workerAttr(token Token, err error) slog.Attr {
	return slog.String("worker", string(namedWorker(token, err == nil)))
}

// RecordAtOnce reports whether a record of the log must be written before its caller is
// answered, so that not even a process that is killed loses it: a warning, an error, a
// refusal, or the audit of a forced release.
func RecordAtOnce(record slog.Record) (atOnce bool) {
	record.Attrs(func(attr slog.Attr) bool {
		atOnce = attr.Key == "action" && attr.Value.String() == string(actionForceRelease)
		return false // an audit begins with its action
	})
	return atOnce || record.Level >= slog.LevelWarn
}

// audit writes one record of what the caller did, or was refused: action, outcome, caller,
// role and address, why it is forbidden, and of tag and more what is known. The outcome is
// DONE; UNKNOWN, where the change may have been made; or FORBIDDEN or UNAUTHENTICATED,
// where the caller may not make it. What changed nothing for any other reason has no
// record, and neither has what the program does by itself.
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
	if !s.log.Enabled(ctx, level) {
		return
	}
	// Not through the logger, which looks for the line of code that writes the record.
	record := slog.NewRecord(time.Now(), level, "audit", 0)
	record.AddAttrs(
		slog.String("action", string(action)), slog.String("outcome", outcome),
		slog.String("caller", string(caller.Worker.ID)), slog.String("role", string(caller.Role)),
		slog.String("address", caller.Address.String()),
	)
	if forbidden != nil {
		record.AddAttrs(slog.String("why", forbidden.Error()))
	}
	if tag != "" {
		record.AddAttrs(slog.String("tag", string(tag)))
	}
	record.AddAttrs(slices.DeleteFunc(more, func(attr slog.Attr) bool { return isZero(attr.Value) })...)
	_ = s.log.Handler().Handle(ctx, record)
}

// isZero reports whether a value says nothing.
func isZero(value slog.Value) bool {
	switch value.Kind() {
	case slog.KindString:
		return value.String() == ""
	case slog.KindInt64:
		return value.Int64() == 0
	case slog.KindTime:
		return value.Time().IsZero()
	case slog.KindBool:
		return !value.Bool()
	default:
		return false
	}
}
