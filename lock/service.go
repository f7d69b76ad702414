package lock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Limits are the bounds that clients may ask for.
type Limits struct {
	// DefaultTTL is the time to live of a lock whose take names none; at most
	// MaxTTL.
	DefaultTTL time.Duration

	// MaxTTL is the longest that a lock may remain, counted from any moment.
	MaxTTL time.Duration
}

// Config configures a [Service]. Every field is required.
type Config struct {
	Limits Limits

	// Tags makes the tags.
	Tags TagParser

	// Timeout is the whole time that one operation may take, all attempts and the
	// pauses between them included.
	Timeout time.Duration

	// Attempts is how often an operation is tried in all, at least 1.
	Attempts int
}

// Service takes, releases and extends locks, and says who holds a spool. It
// checks every input, and tries again where the store was out of reach. Its
// methods are safe for concurrent use; [Service.Close] ends it.
type Service struct {
	store   Store
	config  Config
	orphans *orphans
}

// NewService returns a Service over store. It starts nothing until an answer is
// lost.
func NewService(store Store, config Config, log *slog.Logger) *Service {
	return &Service{store: store, config: config, orphans: newOrphans(store, config.Timeout, log)}
}

// Close goes on taking back what is still to be taken back, until ctx is done. No
// other method may be called afterwards.
func (s *Service) Close(ctx context.Context) { s.orphans.close(ctx) }

// Limits returns the bounds in force.
func (s *Service) Limits() Limits { return s.config.Limits }

// TakeRequest is a request to take a spool, as the client wrote it.
type TakeRequest struct {
	Tag        string
	WorkerID   string
	WorkerName string
	Note       string // empty: none

	// TTL is nil for the default; otherwise 1 s … MaxTTL.
	TTL *time.Duration

	// ExpectedVersion is nil to take the spool whatever its version.
	ExpectedVersion *Version

	// RequestID is nil where the client will not send the request again.
	RequestID *string
}

// Taken is the answer to a take.
type Taken struct {
	Lock  Lock
	Token Token

	// Replayed says that this very request, with the client's request id, had taken
	// the spool before: an earlier sending of it, or an attempt of this one whose
	// answer was lost.
	Replayed bool
}

// Take occupies a free spool for the worker.
//
// It returns *OccupiedError if anybody holds the spool, the same worker
// included; *VersionConflictError if the spool is free and its version is not
// the expected one; *ExpiredError if the lock that this request took before has
// ended; *InvalidError; or *UnavailableError. A request that was sent before
// with the same id and worker gets its lock again, whatever else it says.
func (s *Service) Take(ctx context.Context, req TakeRequest) (Taken, error) {
	cmd, err := s.takeCommand(req)
	if err != nil {
		return Taken{}, err
	}
	taken, lost, err := try(ctx, s, func(ctx context.Context) (Taken, error) {
		lock, replayed, err := s.store.Take(ctx, cmd)
		return Taken{Lock: lock, Token: cmd.Token, Replayed: replayed}, err
	})
	if req.RequestID != nil {
		return taken, err
	}
	// Nobody but this call knows the token: what it replayed is an attempt of its
	// own, and a lock that nobody will be told of must not stay.
	taken.Replayed = false
	if err == nil && ctx.Err() != nil {
		lost, err = true, &UnavailableError{Outcome: OutcomeUnknown, Err: context.Cause(ctx)}
	}
	if lost && err != nil {
		s.orphans.add(orphan{tag: cmd.Tag, token: cmd.Token, lapses: time.Now().Add(cmd.TTL)})
	}
	return taken, err
}

func (s *Service) takeCommand(req TakeRequest) (cmd TakeCommand, err error) {
	if cmd.Tag, err = s.config.Tags.Parse(req.Tag); err != nil {
		return cmd, err
	}
	if cmd.Owner.ID, err = ParseWorkerID(req.WorkerID); err != nil {
		return cmd, err
	}
	if cmd.Owner.Name, err = ParseWorkerName(req.WorkerName); err != nil {
		return cmd, err
	}
	if cmd.Note, err = ParseNote(req.Note); err != nil {
		return cmd, err
	}
	cmd.TTL = s.config.Limits.DefaultTTL
	if req.TTL != nil {
		cmd.TTL = *req.TTL
	}
	if err = s.checkDuration(FieldTTL, cmd.TTL); err != nil {
		return cmd, err
	}
	cmd.Expected = req.ExpectedVersion
	if v := req.ExpectedVersion; v != nil && (*v < 0 || *v > MaxVersion) {
		return cmd, bounded(FieldExpectedVersion, ReasonOutOfRange,
			fmt.Sprintf("must be 0 to %d", MaxVersion), 0, int64(MaxVersion))
	}
	id, err := requestID(req.RequestID)
	if err != nil {
		return cmd, err
	}
	cmd.Token = NewToken(cmd.Owner.ID, id)
	return cmd, nil
}

// ReleaseRequest is a request to release a spool, as the client wrote it.
type ReleaseRequest struct {
	Tag   string
	Token string
}

// Released is the answer to a release.
type Released struct {
	Outcome ReleaseOutcome
	Spool   Spool // as it stands afterwards
}

// Release ends the lock that the token holds, and never another one: for a token
// that does not hold the spool, the outcome says what became of it.
//
// It returns *InvalidError or *UnavailableError.
func (s *Service) Release(ctx context.Context, req ReleaseRequest) (Released, error) {
	tag, token, err := s.holding(req.Tag, req.Token)
	if err != nil {
		return Released{}, err
	}
	id, err := NewRequestID()
	if err != nil {
		return Released{}, err
	}
	cmd := ReleaseCommand{Tag: tag, Token: token, ID: id}
	released, _, err := try(ctx, s, func(ctx context.Context) (Released, error) {
		outcome, spool, err := s.store.Release(ctx, cmd)
		return Released{Outcome: outcome, Spool: spool}, err
	})
	return released, err
}

// ExtendRequest is a request for more time, as the client wrote it.
type ExtendRequest struct {
	Tag   string
	Token string

	// By is how much the remaining time grows: 1 s … MaxTTL.
	By time.Duration

	// RequestID is nil where the client will not send the request again.
	RequestID *string
}

// Extend lengthens the remaining time of the lock that the token holds. Value,
// owner and version stay. A request that was sent before with the same id, for
// the same lock, gets the answer it got then.
//
// It returns *ExpiredError if nobody holds the spool; *OccupiedError if somebody
// else does; *InvalidError, for [FieldExtension] if the remaining time would
// pass MaxTTL (Max then says how many seconds are still allowed) or the lock
// never lapses; or *UnavailableError.
func (s *Service) Extend(ctx context.Context, req ExtendRequest) (Lock, error) {
	tag, token, err := s.holding(req.Tag, req.Token)
	if err != nil {
		return Lock{}, err
	}
	if err := s.checkDuration(FieldExtension, req.By); err != nil {
		return Lock{}, err
	}
	id, err := requestID(req.RequestID)
	if err != nil {
		return Lock{}, err
	}
	cmd := ExtendCommand{Tag: tag, Token: token, By: req.By, MaxTTL: s.config.Limits.MaxTTL, ID: id}
	lock, _, err := try(ctx, s, func(ctx context.Context) (Lock, error) {
		return s.store.Extend(ctx, cmd)
	})
	return lock, err
}

// Spool answers a spool as it stands at the time of the call. It returns
// *InvalidError or *UnavailableError.
func (s *Service) Spool(ctx context.Context, tag string) (Spool, error) {
	parsed, err := s.config.Tags.Parse(tag)
	if err != nil {
		return Spool{}, err
	}
	spool, _, err := try(ctx, s, func(ctx context.Context) (Spool, error) {
		return s.store.Read(ctx, parsed)
	})
	if unavailable := (*UnavailableError)(nil); errors.As(err, &unavailable) {
		unavailable.Outcome = NotApplied // a read has nothing to apply, whatever became of its answer
	}
	return spool, err
}

// holding parses what a holder shows.
func (s *Service) holding(tag, token string) (Tag, Token, error) {
	parsedTag, err := s.config.Tags.Parse(tag)
	if err != nil {
		return "", Token{}, err
	}
	parsedToken, err := ParseToken(token)
	return parsedTag, parsedToken, err
}

func (s *Service) checkDuration(field Field, d time.Duration) error {
	maximum := s.config.Limits.MaxTTL
	if time.Second <= d && d <= maximum {
		return nil
	}
	seconds := int64(maximum / time.Second)
	return bounded(field, ReasonOutOfRange, fmt.Sprintf("must be 1 to %d seconds", seconds), 1, seconds)
}

func requestID(given *string) (RequestID, error) {
	if given == nil {
		return NewRequestID()
	}
	return ParseRequestID(*given)
}
