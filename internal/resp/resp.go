// Package resp reads what a Redis server says, and fails before anybody makes room
// for more than a server may announce. (The Redis serialization protocol, RESP,
// https://redis.io/docs/latest/develop/reference/protocol-spec/)
package resp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// Limits on what a reply may announce. A reader makes room for all of it at once, and
// a process that cannot have that ends: it is no panic that could be recovered from.
// At the limit the connection is over.
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

// Conn is a connection to Redis. Read is for go-redis, which asks and is answered, and
// Receive for what a subscription brings. Both fail, from then on, once a reply
// announces more than 512 MiB, 65,536 elements or a line of over 64 KiB, and Read once
// one nests over 8 arrays. One goroutine may read while others write.
type Conn struct {
	net.Conn
	rd    *bufio.Reader
	err   error             // of all further reading
	names map[string]string // of Receive: those that came lately

	// Of Read.
	line []byte // what is left of a line
	bulk int    // bytes of a bulk string that are left, with its CRLF
	open []int  // of each array that is being read, how many elements are to come
}

// New returns a connection over conn, of which nothing has been read.
func New(conn net.Conn) *Conn {
	return &Conn{Conn: conn, rd: bufio.NewReaderSize(conn, maxLine+len("\n")), names: map[string]string{}}
}

// Buffered returns how many bytes have come that nobody has read.
func (c *Conn) Buffered() int { return c.rd.Buffered() }

// Read hands on one line, or what there is of one bulk string. So go-redis has read
// nothing beyond the reply that it has waited for.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.line) == 0 && c.bulk == 0 {
		c.follow()
	}
	if n := copy(p, c.line); n > 0 {
		c.line = c.line[n:]
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.rd.Read(p[:min(len(p), c.bulk)])
	c.bulk -= n
	return n, err
}

// follow reads a line for Read, and notes what it announces.
func (c *Conn) follow() {
	h := c.header()
	c.line = h.line
	switch h.kind {
	case 0: // go-redis reads no further than a line that is none
		return
	case '$', '=', '!':
		if h.number >= 0 {
			c.bulk = h.number + len("\r\n")
		}
	case '*', '~', '>', '%', '|':
		if h.number > 0 {
			if c.open = append(c.open, h.number); len(c.open) > maxNesting {
				c.err = fmt.Errorf("%w: arrays in arrays %d deep", errAnnounced, len(c.open))
			}
			return
		}
	}
	for n := len(c.open); n > 0; n-- { // an element has come
		if c.open[n-1]--; c.open[n-1] > 0 {
			return
		}
		c.open = c.open[:n-1]
	}
}

// header is a line that a reply, or an element of one, begins with.
type header struct {
	line   []byte // all of it, until the next read
	kind   byte   // its first byte; 0: it is no such line
	text   []byte // what is between that and CRLF
	number int    // of bytes or elements, or itself; -1: none, or below 0
}

// header reads a line, unless reading has failed.
func (c *Conn) header() (h header) {
	if c.err != nil {
		return h
	}
	h.line, c.err = c.rd.ReadSlice('\n')
	if text, whole := bytes.CutSuffix(h.line, []byte("\r\n")); whole && len(text) > 0 {
		h.kind, h.text = text[0], text[1:]
		h.number, c.err = announced(h.kind, h.text)
	}
	if errors.Is(c.err, bufio.ErrBufferFull) {
		c.err = fmt.Errorf("%w: a line of over %d bytes", errAnnounced, maxLine)
	}
	if errors.Is(c.err, errAnnounced) {
		return header{}
	}
	return h
}

// announced returns the number in a line of that kind, -1 for none or one below 0.
func announced(kind byte, text []byte) (int, error) {
	most := int64(1<<63 - 1)
	switch kind {
	case ':':
	case '$', '=', '!':
		most = maxBulk
	case '*', '~', '>', '%', '|':
		most = maxElements
	default:
		return -1, nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	switch {
	case err != nil || n < 0:
		return -1, nil
	case n > most:
		return -1, fmt.Errorf("%w: %c%d", errAnnounced, kind, n)
	}
	return int(n), nil
}
