//go:build !linux

package redissse

import "syscall"

func limitsOf(syscall.RawConn) connLimits { return connLimits{} }

// set does nothing: this system has no such options.
func (connLimits) set(syscall.RawConn) {}
