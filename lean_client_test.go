//go:build linux

package redissse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// leanClient reads a stream from its own socket, and takes nothing for its response that is not one to the letter: a byte that
// is written to a descriptor which has become another stream's, or in the wrong place, is an error.
type leanClient struct {
	conn   *net.TCPConn
	from   *bufio.Reader
	parser *ssetest.Parser
	events []ssetest.Event // not taken yet
	bytes  int             // of the body
}

// smallBuffer is an SO_RCVBUF, in bytes, that holds a client to what it reads. The kernel takes no less than 2 KiB.
const smallBuffer = 4 << 10

// dialLean opens a stream of a path and reads its headers. buffer is the client's SO_RCVBUF in bytes, 0 for the system's.
func dialLean(addr, path string, buffer int) (*leanClient, error) {
	c, err := askLean(addr, path, buffer)
	if err != nil {
		return nil, err
	}
	if err := c.readHead(true); err != nil {
		_ = c.conn.Close()
		return nil, err
	}
	return c, nil
}

// dialParked is dialLean for a stream that stays with its request.
func dialParked(addr, path string) (*leanClient, error) {
	c, err := askLean(addr, path, 0)
	if err == nil {
		err = c.readHead(false)
	}
	return c, err
}

// askLean is dialLean for who reads nothing yet.
func askLean(addr, path string, buffer int) (*leanClient, error) {
	dialer := net.Dialer{Timeout: gatewayWait, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if buffer == 0 {
			return nil
		}
		controlled := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) })
		return errors.Join(controlled, err)
	}}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &leanClient{conn: conn.(*net.TCPConn), from: bufio.NewReader(conn), parser: ssetest.NewParser()}
	if _, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, addr); err == nil {
		err = conn.SetReadDeadline(time.Now().Add(gatewayWait))
	}
	if err != nil {
		_ = conn.Close()
	}
	return c, err
}

// openLean is dialLean for a test's client, which has the stream's first cursor, too.
func (g *gateway) openLean(path string, buffer int) *leanClient {
	g.t.Helper()
	c, err := dialLean(g.addr, path, buffer)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.conn.Close() })
	if e, err := c.next(); err != nil || e.Type != "cursor" {
		g.t.Fatalf("a stream begins with %+q, %v", e, err)
	}
	return c
}

// readHead reads the headers of a response. They say whether the connection ends with it.
func (c *leanClient) readHead(closes bool) error {
	response, err := http.ReadResponse(c.from, nil)
	switch {
	case err != nil:
		return fmt.Errorf("reading the headers: %w", err)
	case response.StatusCode != http.StatusOK || response.Close != closes || len(response.TransferEncoding) != 1:
		return fmt.Errorf("the headers are of status %d, transfer encoding %q, the connection closes: %t", response.StatusCode, response.TransferEncoding, response.Close)
	}
	return nil
}

// chunk reads the next chunk. After the last one, which ends the response, and the end of the connection behind it, it returns io.EOF.
func (c *leanClient) chunk() ([]byte, error) {
	size, err := c.from.ReadString('\n')
	if err != nil {
		return nil, cutOr(err)
	}
	digits := strings.TrimSuffix(size, "\r\n")
	n, err := strconv.ParseUint(digits, 16, 24)
	if err != nil || strconv.FormatUint(n, 16) != digits {
		return nil, fmt.Errorf("a chunk begins with %q", size)
	}
	body := make([]byte, n+2)
	if _, err := io.ReadFull(c.from, body); err != nil {
		return nil, cutOr(err)
	}
	if string(body[n:]) != "\r\n" {
		return nil, fmt.Errorf("a chunk of %d bytes ends with %q", n, body[n:])
	}
	if c.bytes += int(n); n > 0 {
		return body[:n], nil
	}
	if rest, err := io.ReadAll(c.from); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("behind the end are %q, %v", rest, err)
	}
	return nil, io.EOF
}

// errCut is the end of a connection before that of the response.
var errCut = errors.New("the response is cut")

func cutOr(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", errCut, err)
}

// next returns the next event, io.EOF at a proper end.
func (c *leanClient) next() (ssetest.Event, error) {
	for len(c.events) == 0 {
		p, err := c.chunk()
		if err != nil {
			return ssetest.Event{}, err
		}
		c.events = c.parser.Push(p)
	}
	e := c.events[0]
	c.events = c.events[1:]
	return e, nil
}

// message returns the data of the next message. Cursors may come before it, and nothing else.
func (c *leanClient) message() (string, error) {
	for {
		switch e, err := c.next(); {
		case err != nil:
			return "", err
		case e.Type == "message":
			return e.Data, nil
		case e.Type != "cursor":
			return "", fmt.Errorf("there is an event %+q", e)
		}
	}
}

// end returns the data of the messages that are left. The response has to end properly.
func (c *leanClient) end() (messages []string, err error) {
	for {
		switch data, err := c.message(); {
		case errors.Is(err, io.EOF):
			return messages, nil
		case err != nil:
			return messages, err
		default:
			messages = append(messages, data)
		}
	}
}

// reset ends the connection with an RST.
func (c *leanClient) reset() {
	_ = c.conn.SetLinger(0)
	_ = c.conn.Close()
}

// leanStreams are how many streams are open that have left their requests, as the metrics have it.
func (g *gateway) leanStreams() float64 { return g.streamsOf(leanFull) }

// streamsOf are how many streams are open that are written in one way.
func (g *gateway) streamsOf(kind leanKind) (n float64) {
	g.t.Helper()
	for series, value := range g.scrape() {
		if strings.HasPrefix(series, "streams_lean{") && strings.Contains(series, fmt.Sprintf("lean=%q", kind)) {
			n += value
		}
	}
	return n
}

// openFiles is how many descriptors this process has.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
