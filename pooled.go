package redissse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/resp"
)

// Redis's timeout, a load balancer or a firewall may have closed a connection while
// nobody used it, and some do so without a word. go-redis looks into the socket before
// it uses a connection again, but sees nothing of what a firewall keeps to itself. A
// message that is written to such a connection has an unknown fate. So a connection
// that was idle answers a PING first.

// idleTrusted is for how long an idle connection is trusted to be there. Redis's
// timeout is a second at the least. A PING costs a round trip, to who publishes less
// than once a second.
const idleTrusted = time.Second

// pingTimeout is how long an idle connection has for its answer: half of what others
// wait for a connection at most, so that they get one of those that have taken the
// place of all that a firewall has forgotten.
const pingTimeout = poolTimeout / 2

// maxPong bounds the answer, in bytes: a PONG, or an error whose text nobody needs.
const maxPong = 4 << 10

var errWentIdle = errors.New("the connection has gone while it was idle")

// pooledConn is a connection that go-redis keeps in its pool. No call is under way
// when a command is written, so that what comes is the answer to what was written.
type pooledConn struct {
	*resp.Conn
	trusted time.Duration
	used    time.Time // when bytes passed last
}

func pooled(conn net.Conn, trusted time.Duration) net.Conn {
	return onSocketOf(conn, &pooledConn{Conn: resp.New(conn), trusted: trusted, used: time.Now()})
}

// Read fails at an error reply with which Redis closes the connection: go-redis would
// take it for a reply like any other, and give the connection to the next message.
func (c *pooledConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.used = time.Now()
	if bytes.HasPrefix(p[:n], []byte("-"+protocolError)) {
		line, _, _ := bytes.Cut(p[1:n], []byte("\r\n"))
		return 0, &hungUp{string(line), io.EOF}
	}
	return n, err
}

// protocolError is how the reply begins to a command that Redis does not read to its
// end, such as one over its proto-max-bulk-len. It closes the connection then.
const protocolError = "ERR Protocol error"

// Write fails without having written anything if the connection was idle and does
// not answer. If Redis closes the connection in the middle of a command the error is
// what Redis has to say of it.
func (c *pooledConn) Write(p []byte) (int, error) {
	if c.Buffered() > 0 || time.Since(c.used) > c.trusted {
		if err := c.ping(); err != nil {
			return 0, &net.OpError{Op: "write", Net: "tcp", Err: fmt.Errorf("%w: %w", errWentIdle, err)}
		}
	}
	n, err := c.Conn.Write(p)
	c.used = time.Now()
	if err != nil && !isTimeout(err) {
		err = c.lastWords(err)
	}
	return n, err
}

func isTimeout(err error) bool {
	failed, ok := errors.AsType[net.Error](err)
	return ok && failed.Timeout()
}

// ping has Redis answer. go-redis sets both deadlines anew before it uses them; that of
// the write is in force.
func (c *pooledConn) ping() error {
	if c.Buffered() > 0 { // go-redis would take it for the answer to what it writes now
		return errors.New("redis has said what nobody asked for")
	}
	if _, err := c.Conn.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		return err
	}
	_, err := c.line(pingTimeout)
	return err
}

// line reads a line. Redis has nothing else to say.
func (c *pooledConn) line(within time.Duration) ([]byte, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	line := make([]byte, maxPong)
	n, err := c.Conn.Read(line)
	if err != nil {
		return nil, err
	}
	line, whole := bytes.CutSuffix(line[:n], []byte("\n"))
	if !whole {
		return nil, fmt.Errorf("no answer of at most %d bytes", maxPong)
	}
	return bytes.TrimRight(line, "\r"), nil
}

// lastWordsTimeout is how long an error that Redis wrote before it closed a
// connection has to arrive: it came before what told of the end.
const lastWordsTimeout = 100 * time.Millisecond

// lastWords returns what Redis said before it closed the connection, an error reply to
// a command that it does not read to its end, or err if it said nothing.
func (c *pooledConn) lastWords(err error) error {
	line, failed := c.line(lastWordsTimeout)
	if failed != nil || len(line) == 0 || line[0] != '-' {
		return err
	}
	return &hungUp{string(line[1:]), err}
}

// hungUp is an error reply with which Redis has closed the connection. To go-redis it
// is no reply: the connection must not be used again.
type hungUp struct {
	reply string
	err   error
}

func (e *hungUp) Error() string { return e.reply }

func (e *hungUp) Unwrap() error { return e.err }
