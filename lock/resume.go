package lock

import (
	"context"
	"log/slog"
)

// ResumeRequest is a request for another token, as the client wrote it.
type ResumeRequest struct {
	Tag string

	// RequestID is nil where the client will not send the request again.
	RequestID *string
}

// ResumeCommand asks a [Store] for another token.
type ResumeCommand struct {
	Tag    Tag
	Worker WorkerID
	Token  Token

	OfClient bool // the token is made from a client's request id
}

// Resume gives the caller's own lock another token, and another version; its expiry
// stays. The token that held it until then is dead. A request that was sent before
// with the same id gets the same token again.
//
// It returns [ErrUnauthenticated] if the caller is anonymous; *OccupiedError if the lock is
// not the caller's, or was not taken through this package; *ExpiredError if the spool is
// free, or if the lock that this request got before has ended; *RateLimitedError;
// *InvalidError; or *UnavailableError.
func (s *Service) Resume(ctx context.Context, req ResumeRequest) (Taken, error) {
	cmd, err := s.resumeCommand(ctx, req)
	result := Result[Taken]{Err: err}
	if err == nil {
		result = tryOne(ctx, s, cmd, s.store.Resume)
	}
	s.audit(ctx, actionResume, cmd.Tag, result.Err,
		slog.String("worker", string(cmd.Worker)), slog.Int64("version", int64(result.Value.Lock.Version)),
		slog.Bool("replayed", result.Value.Replayed))
	return result.Value, result.Err
}

func (s *Service) resumeCommand(ctx context.Context, req ResumeRequest) (cmd ResumeCommand, err error) {
	caller, err := s.admit(ctx)
	if err != nil {
		return cmd, err
	}
	tag, invalid := s.config.Tags.Parse(req.Tag)
	cmd.Tag, cmd.Worker = tag, caller.Worker.ID
	if caller.Anonymous() {
		return cmd, ErrUnauthenticated
	}
	if invalid != nil {
		return cmd, invalid
	}
	id, err := parseOrNewRequestID(req.RequestID)
	if err != nil {
		return cmd, err
	}
	cmd.Token, cmd.OfClient = NewToken(cmd.Worker, id), req.RequestID != nil
	return cmd, nil
}
