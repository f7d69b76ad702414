package lock

import (
	"context"
	"log/slog"
	"time"
)

// TakeRequest is a request to take a spool, as the client wrote it.
type TakeRequest struct {
	Tag string

	// WorkerID and WorkerName are the worker's; empty: the caller's own.
	WorkerID, WorkerName string

	Note string // empty: none

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

	// Fresh says that nothing was remembered of the spool before the take.
	Fresh bool
}

// TakeCommand asks a [Store] for a lock.
type TakeCommand struct {
	Tag      Tag
	Owner    Worker
	Note     string
	TTL      time.Duration
	Token    Token
	Expected *Version // nil: whatever the version
	AtLimit  bool     // the owner gets no further lock, only one that the token has
	OfClient bool     // the token is made from a client's request id
}

// Take occupies a free spool for the worker.
//
// It returns *OccupiedError if any worker holds the spool, the same worker
// included; *VersionConflictError if the spool is free and its version is not
// the expected one; *ExpiredError if the lock that this request took before has
// ended; *ForbiddenError if the caller may not act as the worker; *LimitError if the
// spool is free, and the worker, or the caller as a partner, has as many locks as it may
// have; *RateLimitedError, also if the spool is free and was never seen before, and the
// caller has taken as many of those as it may; *InvalidError; or *UnavailableError. A request
// that was sent before with the same id and worker gets its lock again, whatever else it says.
func (s *Service) Take(ctx context.Context, req TakeRequest) (Taken, error) {
	return single(s.takeAll(ctx, []TakeRequest{req}))
}

// TakeAll takes each of 1 to 50 spools on its own: the results are those of
// [Service.Take], in the order of the requests. It returns *InvalidError for
// [FieldItems], and takes nothing, where there are none, too many, or a tag twice.
func (s *Service) TakeAll(ctx context.Context, reqs []TakeRequest) ([]Result[Taken], error) {
	if err := checkBatch(s, FieldItems, reqs, func(r TakeRequest) string { return r.Tag }); err != nil {
		return nil, err
	}
	return s.takeAll(ctx, reqs), nil
}

func (s *Service) takeAll(ctx context.Context, reqs []TakeRequest) []Result[Taken] {
	deadline := time.Now().Add(s.config.Timeout)
	cmds, results := parseBatch[Taken](ctx, reqs, s.takeCommand)
	quotas := make([]quota, len(cmds))
	for i := range cmds {
		if results[i].Err == nil {
			defer s.beginTake(ctx, &cmds[i], &quotas[i])()
		}
	}
	lost := try(ctx, s, cmds, results, s.store.Take)
	s.finishAtLimit(ctx, deadline, cmds, quotas, results, lost)
	for i, req := range reqs {
		quotas[i].tookFresh = countsAsFresh(ctx, cmds[i], results[i], lost[i])
		results[i] = s.finishTake(ctx, req, cmds[i], results[i], lost[i])
	}
	for i, result := range results {
		s.audit(ctx, actionTake, cmds[i].Tag, result.Err,
			slog.String("worker", string(cmds[i].Owner.ID)), slog.Int64("version", int64(result.Value.Lock.Version)),
			slog.Bool("replayed", result.Value.Replayed))
	}
	return results
}

// finishTake makes the result of a take of what became of its attempts, lost as [try] says.
// A lock that may exist without a caller who knows its token is taken back, and so is
// one of a take that is refused in the end.
func (s *Service) finishTake(ctx context.Context, req TakeRequest, cmd TakeCommand, result Result[Taken], lost bool) Result[Taken] {
	toBeSentAgain := req.RequestID != nil && IsUnavailable(result.Err)
	if req.RequestID == nil {
		// Only this call knows the token: what it replayed is an attempt of its own, and a
		// lock that no caller is told of must not stay.
		result.Value.Replayed = false
		if result.Err == nil && ctx.Err() != nil {
			lost, result.Err = true, &UnavailableError{Outcome: OutcomeUnknown, Err: context.Cause(ctx)}
		}
	}
	// One that was to get no further lock cannot have got one.
	if lost && result.Err != nil && !toBeSentAgain && !cmd.AtLimit {
		s.orphans.add(orphan{tag: cmd.Tag, token: cmd.Token, expires: time.Now().Add(cmd.TTL)})
	}
	return result
}

func (s *Service) takeCommand(ctx context.Context, req TakeRequest) (cmd TakeCommand, err error) {
	caller, err := s.admit(ctx)
	if err != nil {
		return cmd, err
	}
	if cmd.Tag, err = s.config.Tags.Parse(req.Tag); err != nil {
		return cmd, err
	}
	if cmd.Owner, err = caller.resolveWorker(req.WorkerID, req.WorkerName); err != nil {
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
	if v := req.ExpectedVersion; v != nil {
		if err = checkVersion(*v); err != nil {
			return cmd, err
		}
	}
	id, err := parseOrNewRequestID(req.RequestID)
	if err != nil {
		return cmd, err
	}
	cmd.Token, cmd.OfClient = NewToken(cmd.Owner.ID, id), req.RequestID != nil
	return cmd, nil
}
