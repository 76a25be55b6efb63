//go:build unix && !linux

package proctest

import "syscall"

// ChildAttr has no counterpart of Linux's parent-death signal: a test binary that panics leaves its processes behind.
func ChildAttr(syscall.Signal) *syscall.SysProcAttr { return new(syscall.SysProcAttr) }
