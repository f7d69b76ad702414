package repository

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// ErrTooOld says that the Redis found cannot run the scripts, and ErrSentinel that it is a
// Sentinel, which keeps no locks.
var (
	ErrTooOld   = errors.New("redis 7.0 or newer is required")
	ErrSentinel = errors.New("REDIS_URL leads to a Sentinel, and must begin with redis+sentinel:// for that")
)

var (
	errCircuitOpen = errors.New("redis has not answered for a while, and is not asked for a moment")
	errTooMany     = errors.New("too many operations wait for redis")
	errTooLate     = errors.New("too little time was left to ask redis")
	errReplica     = errors.New("redis is a replica, and what it has may be old")
)

// errNoHosts says that a URL was not made by redisurl.Parse.
var errNoHosts = errors.New("the redis URL has no hosts")

var errForeignMessage = errors.New("not a message of the scripts")

// classify makes a *lock.UnavailableError of trouble that may pass by itself. What
// Redis refused was not applied, as the scripts write nothing before the first
// command that Redis can refuse; what was never sent was not applied either; of
// everything else that goes wrong on a connection nothing is known.
func classify(tag lock.Tag, err error, sent bool) error {
	unavailable := &lock.UnavailableError{
		Outcome: lock.NotApplied, Overloaded: errors.Is(err, errTooMany), Err: fmt.Errorf("spool %s: %w", tag, withoutSecrets(err)),
	}
	switch {
	case mayPass(err), isElsewhere(err), errors.Is(err, redis.Nil):
		return unavailable
	case isAnswer(err), errors.Is(err, redis.ErrClosed):
		return unavailable.Err
	case sent:
		unavailable.Outcome = lock.OutcomeUnknown
	}
	return unavailable
}

// mayPass reports whether Redis refused for a reason that may pass by itself.
func mayPass(err error) bool {
	return redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsClusterDownError(err) ||
		redis.IsTryAgainError(err) || redis.IsMasterDownError(err) || redis.IsNoReplicasError(err) ||
		redis.IsMaxClientsError(err) || redis.HasErrorPrefix(err, "BUSY ") || redis.HasErrorPrefix(err, "MISCONF ")
}

// errForgotten says that a retry came when it was no longer remembered whether an earlier
// attempt was applied.
var errForgotten = errors.New("the lock was extended so often since that it is not known whether this extension was applied")

// isAnswer reports whether Redis said it: OOM, NOAUTH, WRONGPASS, NOPERM,
// WRONGTYPE, an error of a script. No script answers nil: a Sentinel does, which knows no
// master of the name.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && !errors.Is(err, redis.Nil)
}

// isElsewhere reports whether Redis said that another master has the key, or will.
func isElsewhere(err error) bool {
	return redis.HasErrorPrefix(err, "MOVED ") || redis.HasErrorPrefix(err, "ASK ")
}

// refusal is what the log may have of what Redis answered.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError implements [redis.Error].
func (refusal) RedisError() {}

// answerClasses are the first words of what Redis answers when it refuses.
var answerClasses = []string{
	"ASK", "BUSY", "CLUSTERDOWN", "CROSSSLOT", "DENIED", "ERR", "EXECABORT", "INPROG", "IOERR", "LOADING", "MASTERDOWN",
	"MISCONF", "MOVED", "NOAUTH", "NOGOODSLAVE", "NOPERM", "NOPROTO", "NOREPLICAS", "NOSCRIPT", "OOM", "READONLY", "TRYAGAIN",
	"UNKILLABLE", "WRONGPASS", "WRONGTYPE",
}

// scriptLine is where Redis says in which line of a script an error was met.
var scriptLine = regexp.MustCompile(`user_script:(\d{1,5})`)

// classOf is what the log may have of an answer. The text itself can quote any argument of
// the command, as a password of AUTH and HELLO, or a token.
func classOf(answer string) refusal {
	class, rest, _ := strings.Cut(answer, " ")
	switch {
	case strings.HasPrefix(rest, "Protocol error: unauthenticated "): // to a long command
		class = "NOAUTH"
	case !slices.Contains(answerClasses, class):
		class = "ERR"
	}
	text := class + " is what redis answers"
	if line := scriptLine.FindStringSubmatch(answer); line != nil {
		text += ", about line " + line[1] + " of a script"
	}
	return refusal(text)
}

// unreadable are in what the client says of an answer that it cannot read, which it quotes.
var unreadable = []string{"redis: can't", "redis: invalid", "redis: unsupported", "bigInt("}

// withoutSecrets is err for the log, which is not to hold the address of Redis, nor anything
// that a server quotes.
func withoutSecrets(err error) error {
	var op *net.OpError
	var lookup *net.DNSError
	var certificate *tls.CertificateVerificationError
	var answer redis.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil):
		return errors.New("the sentinels know no master of the name that REDIS_URL has")
	case isElsewhere(err):
		return errors.New("redis says that another master has the spool")
	case redis.IsMaxClientsError(err):
		return refusal("ERR redis has as many clients as it may have")
	case errors.As(err, &certificate):
		return errors.New("the certificate of redis cannot be verified")
	case errors.As(err, &lookup):
		return fmt.Errorf("look up the host of redis: %s", lookup.Err)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	case errors.As(err, &answer):
		return classOf(answer.Error()) // what the answer is wrapped in may name several addresses
	case slices.ContainsFunc(unreadable, func(said string) bool { return strings.Contains(err.Error(), said) }):
		return errors.New("redis answers what cannot be read")
	default:
		return err
	}
}
