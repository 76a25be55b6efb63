//go:build !linux

package redissse

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing: this system has no TCP_USER_TIMEOUT.
func setUserTimeout(syscall.Conn, time.Duration) {}
