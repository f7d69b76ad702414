package locktest

import (
	"testing"

	"spoollock/lock"
)

func batch(t *testing.T, b *bench) {
	var takes []lock.TakeCommand
	for range 50 {
		cmd := b.command()
		cmd.Tag = newTag(t)
		takes = append(takes, cmd)
	}
	held := takes[7]
	held.Token = newToken(t, luis)
	b.take(held)
	for i, result := range b.store.Store.Take(b.ctx, takes) {
		switch {
		case i == 7:
			if wantError[*lock.OccupiedError](t, result.Err).Lock.Tag != held.Tag {
				t.Fatalf("result %d is %+v", i, result)
			}
		case result.Err != nil || result.Value.Lock.Tag != takes[i].Tag || result.Value.Token.Reveal() != takes[i].Token.Reveal():
			t.Fatalf("result %d is %+v", i, result)
		}
	}
	var releases []lock.ReleaseCommand
	var tags []lock.Tag
	for _, cmd := range takes {
		releases = append(releases, lock.ReleaseCommand{Tag: cmd.Tag, Token: cmd.Token, ID: newID(t)})
		tags = append(tags, cmd.Tag)
	}
	for i, result := range b.store.Store.Release(b.ctx, releases) {
		want := lock.OutcomeReleased
		if i == 7 {
			want = lock.OutcomeNotOwner
		}
		must(t, result.Err)
		b.wantOutcome(result.Value.Outcome, want)
	}
	for i, result := range b.store.Store.Read(b.ctx, tags) {
		must(t, result.Err)
		if result.Value.Tag != tags[i] || (result.Value.Lock != nil) != (i == 7) {
			t.Fatalf("result %d is %+v", i, result)
		}
	}
}
