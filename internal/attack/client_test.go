//go:build attack && linux

package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// Addresses of clients: the attacker's is not that of the others.
const (
	attacker = "127.0.0.2"
	innocent = "127.0.0.1"
)

// receives is the receive buffer of a client that reads nothing: what it cannot hold is the gateway's.
const receives = 4 << 10

// dial connects from an address, with a receive buffer unless that is 0. The connection is reset when it is closed: thousands that wait
// for their end take up port numbers.
func dial(addr, from string, buffer int) (*net.TCPConn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: proctest.Patience}
	if buffer > 0 {
		dialer.Control = func(_, _ string, conn syscall.RawConn) (err error) {
			controlErr := conn.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer)
			})
			if err == nil {
				err = controlErr
			}
			return err
		}
	}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if err := tcp.SetLinger(0); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return tcp, nil
}

// ask sends the head of a request. Header lines follow the target.
func ask(conn net.Conn, method, target string, header ...string) error {
	head := method + " " + target + " HTTP/1.1\r\nHost: " + conn.RemoteAddr().String() + "\r\n"
	for _, line := range header {
		head += line + "\r\n"
	}
	_, err := io.WriteString(conn, head+"\r\n")
	return err
}

const acceptStream = "Accept: text/event-stream"

// readHead reads a response up to its body. What is no stream is an error.
func readHead(in *bufio.Reader) (*http.Response, error) {
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the response: %w", err)
	}
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		return nil, fmt.Errorf("opening a stream: status %s, content type %q", response.Status, kind)
	}
	return response, nil
}

// stream is one that is open.
type stream struct {
	conn *net.TCPConn
	body *bufio.Reader
}

func (g *gateway) open(from, target string, header ...string) (*stream, error) {
	conn, err := dial(g.addr, from, 0)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(proctest.Patience)); err != nil {
		return nil, err
	}
	if err := ask(conn, http.MethodGet, target, append(header, acceptStream)...); err != nil {
		_ = conn.Close()
		return nil, err
	}
	response, err := readHead(bufio.NewReader(conn))
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &stream{conn, bufio.NewReaderSize(response.Body, 64<<10)}, nil
}

// mustOpen opens a stream that ends with the test.
func (g *gateway) mustOpen(target string, header ...string) *stream {
	g.t.Helper()
	s, err := g.open(innocent, target, header...)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// lines calls f with each line of the stream, until f reports false or the stream ends.
func (s *stream) lines(f func(line []byte) bool) error {
	for {
		line, err := s.body.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !f(bytes.TrimSuffix(line, []byte("\n"))) {
			return nil
		}
	}
}

// call opens a stream as the attacker and leaves it at once.
func (g *gateway) call(target string, header ...string) error {
	s, err := g.open(attacker, target, header...)
	if err != nil {
		return err
	}
	return s.conn.Close()
}
