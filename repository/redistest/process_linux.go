package redistest

import (
	"os/exec"
	"syscall"
)

// dieWithTest has the process end with this one, however this one ends.
func dieWithTest(process *exec.Cmd) {
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
