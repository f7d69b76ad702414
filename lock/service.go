package lock

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// Limits are the bounds that clients may ask for.
type Limits struct {
	// DefaultTTL is the time to live of a lock where the take names none; at most
	// MaxTTL.
	DefaultTTL time.Duration

	// MaxTTL is the longest that a lock may remain, counted from any moment.
	MaxTTL time.Duration

	// LocksPerWorker is how many locks one worker may have; 0: any number. A partner may
	// have ten times as many with all its workers.
	LocksPerWorker int
}

// Config configures a [Service]. Every field is required but Admit and BeginFresh, and
// Held and HeldByPartner where Limits.LocksPerWorker is 0.
type Config struct {
	Limits Limits

	// Held says how many locks a worker is known to have, for Limits.LocksPerWorker, and
	// whether the spool is known to be held: then its take gives no further lock. What
	// other processes did a moment ago may be missing, so that a worker who takes spools
	// through several of them at once can get some more. What this process is taking is
	// counted in addition, for a moment twice, so that a take can be refused too early.
	Held func(WorkerID, Tag) (locks int, occupied bool)

	// HeldByPartner is how many locks a partner and all its workers are known to have,
	// likewise.
	HeldByPartner func(WorkerID) int

	// Admit lets a change by the caller of the context through, one item of several at a
	// time, or fails with *RateLimitedError; nil: it lets all through.
	Admit func(context.Context) error

	// BeginFresh begins a take by the caller of the context that may be of a fresh spool, one
	// of which nothing is remembered. It fails with *RateLimitedError if the caller may take
	// no further one. end says whether the spool was fresh, and is never nil. BeginFresh is
	// nil if nothing limits them.
	BeginFresh func(context.Context) (end func(fresh bool), err error)

	// Tags makes the tags.
	Tags TagParser

	// Timeout is the whole time that one operation may take, all attempts and the
	// pauses between them included.
	Timeout time.Duration

	// Attempts is how often an operation is tried in all, at least 1.
	Attempts int
}

// Service takes, releases and extends locks, and says who holds a spool. It
// checks every input, and tries again where the store was out of reach. What a caller
// changes, and is not allowed to change, it says in the log. Its methods are safe for
// concurrent use; [Service.Close] ends it.
type Service struct {
	store    Store
	config   Config
	log      *slog.Logger
	holdings *holdings
	orphans  *orphans
	retries  atomic.Int64
}

// NewService returns a Service over store. It starts nothing until an answer is
// lost.
func NewService(store Store, config Config, log *slog.Logger) *Service {
	if config.Admit == nil {
		config.Admit = func(context.Context) error { return nil }
	}
	if config.BeginFresh == nil {
		config.BeginFresh = func(context.Context) (func(bool), error) { return func(bool) {}, nil }
	}
	return &Service{
		store: store, config: config, log: log,
		holdings: newHoldings(config),
		orphans:  newOrphans(store, config.Timeout, log),
	}
}

// Close goes on taking back what is still to be taken back, until ctx is done. An
// attempt that the store has not answered then is waited for no longer. No other
// method may be called afterwards.
func (s *Service) Close(ctx context.Context) { s.orphans.close(ctx) }

// Retries is how many attempts there were that were not the first of their
// operation.
func (s *Service) Retries() int64 { return s.retries.Load() }

// Limits returns the bounds in force.
func (s *Service) Limits() Limits { return s.config.Limits }

// Tags is what makes the tags.
func (s *Service) Tags() TagParser { return s.config.Tags }

// admit returns the caller if a change by it is let through, and why it is not otherwise.
func (s *Service) admit(ctx context.Context) (Caller, error) {
	caller, _ := CallerOf(ctx)
	return caller, s.config.Admit(ctx)
}

// parseTagAndToken parses what a holder shows. It returns *ForbiddenError unless the caller
// may act as the worker that the token names. A token that names no worker is another
// program's, and every caller may use it.
func (s *Service) parseTagAndToken(caller Caller, tag, token string) (Tag, Token, error) {
	parsedTag, err := s.config.Tags.Parse(tag)
	if err != nil {
		return "", Token{}, err
	}
	parsedToken, err := ParseToken(token)
	if owner, _, named := strings.Cut(token, ":"); err == nil && named && owner != "" && !caller.ActsAs(WorkerID(owner)) {
		err = notTheOwner(parsedToken)
	}
	return parsedTag, parsedToken, err
}

func (s *Service) checkDuration(field Field, d time.Duration) error {
	maximum := s.config.Limits.MaxTTL
	if time.Second <= d && d <= maximum {
		return nil
	}
	seconds := int64(maximum / time.Second)
	return outsideBounds(field, ReasonOutOfRange, fmt.Sprintf("must be 1 to %d seconds", seconds), 1, seconds)
}
