package redissse

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var errNotAwaited = errors.New("nothing tells when the connection takes bytes")

// serverSocket is the socket of a connection that stays the server's. Nothing is
// written to a descriptor that the server has closed and that is another one's by now.
type serverSocket struct {
	raw     syscall.RawConn
	awaited *awaited

	// Of one call of send, for write, which must not be made for each.
	write func(fd uintptr)
	p     []byte
	n     int
	err   error
}

// newServerSocket returns the socket of a connection whose client's going is awaited.
func newServerSocket(of *connHold) (*serverSocket, error) {
	if of.awaited == nil {
		return nil, errNotAwaited
	}
	s := &serverSocket{raw: of.socket, awaited: of.awaited}
	s.write = func(fd uintptr) { s.n, s.err = writeTo(int(fd), s.p) }
	return s, nil
}

// send goes past the connection's deadlines, which are Caddy's.
func (s *serverSocket) send(p []byte) (n int, err error) {
	s.p = p
	err = s.raw.Control(s.write)
	s.p = nil
	if err != nil {
		return 0, fmt.Errorf("writing to a client: %w", err)
	}
	return s.n, s.err
}

func (s *serverSocket) awaitRoom(room func()) { s.awaited.awaitRoom(room) }

func (*serverSocket) closeWrite() error { return nil }

func (*serverSocket) close(bool) {}

// ownSocket is the socket of a stream that has left its request, by a descriptor that is the stream's alone. The server's
// is closed: with what Go keeps for it, a connection takes 1 KiB. Invariant: whoever uses the descriptor does so before
// close, which is called once.
type ownSocket struct {
	fd      int
	awaited *awaited // nil until take
}

// newOwnSocket returns the socket of a connection whose client's going is awaited, which still is the server's, too.
func newOwnSocket(of *connHold) (*ownSocket, error) {
	if of.awaited == nil {
		return nil, errNotAwaited
	}
	s := &ownSocket{fd: -1}
	var failed error
	err := of.socket.Control(func(fd uintptr) { s.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("taking a descriptor: %w", err)
	}
	return s, nil
}

// drop gives the descriptor back. The connection stays the server's.
func (s *ownSocket) drop() { _ = unix.Close(s.fd) }

// take has the socket be all there is of a connection which the server has given up. gone is called as soon as the client
// goes, as it was before.
func (s *ownSocket) take(from *connHold, in *departures, gone func()) {
	s.awaited = in.await(s, gone)
	from.awaited.forget()
	_ = from.conn.conn.Close()
	*from = connHold{}
}

// Control has f use the descriptor.
func (s *ownSocket) Control(f func(fd uintptr)) error {
	f(uintptr(s.fd))
	return nil
}

func (s *ownSocket) send(p []byte) (n int, err error) { return writeTo(s.fd, p) }

func (s *ownSocket) awaitRoom(room func()) { s.awaited.awaitRoom(room) }

func (s *ownSocket) closeWrite() error { return unix.Shutdown(s.fd, unix.SHUT_WR) }

func (s *ownSocket) close(reset bool) {
	s.awaited.forget()
	if reset {
		_ = unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	} else {
		s.discard()
	}
	_ = unix.Close(s.fd)
}

// discard reads what the client has sent, 8 KiB at most: no client of a stream has so much to say.
func (s *ownSocket) discard() {
	var scrap [1 << 10]byte
	for range 8 {
		if n, err := unix.Read(s.fd, scrap[:]); n <= 0 || err != nil {
			return
		}
	}
}

// writeTo writes what a socket takes, and does not wait. It is send(2), whose count golang.org/x/sys/unix does not return, and without a word to
// Go's scheduler, which what does not wait need not have: with write(2) a delivery takes 5 % more.
func writeTo(fd int, p []byte) (n int, err error) {
	sent, _, failed := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	switch failed {
	case 0:
		return int(sent), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("writing to a client: %w", failed)
}
