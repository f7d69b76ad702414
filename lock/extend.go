package lock

import (
	"context"
	"log/slog"
	"time"
)

// ExtendRequest is a request for more time, as the client wrote it.
type ExtendRequest struct {
	Tag   string
	Token string

	// By is how much the remaining time grows: 1 s … MaxTTL.
	By time.Duration

	// RequestID is nil where the client will not send the request again.
	RequestID *string
}

// ExtendCommand asks a [Store] to move the expiry of a lock.
type ExtendCommand struct {
	Tag    Tag
	Token  Token
	By     time.Duration
	MaxTTL time.Duration
	ID     RequestID // the same for each attempt at the same extension

	OfClient bool // the id is a client's request id

	// SinceFirst is how long ago the first attempt was made; 0: this is the first.
	SinceFirst time.Duration
}

// Extend lengthens the remaining time of the lock that the token holds. Value,
// owner and version stay. A request that was sent before with the same id, for
// the same lock, gets the answer it got then.
//
// It returns *ExpiredError if the spool is free, or its worker got another token for it;
// *OccupiedError if another worker holds it; *ForbiddenError as [Service.Release] does;
// *InvalidError, for [FieldExtension] if the remaining time would pass MaxTTL (Max then
// says how many seconds are still allowed) or the lock never expires; *RateLimitedError;
// or *UnavailableError.
func (s *Service) Extend(ctx context.Context, req ExtendRequest) (Lock, error) {
	return single(s.extendAll(ctx, []ExtendRequest{req}))
}

// ExtendAll extends each of 1 to 50 locks on its own: the results are those of
// [Service.Extend], in the order of the requests. It returns *InvalidError for
// [FieldItems], and extends nothing, where there are none, too many, or a tag
// twice.
func (s *Service) ExtendAll(ctx context.Context, reqs []ExtendRequest) ([]Result[Lock], error) {
	if err := checkBatch(s, FieldItems, reqs, func(r ExtendRequest) string { return r.Tag }); err != nil {
		return nil, err
	}
	return s.extendAll(ctx, reqs), nil
}

func (s *Service) extendAll(ctx context.Context, reqs []ExtendRequest) []Result[Lock] {
	cmds, results := parseBatch[Lock](ctx, reqs, s.extendCommand)
	begun, first := time.Now(), true
	try(ctx, s, cmds, results, func(ctx context.Context, cmds []ExtendCommand) []Result[Lock] {
		for i := range cmds {
			if !first {
				cmds[i].SinceFirst = max(time.Since(begun), time.Millisecond)
			}
		}
		first = false
		return s.store.Extend(ctx, cmds)
	})
	for i, result := range results {
		s.audit(ctx, actionExtend, cmds[i].Tag, result.Err,
			workerAttr(cmds[i].Token, result.Err), slog.Int64("version", int64(result.Value.Version)),
			slog.Time("expires", result.Value.ExpiresAt))
	}
	return results
}

func (s *Service) extendCommand(ctx context.Context, req ExtendRequest) (cmd ExtendCommand, err error) {
	caller, err := s.admit(ctx)
	if err != nil {
		return cmd, err
	}
	if cmd.Tag, cmd.Token, err = s.parseTagAndToken(caller, req.Tag, req.Token); err != nil {
		return cmd, err
	}
	if err = s.checkDuration(FieldExtension, req.By); err != nil {
		return cmd, err
	}
	cmd.By, cmd.MaxTTL = req.By, s.config.Limits.MaxTTL
	cmd.OfClient = req.RequestID != nil
	cmd.ID, err = parseOrNewRequestID(req.RequestID)
	return cmd, err
}
