package redissse

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// connSocket is the socket of a connection, which lives for as long as the connection: nothing is
// written to a descriptor that has been closed and is another one's by now.
type connSocket struct {
	conn    net.Conn
	raw     syscall.RawConn
	awaited *awaited

	// Of one call of send, for write, which must not be made for each.
	write func(fd uintptr)
	p     []byte
	n     int
	err   error
}

// newSocket returns the socket of a connection whose client's going is awaited.
func newSocket(conn net.Conn, of connHold) (clientSocket, error) {
	if of.awaited == nil {
		return nil, errors.New("nothing tells when the connection takes bytes")
	}
	s := &connSocket{conn: conn, raw: of.socket, awaited: of.awaited}
	s.write = func(fd uintptr) { s.n, s.err = unix.Write(int(fd), s.p) }
	return s, nil
}

// send goes past the connection's deadlines, which Caddy may set even when the connection is no longer its own.
// Go has all sockets not block.
func (s *connSocket) send(p []byte) (n int, err error) {
	s.p = p
	err = s.raw.Control(s.write)
	s.p = nil
	switch {
	case err != nil:
		return 0, fmt.Errorf("writing to a client: %w", err)
	case s.err == nil:
		return s.n, nil
	case errors.Is(s.err, unix.EAGAIN), errors.Is(s.err, unix.EINTR):
		return 0, nil
	}
	return 0, fmt.Errorf("writing to a client: %w", s.err)
}

func (s *connSocket) awaitRoom(room func()) { s.awaited.awaitRoom(room) }

// discard reads 8 KiB at most: no client of a stream has so much to say.
func (s *connSocket) discard() {
	_ = s.raw.Control(func(fd uintptr) {
		var scrap [1 << 10]byte
		for range 8 {
			if n, err := unix.Read(int(fd), scrap[:]); n <= 0 || err != nil {
				return
			}
		}
	})
}

func (s *connSocket) closeWrite() error {
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	return half.CloseWrite()
}
