package redistest

import "syscall"

// childAttr makes the kernel end redis-server with the test binary: a run that panics or times out executes no cleanup. The
// signal is bound to the thread that forked, which in Go lives as long as the process unless a goroutine exits while locked to
// it (golang.org/issue/27505).
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
