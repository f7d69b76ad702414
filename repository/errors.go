package repository

import (
	"errors"
	"net"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// classify makes a *lock.UnavailableError of trouble that may pass by itself.
// What Redis answered was not applied, as the scripts write nothing before the
// first command that can fail; what was never sent was not applied either; of
// everything else that goes wrong on a connection nothing is known.
func classify(err error) error {
	switch {
	case redis.IsLoadingError(err), redis.IsReadOnlyError(err), redis.IsClusterDownError(err),
		redis.IsTryAgainError(err), redis.IsMasterDownError(err), redis.IsNoReplicasError(err),
		redis.IsMaxClientsError(err), errors.Is(err, redis.ErrPoolTimeout), isDialError(err):
		return &lock.UnavailableError{Outcome: lock.NotApplied, Err: err}
	case isAnswer(err), errors.Is(err, redis.ErrClosed):
		return err
	default:
		return &lock.UnavailableError{Outcome: lock.OutcomeUnknown, Err: err}
	}
}

// isAnswer reports whether Redis said it: OOM, NOAUTH, WRONGPASS, NOPERM,
// WRONGTYPE, an error of a script.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
