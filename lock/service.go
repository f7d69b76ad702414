package lock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// Limits are the bounds that clients may ask for.
type Limits struct {
	// DefaultTTL is the time to live of a lock whose take names none; at most
	// MaxTTL.
	DefaultTTL time.Duration

	// MaxTTL is the longest that a lock may remain, counted from any moment.
	MaxTTL time.Duration

	// LocksPerWorker is how many locks one worker may have; 0: any number.
	LocksPerWorker int
}

// Config configures a [Service]. Every field is required but Admit, and Held where
// Limits.LocksPerWorker is 0.
type Config struct {
	Limits Limits

	// Held says how many locks a worker is known to have, for Limits.LocksPerWorker, and
	// whether anybody is known to have the spool, whose take gives no further lock. What
	// other processes did a moment ago may be missing, so that a worker who takes spools
	// through several of them at once can get some more. What this process is taking is
	// counted beside it, for a moment twice, so that one can be refused too early.
	Held func(WorkerID, Tag) (locks int, occupied bool)

	// Admit lets a change that the caller of the context asks for through, one item of
	// several at a time, or fails with *RateLimitedError; nil: it lets all through.
	Admit func(context.Context) error

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
	return &Service{
		store: store, config: config, log: log,
		holdings: newHoldings(config.Limits.LocksPerWorker, config.Held),
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

// TakeRequest is a request to take a spool, as the client wrote it.
type TakeRequest struct {
	Tag string

	// WorkerID and WorkerName are for whom; empty: the caller, as [CallerOf] has it.
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
}

// Take occupies a free spool for the worker.
//
// It returns *OccupiedError if anybody holds the spool, the same worker
// included; *VersionConflictError if the spool is free and its version is not
// the expected one; *ExpiredError if the lock that this request took before has
// ended; *ForbiddenError if the caller may not act as the worker; *LimitError if the
// spool is free, and the worker has as many locks as it may have; *RateLimitedError;
// *InvalidError; or *UnavailableError. A request that was sent before with the same id
// and worker gets its lock again, whatever else it says.
func (s *Service) Take(ctx context.Context, req TakeRequest) (Taken, error) {
	return one(s.takeAll(ctx, []TakeRequest{req}))
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
	cmds, results := parseAll[TakeRequest, TakeCommand, Taken](ctx, reqs, admitted(ctx, s, s.takeCommand))
	for _, at := range cmds.places {
		cmd := &cmds.all[at]
		limit, end := s.holdings.begin(cmd.Owner.ID, cmd.Tag)
		cmd.Limit = limit
		defer end()
	}
	for i, tried := range try(ctx, s, cmds.parsed(), s.store.Take) {
		at := cmds.places[i]
		results[at] = s.settle(ctx, reqs[at], cmds.all[at], tried)
	}
	for i, result := range results {
		s.audit(ctx, actionTake, cmds.all[i].Tag, result.Err,
			slog.String("worker", string(cmds.all[i].Owner.ID)), slog.Int64("version", int64(result.Value.Lock.Version)),
			slog.Bool("replayed", result.Value.Replayed))
	}
	return results
}

// settle makes the result of a take, and has taken back what nobody will be told of: a
// lock whose token nobody knows, or one that is refused now and may yet be had.
func (s *Service) settle(ctx context.Context, req TakeRequest, cmd TakeCommand, tried tried[Taken]) Result[Taken] {
	toBeSentAgain := req.RequestID != nil && IsUnavailable(tried.Err)
	if req.RequestID == nil {
		// Nobody but this call knows the token: what it replayed is an attempt of its
		// own, and a lock that nobody will be told of must not stay.
		tried.Value.Replayed = false
		if tried.Err == nil && ctx.Err() != nil {
			tried.lost, tried.Err = true, &UnavailableError{Outcome: OutcomeUnknown, Err: context.Cause(ctx)}
		}
	}
	// One that was to get no further lock cannot have got one.
	if tried.lost && tried.Err != nil && !toBeSentAgain && cmd.Limit == nil {
		s.orphans.add(orphan{tag: cmd.Tag, token: cmd.Token, lapses: time.Now().Add(cmd.TTL)})
	}
	return tried.Result
}

func (s *Service) takeCommand(caller Caller, req TakeRequest) (cmd TakeCommand, err error) {
	if cmd.Tag, err = s.config.Tags.Parse(req.Tag); err != nil {
		return cmd, err
	}
	if cmd.Owner, err = caller.worker(req.WorkerID, req.WorkerName); err != nil {
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
// It returns *ForbiddenError if the caller may not act as the worker whom the token
// names; *RateLimitedError; *InvalidError; or *UnavailableError.
func (s *Service) Release(ctx context.Context, req ReleaseRequest) (Released, error) {
	return one(s.releaseAll(ctx, []ReleaseRequest{req}))
}

// ReleaseAll releases each of 1 to 50 spools on its own: the results are those of
// [Service.Release], in the order of the requests. It returns *InvalidError for
// [FieldItems], and releases nothing, where there are none, too many, or a tag
// twice.
func (s *Service) ReleaseAll(ctx context.Context, reqs []ReleaseRequest) ([]Result[Released], error) {
	if err := checkBatch(s, FieldItems, reqs, func(r ReleaseRequest) string { return r.Tag }); err != nil {
		return nil, err
	}
	return s.releaseAll(ctx, reqs), nil
}

func (s *Service) releaseAll(ctx context.Context, reqs []ReleaseRequest) []Result[Released] {
	cmds, results := parseAll[ReleaseRequest, ReleaseCommand, Released](ctx, reqs, admitted(ctx, s, s.releaseCommand))
	for i, tried := range try(ctx, s, cmds.parsed(), s.store.Release) {
		results[cmds.places[i]] = tried.Result
	}
	for i, result := range results {
		if result.Err == nil && result.Value.Outcome != OutcomeReleased {
			continue
		}
		s.audit(ctx, actionRelease, cmds.all[i].Tag, result.Err,
			namedBy(cmds.all[i].Token, result.Err), slog.Int64("version", int64(result.Value.Spool.Version)))
	}
	return results
}

func (s *Service) releaseCommand(caller Caller, req ReleaseRequest) (cmd ReleaseCommand, err error) {
	if cmd.Tag, cmd.Token, err = s.holding(caller, req.Tag, req.Token); err != nil {
		return cmd, err
	}
	cmd.ID, err = NewRequestID()
	return cmd, err
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
// It returns *ExpiredError if nobody holds the spool, or its worker got another token
// for it; *OccupiedError if somebody else does; *ForbiddenError as [Service.Release]
// does; *InvalidError, for [FieldExtension] if the remaining time would
// pass MaxTTL (Max then says how many seconds are still allowed) or the lock
// never lapses; *RateLimitedError; or *UnavailableError.
func (s *Service) Extend(ctx context.Context, req ExtendRequest) (Lock, error) {
	return one(s.extendAll(ctx, []ExtendRequest{req}))
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
	cmds, results := parseAll[ExtendRequest, ExtendCommand, Lock](ctx, reqs, admitted(ctx, s, s.extendCommand))
	for i, tried := range try(ctx, s, cmds.parsed(), s.store.Extend) {
		results[cmds.places[i]] = tried.Result
	}
	for i, result := range results {
		s.audit(ctx, actionExtend, cmds.all[i].Tag, result.Err,
			namedBy(cmds.all[i].Token, result.Err), slog.Int64("version", int64(result.Value.Version)),
			slog.Time("expires", result.Value.ExpiresAt))
	}
	return results
}

func (s *Service) extendCommand(caller Caller, req ExtendRequest) (cmd ExtendCommand, err error) {
	if cmd.Tag, cmd.Token, err = s.holding(caller, req.Tag, req.Token); err != nil {
		return cmd, err
	}
	if err = s.checkDuration(FieldExtension, req.By); err != nil {
		return cmd, err
	}
	cmd.By, cmd.MaxTTL = req.By, s.config.Limits.MaxTTL
	cmd.ID, err = requestID(req.RequestID)
	return cmd, err
}

// Spool answers a spool as it stands at the time of the call. It returns
// *InvalidError or *UnavailableError.
func (s *Service) Spool(ctx context.Context, tag string) (Spool, error) {
	return one(s.spools(ctx, []string{tag}, s.config.Tags.Parse))
}

// Spools answers each of 1 to 50 spools as it stands at the time of the call: the
// results are those of [Service.Spool], in the order of the tags. It returns
// *InvalidError for [FieldTags] where there are none, too many, or one twice.
func (s *Service) Spools(ctx context.Context, tags []string) ([]Result[Spool], error) {
	if err := checkBatch(s, FieldTags, tags, func(tag string) string { return tag }); err != nil {
		return nil, err
	}
	return s.spools(ctx, tags, s.config.Tags.ParseOneOf), nil
}

func (s *Service) spools(ctx context.Context, tags []string, parse func(string) (Tag, error)) []Result[Spool] {
	parsed, results := parseAll[string, Tag, Spool](ctx, tags, func(_ Caller, tag string) (Tag, error) { return parse(tag) })
	for i, tried := range try(ctx, s, parsed.parsed(), s.store.Read) {
		results[parsed.places[i]] = notApplied(tried.Result)
	}
	return results
}

// History answers what happened to a spool, newest first: the first events after
// the cursor, from the newest where after is nil. It returns *InvalidError or
// *UnavailableError.
func (s *Service) History(ctx context.Context, tag string, first int, after *string) (HistoryPage, error) {
	parsed, err := s.config.Tags.Parse(tag)
	if err != nil {
		return HistoryPage{}, err
	}
	if err := CheckPage(first); err != nil {
		return HistoryPage{}, err
	}
	var cursor *Cursor
	if after != nil {
		c, err := ParseCursor(*after)
		if err != nil {
			return HistoryPage{}, err
		}
		cursor = &c
	}
	result := notApplied(tryOne(ctx, s, parsed, s.store.History))
	return pageOf(result.Value, first, cursor), result.Err
}

// tryOne is [try] for an operation that the store does for one spool at a time.
func tryOne[C, T any](ctx context.Context, s *Service, cmd C, op func(context.Context, C) (T, error)) Result[T] {
	return try(ctx, s, []C{cmd}, func(ctx context.Context, cmds []C) []Result[T] {
		value, err := op(ctx, cmds[0])
		return []Result[T]{{Value: value, Err: err}}
	})[0].Result
}

// notApplied corrects the outcome of a read that failed: it has nothing to apply,
// whatever became of its answer.
func notApplied[T any](result Result[T]) Result[T] {
	if unavailable := (*UnavailableError)(nil); errors.As(result.Err, &unavailable) {
		unavailable.Outcome = NotApplied
	}
	return result
}

// one is the result of a single request.
func one[T any](results []Result[T]) (T, error) { return results[0].Value, results[0].Err }

// parsedAll are the commands of requests, each at its request's place, and the places of
// those that can be executed. Of another command is there what was parsed before its
// error.
type parsedAll[C any] struct {
	all    []C
	places []int
}

func (p parsedAll[C]) parsed() (cmds []C) {
	for _, at := range p.places {
		cmds = append(cmds, p.all[at])
	}
	return cmds
}

// admitted has each request let through before it is parsed.
func admitted[R, C any](ctx context.Context, s *Service, parse func(Caller, R) (C, error)) func(Caller, R) (C, error) {
	return func(caller Caller, req R) (cmd C, err error) {
		if err := s.config.Admit(ctx); err != nil {
			return cmd, err
		}
		return parse(caller, req)
	}
}

// parseAll parses each request of the caller; what cannot be parsed has its error
// among the results, which have a place for each request.
func parseAll[R, C, T any](ctx context.Context, reqs []R, parse func(Caller, R) (C, error)) (parsedAll[C], []Result[T]) {
	caller, _ := CallerOf(ctx)
	cmds := parsedAll[C]{all: make([]C, len(reqs))}
	results := make([]Result[T], len(reqs))
	for i, req := range reqs {
		if cmds.all[i], results[i].Err = parse(caller, req); results[i].Err == nil {
			cmds.places = append(cmds.places, i)
		}
	}
	return cmds, results
}

// MaxBatch is the most spools that one request can be about.
const MaxBatch = 50

// checkBatch returns *InvalidError unless there are 1 to 50 requests, each about
// another spool.
func checkBatch[R any](s *Service, field Field, reqs []R, tag func(R) string) error {
	if len(reqs) < 1 || len(reqs) > MaxBatch {
		return bounded(field, ReasonOutOfRange, fmt.Sprintf("must be 1 to %d", MaxBatch), 1, MaxBatch)
	}
	seen := map[Tag]bool{}
	for _, req := range reqs {
		parsed, err := s.config.Tags.Parse(tag(req))
		if err != nil {
			continue // the request's own error, and no tag of a spool
		}
		if seen[parsed] {
			return &InvalidError{Field: field, Reason: ReasonDuplicate, Problem: "must not have a tag twice"}
		}
		seen[parsed] = true
	}
	return nil
}

// holding parses what a holder shows. A token is of no use to another worker than the
// one it names; one that names nobody is another program's, and of use to whoever has it.
func (s *Service) holding(caller Caller, tag, token string) (Tag, Token, error) {
	parsedTag, err := s.config.Tags.Parse(tag)
	if err != nil {
		return "", Token{}, err
	}
	parsedToken, err := ParseToken(token)
	if owner, _, named := strings.Cut(token, ":"); err == nil && named && owner != "" && !caller.ActsAs(WorkerID(owner)) {
		err = &ForbiddenError{Required: RoleAdmin}
	}
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
