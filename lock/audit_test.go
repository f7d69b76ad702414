package lock_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository"
	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// audited is a service, and reads what it says in its log.
func audited(t *testing.T, url string, config lock.Config) (service *lock.Service, records func() []map[string]any) {
	t.Helper()
	var text lines
	log := slog.New(slog.NewJSONHandler(&text, nil))
	store := redistest.Open(t, url, log, repository.Config{MaxConnections: 5, Timeout: config.Timeout})
	return serve(t, store, config, log), func() (all []map[string]any) {
		t.Helper()
		for line := range strings.Lines(text.take()) {
			var record map[string]any
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Fatal(err)
			}
			if record["msg"] == "audit" {
				all = append(all, record)
			}
		}
		return all
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns what was written since the last call.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// Each change has one record of who made it, of what, from where; so has each that its
// caller may not make; and what changed nothing has none.
func TestAudit(t *testing.T) {
	t.Parallel()
	service, records := audited(t, redisurl.EmbeddedText, config())
	as := func(c lock.Caller) context.Context {
		c.Address = lock.ParseAddress("10.0.0.7")
		return lock.WithCaller(testwait.Context(t), c)
	}
	want := func(what string, wanted ...string) {
		t.Helper()
		got := records()
		if len(got) != len(wanted) {
			t.Fatalf("%s has the records %v, want %q", what, got, wanted)
		}
		for i, record := range got {
			delete(record, "time")
			delete(record, "msg")
			for _, name := range []string{"version", "expectedVersion", "expires"} {
				if _, ok := record[name]; ok {
					record[name] = "SOME"
				}
			}
			text, err := json.Marshal(record)
			if err != nil || string(text) != wanted[i] {
				t.Errorf("%s has the record\n%s, want\n%s", what, text, wanted[i])
			}
		}
	}
	tag, id := "MK-"+uuid.NewString(), uuid.NewString()
	// A record of a change of the lock of 93, with more; what is empty is not there.
	record := func(action, outcome string, caller lock.Caller, more map[string]any) string {
		all := map[string]any{
			"level": "INFO", "action": action, "outcome": outcome, "caller": caller.Worker.ID, "role": caller.Role,
			"address": "10.0.0.7", "tag": tag, "worker": "93",
		}
		if outcome == "DONE" {
			all["version"] = "SOME"
		} else {
			all["level"] = "WARN"
		}
		for name, value := range more {
			if all[name] = value; value == nil {
				delete(all, name)
			}
		}
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	request := lock.TakeRequest{Tag: tag, RequestID: &id}
	taken, err := service.Take(as(ana), request)
	if err != nil {
		t.Fatal(err)
	}
	token := taken.Token.Reveal()
	want("a take", record("TAKE", "DONE", ana, nil))
	_, _ = service.Take(as(ana), request)
	want("a take that is sent again", record("TAKE", "DONE", ana, map[string]any{"replayed": true}))
	_, _ = service.Take(as(luis), lock.TakeRequest{Tag: tag})
	_, _ = service.Take(as(ana), lock.TakeRequest{Tag: "{}"})
	_, _ = service.Spool(as(luis), tag)
	_, _ = service.Check(as(luis), tag, token)
	want("what changes nothing")
	_, _ = service.Take(as(luis), lock.TakeRequest{Tag: tag, WorkerID: "93", WorkerName: "MR(93)"})
	want("a take as another", record("TAKE", "FORBIDDEN", luis, map[string]any{"why": "the caller is not worker 93, and may not act as that worker"}))
	_, _ = service.Take(as(ana), lock.TakeRequest{Tag: tag, WorkerName: "Ana"})
	want("a take under another name", record("TAKE", "FORBIDDEN", ana, map[string]any{"why": "the caller is worker 93 under another name"}))
	_, _ = service.Extend(as(ana), lock.ExtendRequest{Tag: tag, Token: token, By: time.Minute})
	want("an extension", record("EXTEND", "DONE", ana, map[string]any{"expires": "SOME"}))
	_, _ = service.Release(as(luis), lock.ReleaseRequest{Tag: tag, Token: token})
	want("a release by another", record("RELEASE", "FORBIDDEN", luis, map[string]any{"why": "the lock is that of worker 93, and the caller may not act as that worker"}))
	_, _ = service.Release(as(luis), lock.ReleaseRequest{Tag: tag, Token: id + ":93"})
	want("a release with the halves of a token swapped", record("RELEASE", "FORBIDDEN", luis, map[string]any{
		"worker": nil, "why": "the token names another worker, and the caller may not act as that worker",
	}))
	resumed, err := service.Resume(as(ana), lock.ResumeRequest{Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	want("a resume", record("RESUME", "DONE", ana, nil))
	_, _ = service.Release(as(ana), lock.ReleaseRequest{Tag: tag, Token: token})
	want("a release with a dead token")
	released, err := service.Release(as(ana), lock.ReleaseRequest{Tag: tag, Token: resumed.Token.Reveal()})
	if err != nil || released.Outcome != lock.OutcomeReleased {
		t.Fatalf("%+v, %v", released, err)
	}
	want("a release", record("RELEASE", "DONE", ana, nil))

	if taken, err = service.Take(as(ana), lock.TakeRequest{Tag: tag}); err != nil {
		t.Fatal(err)
	}
	records()
	force := lock.ForceReleaseRequest{Tag: tag, Reason: "gone home", ExpectedVersion: taken.Lock.Version, RequestID: &id}
	_, _ = service.ForceRelease(as(ana), force)
	want("a forced release by a worker", record("FORCE_RELEASE", "FORBIDDEN", ana, map[string]any{
		"worker": nil, "expectedVersion": "SOME", "why": "this needs the role ADMIN",
	}))
	nobody := lock.Caller{Role: lock.RoleWorker}
	_, _ = service.ForceRelease(as(nobody), force)
	want("a forced release by nobody", record("FORCE_RELEASE", "UNAUTHENTICATED", nobody, map[string]any{"worker": nil, "expectedVersion": "SOME"}))
	_, _ = service.ForceRelease(as(boss), force)
	want("a forced release", record("FORCE_RELEASE", "DONE", boss, map[string]any{"reason": "gone home", "expectedVersion": "SOME"}))
	other := boss
	other.Worker.ID, force.Reason = "other", "it was me"
	forced, err := service.ForceRelease(as(other), force)
	if err != nil || !forced.Replayed {
		t.Fatalf("%+v, %v", forced, err)
	}
	want("one that another sends again", record("FORCE_RELEASE", "DONE", other, map[string]any{"replayed": true, "expectedVersion": "SOME"}))
	err = service.Refuse(as(ana), "someField", lock.RoleAdmin)
	want("what a role does not allow", record("CALL", "FORBIDDEN", ana, map[string]any{
		"tag": nil, "worker": nil, "field": "someField", "why": "this needs the role ADMIN",
	}))
	if forbidden := (*lock.ForbiddenError)(nil); !errors.As(err, &forbidden) {
		t.Errorf("it is refused with %v", err)
	}

	_, _ = service.Take(testwait.Context(t), lock.TakeRequest{Tag: tag, WorkerID: "93", WorkerName: "MR(93)"})
	want("what the program does by itself")
}

// A change of which nobody knows whether it was made has a record, too.
func TestAuditOfWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr, func(request []byte) bool { return bytes.Contains(request, []byte("eval")) })
	config := config()
	config.Timeout = testwait.Patience // the proxy cuts each attempt off by itself
	service, records := audited(t, proxy.URL, config)
	_, err := service.Take(lock.WithCaller(testwait.Context(t), ana), lock.TakeRequest{Tag: "MK-1"})
	got := records()
	if err == nil || len(got) != 1 || got[0]["outcome"] != "UNKNOWN" || got[0]["worker"] != "93" || got[0]["tag"] != "MK-1" {
		t.Errorf("%v has the records %v", err, got)
	}
}

// atOnce is a log that notes which records must be written at once.
type atOnce struct {
	slog.Handler
	noted *[]string
}

func (atOnce) Enabled(context.Context, slog.Level) bool { return true }

func (h atOnce) Handle(_ context.Context, record slog.Record) error {
	note := record.Level.String()
	record.Attrs(func(attr slog.Attr) bool {
		if attr.Key == "action" || attr.Key == "outcome" {
			note += " " + attr.Value.String()
		}
		return true
	})
	if lock.RecordAtOnce(record) {
		note += ", at once"
	}
	*h.noted = append(*h.noted, note)
	return nil
}

// Forced releases and refusals are in the log before their callers are answered, and so is
// every warning; other changes may come a moment later.
func TestRecordsAtOnce(t *testing.T) {
	t.Parallel()
	store := redistest.Open(t, redisurl.EmbeddedText, slog.New(slog.DiscardHandler), repository.Config{Timeout: config().Timeout})
	var noted []string
	log := slog.New(atOnce{slog.DiscardHandler, &noted})
	service := serve(t, store, config(), log)
	as := func(c lock.Caller) context.Context { return lock.WithCaller(testwait.Context(t), c) }
	taken, err := service.Take(as(ana), lock.TakeRequest{Tag: "MK-1"})
	if err != nil {
		t.Fatal(err)
	}
	force := lock.ForceReleaseRequest{Tag: "MK-1", Reason: "gone home", ExpectedVersion: taken.Lock.Version}
	_, _ = service.ForceRelease(as(ana), force)
	_, _ = service.ForceRelease(as(boss), force)
	_, _ = service.Take(as(luis), lock.TakeRequest{Tag: "MK-1", WorkerID: "93", WorkerName: "MR(93)"})
	_ = service.Refuse(as(ana), "someField", lock.RoleAdmin)
	log.Warn("redis is away")
	log.Info("redis found", "redis", "standalone")
	want := []string{
		"INFO TAKE DONE",
		"WARN FORCE_RELEASE FORBIDDEN, at once",
		"INFO FORCE_RELEASE DONE, at once",
		"WARN TAKE FORBIDDEN, at once",
		"WARN CALL FORBIDDEN, at once",
		"WARN, at once",
		"INFO",
	}
	if !slices.Equal(noted, want) {
		t.Errorf("the log notes %q, want %q", noted, want)
	}
}
