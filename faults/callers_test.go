//go:build faults

package faults_test

import (
	"time"

	"spoollock/auth/authtest"
	"spoollock/faults"
	"spoollock/lock"
)

// callers are the workers, and an administrator who acts for all of them.
type callers struct {
	provider *authtest.Provider
	admin    string // the administrator's credential
}

// newCallers leaves the key that they are known by in the directory.
func newCallers(dir string) (*callers, error) {
	provider, err := authtest.NewIn(dir)
	if err != nil {
		return nil, err
	}
	c := &callers{provider: provider}
	c.admin = c.credential("boss", lock.RoleAdmin)
	return c, nil
}

// credential outlasts the longest of all runs.
func (c *callers) credential(worker lock.WorkerID, role lock.Role) string {
	claims := authtest.Claims(lock.Caller{Worker: lock.Worker{ID: worker, Name: string(worker)}, Role: role})
	claims["exp"] = time.Now().Add(24 * time.Hour).Unix()
	return c.provider.Sign(nil, claims)
}

// env has a service know them.
func (c *callers) env() (env []string) {
	for name, value := range c.provider.Env() {
		env = append(env, name+"="+value)
	}
	return env
}

// credentialFor is what an operation is sent with: a resume is for the worker alone, and
// everything else is sent on behalf of all workers, by an administrator.
func (c *callers) credentialFor(o *faults.Operation) string {
	if o.Kind == faults.Resume {
		return c.credential(lock.WorkerID(o.Owner()), lock.RoleWorker)
	}
	return c.admin
}
