// Package resp bounds what a Redis server may announce: it follows the replies
// on a connection so far as to know what they announce, and fails before
// anybody makes room for it. (The Redis serialization protocol, RESP,
// https://redis.io/docs/latest/develop/reference/protocol-spec/)
package resp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Limits on what a reply may announce. go-redis makes room for all of it at
// once, and a process that cannot have that ends: it is no panic that could be
// recovered from. At the limit the connection is over.
const (
	// maxBulk is what Redis itself takes and sends at most, unless its
	// proto-max-bulk-len is raised.
	maxBulk = 512 << 20
	// maxElements is far more than a message has (4), and than ROLE tells of a
	// master's replicas.
	maxElements = 1 << 16
	// maxNesting is of arrays: ROLE has three levels, and each is a call deeper.
	maxNesting = 8
	// maxLine is of a status, an error or a number.
	maxLine = 64 << 10
)

var errAnnounced = errors.New("redis announces what it cannot have")

// framing is where in the replies of one connection its reader is. What is no
// RESP is left to the reader.
type framing struct {
	skip int64  // bytes of a bulk string to come, with its CRLF
	line []byte // the beginning of a line that is not there as a whole
	open []int  // of each array that is being read, how many elements are to come
	err  error
}

// take follows the next bytes. After an error nothing more may be read.
func (f *framing) take(b []byte) error {
	for len(b) > 0 && f.err == nil {
		if f.skip > 0 {
			n := min(f.skip, int64(len(b)))
			b = b[n:]
			if f.skip -= n; f.skip == 0 {
				f.complete()
			}
			continue
		}
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole || len(f.line) > 0 {
			f.line = append(f.line, line...)
			line = f.line
		}
		if len(line) > maxLine {
			f.err = fmt.Errorf("%w: a line of over %d bytes", errAnnounced, maxLine)
		} else if whole {
			f.header(line)
			f.line = f.line[:0]
		}
		b = rest
	}
	return f.err
}

// header reads a line, with or without its CR.
func (f *framing) header(line []byte) {
	if len(line) == 0 {
		return
	}
	n, err := strconv.ParseInt(string(bytes.TrimSuffix(line[1:], []byte("\r"))), 10, 64)
	switch line[0] {
	case '$', '=', '!':
		if err == nil && n >= 0 {
			f.bulk(n)
			return
		}
	case '*', '~', '>', '%', '|':
		if err == nil && n > 0 {
			f.array(n)
			return
		}
	}
	f.complete() // a status, an error, a number; null; or what the reader rejects
}

func (f *framing) bulk(n int64) {
	if n > maxBulk {
		f.err = fmt.Errorf("%w: %d bytes", errAnnounced, n)
		return
	}
	f.skip = n + int64(len("\r\n"))
}

func (f *framing) array(n int64) {
	if n > maxElements {
		f.err = fmt.Errorf("%w: %d elements", errAnnounced, n)
		return
	}
	if len(f.open) == maxNesting {
		f.err = fmt.Errorf("%w: arrays in arrays %d deep", errAnnounced, maxNesting+1)
		return
	}
	f.open = append(f.open, int(n))
}

// complete counts an element that has come.
func (f *framing) complete() {
	for n := len(f.open); n > 0; n-- {
		if f.open[n-1]--; f.open[n-1] > 0 {
			return
		}
		f.open = f.open[:n-1]
	}
}

// guardedConn reads no reply that announces too much.
type guardedConn struct {
	net.Conn
	framing framing
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if c.framing.err != nil {
		return 0, c.framing.err
	}
	n, err := c.Conn.Read(p)
	if over := c.framing.take(p[:n]); over != nil {
		return 0, over
	}
	return n, err
}

// guardedSocket lets go-redis see whether a pooled connection has been closed
// meanwhile, which it looks for where it can.
type guardedSocket struct {
	*guardedConn
	syscall.Conn
}

// Guard returns conn, which fails to read once a reply announces more than
// 512 MiB, 65,536 elements or a line of over 64 KiB, or nests over 8 arrays.
// Of a conn that has a socket, the socket can be had.
func Guard(conn net.Conn) net.Conn {
	c := &guardedConn{Conn: conn}
	if socket, ok := conn.(syscall.Conn); ok {
		return guardedSocket{c, socket}
	}
	return c
}
