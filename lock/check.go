package lock

import (
	"context"
)

// Checked is the answer to a check.
type Checked struct {
	Valid bool // the token holds the spool
	Spool Spool
}

// CheckCommand asks a [Store] about a token.
type CheckCommand struct {
	Tag   Tag
	Token Token
}

// Check answers any caller whether the token holds the spool at the time of the call. It
// returns *InvalidError or *UnavailableError.
func (s *Service) Check(ctx context.Context, tag, token string) (Checked, error) {
	parsedTag, parsedToken, err := s.parseTagAndToken(Caller{}, tag, token)
	if err != nil {
		return Checked{}, err
	}
	result := notApplied(tryOne(ctx, s, CheckCommand{Tag: parsedTag, Token: parsedToken}, s.store.Check))
	return result.Value, result.Err
}
