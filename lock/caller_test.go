package lock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/testwait"
)

func TestRoleIncludesThoseBeforeIt(t *testing.T) {
	t.Parallel()
	order := []lock.Role{lock.RoleViewer, lock.RoleWorker, lock.RolePartner, lock.RoleAdmin}
	for i, role := range order {
		for j, other := range order {
			if role.Includes(other) != (i >= j) {
				t.Errorf("%s includes %s: %t", role, other, role.Includes(other))
			}
		}
		if parsed, ok := lock.ParseRole(string(role)); !ok || parsed != role {
			t.Errorf("%s is parsed as %s", role, parsed)
		}
		for _, odd := range []lock.Role{"", "viewer", "ROOT"} {
			if odd.Includes(role) || role.Includes(odd) {
				t.Errorf("%q counts as a role beside %s", odd, role)
			}
		}
	}
}

var (
	ana  = lock.Caller{Worker: lock.Worker{ID: "93", Name: "MR(93)"}, Role: lock.RoleWorker}
	luis = lock.Caller{Worker: lock.Worker{ID: "94", Name: "Luis"}, Role: lock.RoleWorker}
	acme = lock.Caller{Worker: lock.Worker{ID: "acme", Name: "Acme"}, Role: lock.RolePartner}
	boss = lock.Caller{Worker: lock.Worker{ID: "boss", Name: "The boss"}, Role: lock.RoleAdmin}
)

// A token is of no use under another identity than the one it was taken under.
func TestStolenToken(t *testing.T) {
	t.Parallel()
	service, _ := open(t, redisurl.EmbeddedText, config())
	for _, own := range []lock.Caller{ana, acme} {
		ctx := lock.WithCaller(testwait.Context(t), own)
		taken, err := service.Take(ctx, lock.TakeRequest{Tag: "MK-" + uuid.NewString()})
		if err != nil {
			t.Fatal(err)
		}
		tag, token := string(taken.Lock.Tag), taken.Token.Reveal()
		for _, thief := range []lock.Caller{luis, {Worker: lock.Worker{ID: "acm", Name: "A"}, Role: lock.RolePartner}} {
			stolen := lock.WithCaller(ctx, thief)
			_, releaseErr := service.Release(stolen, lock.ReleaseRequest{Tag: tag, Token: token})
			_, extendErr := service.Extend(stolen, lock.ExtendRequest{Tag: tag, Token: token, By: time.Minute})
			for _, err := range []error{releaseErr, extendErr} {
				if forbidden := (*lock.ForbiddenError)(nil); !errors.As(err, &forbidden) || forbidden.Owner != own.Worker.ID || forbidden.Required != "" {
					t.Errorf("%s with the token of %s: %v", thief.Worker.ID, own.Worker.ID, err)
				}
			}
			_, err := service.Resume(stolen, lock.ResumeRequest{Tag: tag})
			if occupied := (*lock.OccupiedError)(nil); !errors.As(err, &occupied) {
				t.Errorf("%s resumes the lock of %s: %v", thief.Worker.ID, own.Worker.ID, err)
			}
		}
		if checked, err := service.Check(lock.WithCaller(ctx, luis), tag, token); err != nil || !checked.Valid {
			t.Errorf("a backend is told %+v, %v", checked, err)
		}
		if extended, err := service.Extend(ctx, lock.ExtendRequest{Tag: tag, Token: token, By: time.Minute}); err != nil || extended.Version != taken.Lock.Version {
			t.Errorf("extended %+v, %v", extended, err)
		}
		released, err := service.Release(lock.WithCaller(ctx, boss), lock.ReleaseRequest{Tag: tag, Token: token})
		if err != nil || released.Outcome != lock.OutcomeReleased {
			t.Errorf("an administrator with the token: %+v, %v", released, err)
		}
	}
}

// What is done on the authority of who the caller is needs one who is known, and of the
// right role.
func TestAuthority(t *testing.T) {
	t.Parallel()
	service, _ := open(t, redisurl.EmbeddedText, config())
	ctx := testwait.Context(t)
	as := func(caller lock.Caller) context.Context { return lock.WithCaller(ctx, caller) }
	tag := "MK-" + uuid.NewString()
	taken, err := service.Take(as(ana), lock.TakeRequest{Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	force := lock.ForceReleaseRequest{Tag: tag, Reason: "gone home", ExpectedVersion: taken.Lock.Version, RequestID: ptr(uuid.NewString())}
	for _, unknown := range []context.Context{ctx, as(lock.Caller{Role: lock.RoleWorker}), as(lock.Caller{Role: lock.RoleAdmin})} {
		if _, err := service.Resume(unknown, lock.ResumeRequest{Tag: tag}); !errors.Is(err, lock.ErrUnauthenticated) {
			t.Errorf("resume: %v", err)
		}
		if _, err := service.ForceRelease(unknown, force); !errors.Is(err, lock.ErrUnauthenticated) {
			t.Errorf("forced release: %v", err)
		}
	}
	for _, caller := range []lock.Caller{ana, luis, acme} {
		_, err := service.ForceRelease(as(caller), force)
		if forbidden := (*lock.ForbiddenError)(nil); !errors.As(err, &forbidden) || forbidden.Required != lock.RoleAdmin {
			t.Errorf("forced release by %s: %v", caller.Role, err)
		}
	}
	resumed, err := service.Resume(as(ana), lock.ResumeRequest{Tag: tag})
	if err != nil || resumed.Lock.Version <= taken.Lock.Version {
		t.Fatalf("resumed %+v, %v", resumed, err)
	}
	_, err = service.ForceRelease(as(boss), force)
	if conflict := (*lock.VersionConflictError)(nil); !errors.As(err, &conflict) || conflict.Actual != resumed.Lock.Version {
		t.Fatalf("forced release of what was seen before: %v", err)
	}
	force.ExpectedVersion = resumed.Lock.Version
	for range 2 {
		forced, err := service.ForceRelease(as(boss), force)
		if err != nil || forced.Released.Version != resumed.Lock.Version || forced.Spool.Lock != nil {
			t.Fatalf("forced %+v, %v", forced, err)
		}
	}
	page, err := service.History(ctx, tag, 1, nil)
	if err != nil || page.Events[0].Actor != "boss" || page.Events[0].Reason != "gone home" {
		t.Fatalf("history is %+v, %v", page, err)
	}
	for name, change := range map[string]func(*lock.ForceReleaseRequest){
		"reason": func(r *lock.ForceReleaseRequest) { r.Reason = "no" },
		"blank":  func(r *lock.ForceReleaseRequest) { r.Reason = "   " },
		"tag":    func(r *lock.ForceReleaseRequest) { r.Tag = "" },
		"id":     func(r *lock.ForceReleaseRequest) { r.RequestID = ptr("1") },
		"version": func(r *lock.ForceReleaseRequest) {
			r.ExpectedVersion = lock.MaxVersion + 1
		},
	} {
		request := force
		change(&request)
		_, err := service.ForceRelease(as(boss), request)
		if invalid := (*lock.InvalidError)(nil); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
