package redistest

import (
	"os/exec"
	"syscall"
)

// DieWithTest has the process end with this one, however this one ends.
func DieWithTest(process *exec.Cmd) {
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
