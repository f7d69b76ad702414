package repository_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/redisurl"
)

// The log has one record a minute of keys of another type, with their number.
func TestKeysOfAnotherTypeAreCounted(t *testing.T) {
	t.Parallel()
	store, log := openLogged(t, redisurl.EmbeddedText)
	began := time.Now()
	var ids []string
	for _, after := range []time.Duration{0, time.Second, 59 * time.Second, time.Minute, 61 * time.Second} {
		var wrongType *lock.WrongTypeError
		if err := store.WrongTypeFound("MK-1", began.Add(after)); !errors.As(err, &wrongType) {
			t.Fatalf("the error is %v", err)
		}
		ids = append(ids, wrongType.LogID)
	}
	if ids[0] != ids[2] || ids[2] == ids[3] || ids[3] != ids[4] {
		t.Errorf("the ids are %q", ids)
	}
	said := log.String()
	for _, want := range []string{"errorId=" + ids[0] + " tag=MK-1 times=1 ", "errorId=" + ids[3] + " tag=MK-1 times=3 "} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in the log:\n%s", want, said)
		}
	}
	if n := strings.Count(said, "MK-1"); n != 2 {
		t.Errorf("there are %d records:\n%s", n, said)
	}
}
