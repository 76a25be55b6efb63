//go:build unix && !linux

package redistest

import "syscall"

// childAttr has no counterpart of Linux's parent-death signal: a test binary that panics leaves its redis-server behind.
func childAttr() *syscall.SysProcAttr { return nil }
