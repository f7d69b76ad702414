package lock

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Role is what a caller may do.
type Role string

// The roles. Each may do what the ones before it may; a partner does so for all
// workers of its namespace, an administrator for every worker.
const (
	RoleViewer  Role = "VIEWER"  // asks who has what
	RoleWorker  Role = "WORKER"  // takes spools, and what goes with it
	RolePartner Role = "PARTNER" // acts for each worker with an id that begins with its own and a dot
	RoleAdmin   Role = "ADMIN"   // ends any lock
)

var roles = []Role{RoleViewer, RoleWorker, RolePartner, RoleAdmin}

// Includes reports whether a caller with the role r may do what other may.
func (r Role) Includes(other Role) bool {
	return slices.Contains(roles, other) && slices.Index(roles, r) >= slices.Index(roles, other)
}

// ParseRole reports false for what is no role.
func ParseRole(s string) (Role, bool) { return Role(s), slices.Contains(roles, Role(s)) }

// Caller is who makes a request. The zero Caller is anonymous: it may act as any worker,
// but cannot resume or force-release.
type Caller struct {
	// Worker is who the caller is. Without an id, the caller is anonymous.
	Worker Worker
	Role   Role

	// Address is where the request comes from. It decides nothing of what the caller may
	// do, but how much.
	Address Address
}

// Anonymous reports whether it is not known who the caller is.
func (c Caller) Anonymous() bool { return c.Worker.ID == "" }

// ActsAs reports whether the caller may do what the worker may.
func (c Caller) ActsAs(worker WorkerID) bool {
	switch {
	case c.Anonymous(), c.Role == RoleAdmin, worker == c.Worker.ID:
		return true
	default:
		return c.Role == RolePartner && strings.HasPrefix(string(worker), string(c.Worker.ID)+".")
	}
}

// resolveWorker returns the worker that a request of the caller is for. What the request
// leaves out is the caller's own. It returns *InvalidError, or *ForbiddenError for another worker
// than the caller may act as, and for another name than the caller has.
func (c Caller) resolveWorker(id, name string) (w Worker, err error) {
	if id == "" {
		id = string(c.Worker.ID)
	}
	if w.ID, err = ParseWorkerID(id); err != nil {
		return w, err
	}
	if !c.ActsAs(w.ID) {
		return w, &ForbiddenError{Problem: fmt.Sprintf("the caller is not worker %s, and may not act as that worker", w.ID)}
	}
	own := !c.Anonymous() && w.ID == c.Worker.ID
	if own && name == "" {
		return c.Worker, nil
	}
	if w.Name, err = ParseWorkerName(name); err == nil && own && c.Role != RoleAdmin && w.Name != c.Worker.Name {
		err = &ForbiddenError{Problem: fmt.Sprintf("the caller is worker %s under another name", w.ID)}
	}
	return w, err
}

type callerKey struct{}

// WithCaller returns a context whose operations are the caller's.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the caller, and false where the context has none: the program
// itself is at work.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}
