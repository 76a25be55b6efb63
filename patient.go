package redissse

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// patientConn does not time out because of time in which this process did not run:
// the answer may have arrived meanwhile. A message that was published would have an
// unknown fate, and a Redis that works would be given up.
type patientConn struct {
	net.Conn
	pauses *pauses
	reads  atomic.Pointer[timeout] // of reading; nil: none
}

// timeout is a deadline, as it was set.
type timeout struct {
	at    int64 // monotonic milliseconds of pauses
	after int64 // milliseconds of running time; below 0: it was over already
}

func patient(conn net.Conn, p *pauses) net.Conn {
	c := &patientConn{Conn: conn, pauses: p}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return onSocketOf(conn, c)
}

// socketed lets go-redis look into the socket, where there is one, before it uses a
// pooled connection again. Under TLS what it sees is no reply, but the other side's
// goodbye or its end: it dials anew then, as it should.
type socketed struct {
	net.Conn
	socket
}

type socket interface{ syscall.Conn }

// onSocketOf returns a connection with the socket of what is below it.
func onSocketOf(below, conn net.Conn) net.Conn {
	if below, ok := below.(socket); ok {
		return socketed{conn, below}
	}
	return conn
}

// SetDeadline implements net.Conn.
func (c *patientConn) SetDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *patientConn) SetReadDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *patientConn) note(t time.Time) {
	if t.IsZero() {
		c.reads.Store(nil)
		return
	}
	c.reads.Store(&timeout{c.pauses.now(), time.Until(t).Milliseconds()})
}

// lookAgain is how long a read that has timed out looks for what has arrived: a
// deadline that has passed keeps from reading what is there.
const lookAgain = 50 * time.Millisecond

// Read reads on after a timeout for as long as this process has not run, and once
// more in any case.
func (c *patientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for looked := false; n == 0 && err != nil && isTimeout(err); looked = true {
		left := c.left()
		if looked && left <= 0 {
			break
		}
		if failed := c.Conn.SetReadDeadline(time.Now().Add(max(left, lookAgain))); failed != nil {
			break
		}
		n, err = c.Conn.Read(p)
	}
	return n, err
}

// left returns how much running time is left until the deadline for reading.
func (c *patientConn) left() time.Duration {
	set := c.reads.Load()
	if set == nil {
		return 0
	}
	return time.Duration(set.after-c.pauses.ran(set.at, c.pauses.now())) * time.Millisecond
}
