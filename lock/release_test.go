package lock_test

import (
	"testing"

	"spoollock/lock"
	"spoollock/testwait"
)

func TestReleaseSentTwiceWithLostReplies(t *testing.T) {
	t.Parallel()
	ctx := testwait.Context(t)
	service, _, lose := losesReplies(t)
	request := takeRequest()
	taken, err := service.Take(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []lock.ReleaseOutcome{lock.OutcomeReleased, lock.OutcomeAlreadyReleased} {
		lose.Store(true)
		released, err := service.Release(ctx, lock.ReleaseRequest{Tag: request.Tag, Token: taken.Token.Reveal()})
		if err != nil || released.Outcome != want {
			t.Fatalf("release is %+v, %v; want %s", released, err, want)
		}
	}
}
