package repository

import (
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
)

// wrongTypesInterval is the least time between two records of keys of another type: callers who
// ask for such a spool would fill the log.
const wrongTypesInterval = time.Minute

// wrongTypes are the times that the key of a lock was found not to be a string.
type wrongTypes struct {
	mu    sync.Mutex
	said  time.Time
	id    string // of the newest record
	times int    // since then
}

// found returns the error of a spool that was found so at now, and says it in the log if the
// newest record is a while ago. What has no record of its own has the id of that one.
func (w *wrongTypes) found(log *slog.Logger, tag lock.Tag, now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times++
	if w.said.IsZero() || now.Sub(w.said) >= wrongTypesInterval {
		w.said, w.id = now, uuid.NewString()
		log.Error("the key of a lock is not a string: another program wrote it, and the spool can be neither taken nor released until it is deleted",
			"errorId", w.id, "tag", tag, "times", w.times, "error", "WRONGTYPE")
		w.times = 0
	}
	return &lock.WrongTypeError{Tag: tag, LogID: w.id}
}
