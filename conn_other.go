//go:build !linux

package redissse

import "syscall"

// outletsHere says that this system has not what outlets need: each stream is its request's
// goroutine's.
const outletsHere = false

func limitsOf(syscall.RawConn) connLimits { return connLimits{} }

// set does nothing: this system has no such options.
func (connLimits) set(syscall.RawConn) {}
