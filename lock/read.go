package lock

import (
	"context"
	"errors"
)

// Spool answers a spool as it stands at the time of the call. It returns
// *InvalidError or *UnavailableError.
func (s *Service) Spool(ctx context.Context, tag string) (Spool, error) {
	return single(s.spools(ctx, []string{tag}, s.config.Tags.Parse))
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
	parsed, results := parseBatch[Spool](ctx, tags, func(_ context.Context, tag string) (Tag, error) { return parse(tag) })
	try(ctx, s, parsed, results, s.store.Read)
	for i := range results {
		results[i] = notApplied(results[i])
	}
	return results
}

// notApplied corrects the outcome of a read that failed: it has nothing to apply,
// whatever became of its answer.
func notApplied[T any](result Result[T]) Result[T] {
	if unavailable := (*UnavailableError)(nil); errors.As(result.Err, &unavailable) {
		unavailable.Outcome = NotApplied
	}
	return result
}
