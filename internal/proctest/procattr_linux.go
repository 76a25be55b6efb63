package proctest

import "syscall"

// ChildAttr makes the kernel send a process a signal when the test binary ends: a run that panics or times out executes no
// cleanup. The signal is bound to the thread that forked, which in Go lives as long as the process unless a goroutine exits
// while locked to it (golang.org/issue/27505).
func ChildAttr(ending syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: ending}
}
