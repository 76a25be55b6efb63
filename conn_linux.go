package redissse

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outletsHere says whether this system has what outlets need.
const outletsHere = true

// limitsOf returns those of a socket. One that is no TCP has none, and needs
// none. For the options see tcp(7).
func limitsOf(socket syscall.RawConn) (l connLimits) {
	_ = socket.Control(func(fd uintptr) {
		ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err == nil {
			l.unacknowledged = time.Duration(ms) * time.Millisecond
		}
		if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); err == nil {
			l.unsent = n
		}
	})
	return l
}

func (l connLimits) set(socket syscall.RawConn) {
	_ = socket.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(l.unacknowledged.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, l.unsent)
	})
}
