package repository

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// classify makes a *lock.UnavailableError of trouble that may pass by itself. What
// Redis refused was not applied, as the scripts write nothing before the first
// command that Redis can refuse; what was never sent was not applied either; of
// everything else that goes wrong on a connection nothing is known.
func classify(tag lock.Tag, err error) error {
	switch {
	case redis.IsLoadingError(err), redis.IsReadOnlyError(err), redis.IsClusterDownError(err),
		redis.IsTryAgainError(err), redis.IsMasterDownError(err), redis.IsNoReplicasError(err),
		redis.IsMaxClientsError(err), redis.HasErrorPrefix(err, "BUSY "),
		redis.HasErrorPrefix(err, "MISCONF "), redis.HasErrorPrefix(err, "MOVED "), redis.HasErrorPrefix(err, "ASK "),
		neverSent(err):
		return &lock.UnavailableError{Outcome: lock.NotApplied, Err: fmt.Errorf("spool %s: %w", tag, withoutAddress(err))}
	case isAnswer(err), errors.Is(err, redis.ErrClosed):
		return fmt.Errorf("spool %s: %w", tag, err)
	default:
		return &lock.UnavailableError{Outcome: lock.OutcomeUnknown, Err: fmt.Errorf("spool %s: %w", tag, withoutAddress(err))}
	}
}

// isAnswer reports whether Redis said it: OOM, NOAUTH, WRONGPASS, NOPERM,
// WRONGTYPE, an error of a script.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}

// neverSent reports whether there was no connection to send anything on. The
// client meets the context's own errors only while it waits for one: on a
// connection, a deadline is a time-out of the network.
func neverSent(err error) bool {
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &certificate) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, errNotSent)
}

// withoutAddress is err for the log, which is not to hold the address of Redis.
func withoutAddress(err error) error {
	var op *net.OpError
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return errors.New("the certificate of redis cannot be verified")
	case errors.As(err, &lookup):
		return fmt.Errorf("look up the host of redis: %s", lookup.Err)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	default:
		return err
	}
}
