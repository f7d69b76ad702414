package repository_test

import (
	"testing"
)

func TestReadingWritesNothing(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.read()
	if n := s.client.DBSize(s.ctx).Val(); n != 0 {
		t.Fatalf("reading an unknown spool left %d keys", n)
	}
	s.take(s.command())
	dirty := func() string {
		return s.client.InfoMap(s.ctx, "persistence").Val()["Persistence"]["rdb_changes_since_last_save"]
	}
	before := dirty()
	s.read()
	if _, _, err := s.store.Take(s.ctx, s.command()); err == nil {
		t.Fatal("a held spool was taken")
	}
	if after := dirty(); before == "" || after != before {
		t.Fatalf("a read and a refusal changed data: %q changes, then %q", before, after)
	}
}
