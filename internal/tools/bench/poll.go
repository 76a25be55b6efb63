//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// poller reads many HTTP/1.1 streams on one goroutine, straight from their
// sockets. A goroutine a stream would cost the load process more than most
// servers spend on a delivery, and then it is what limits the rate.
type poller struct {
	epoll   int
	pause   time.Duration // what comes meanwhile is read at once
	stopped atomic.Bool
	done    chan struct{}
	err     error // why it ended, once done is closed

	mu      sync.Mutex
	streams map[int32]*polled
}

// polled is one stream: its socket, and how far its body has been taken apart.
type polled struct {
	socket *os.File
	fd     int32 // of socket, which would make it blocking each time it is asked
	reader *reader
	body   chunked
}

func newPoller(pause time.Duration) (*poller, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	p := &poller{epoll: epoll, pause: pause, streams: make(map[int32]*polled), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = p.run()
	}()
	return p, nil
}

// add has a stream read, whose socket the poller closes from then on. begin is
// what has been read of the body already.
func (p *poller) add(s *polled, begin []byte) error {
	if err := s.body.feed(begin, s.reader.line); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: s.fd}
	if err := syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, int(s.fd), &event); err != nil {
		return fmt.Errorf("polling a stream: %w", err)
	}
	p.streams[s.fd] = s
	return nil
}

// pollWait is how soon a poller without events sees that it is stopped, in
// milliseconds.
const pollWait = 100

func (p *poller) run() error {
	events := make([]syscall.EpollEvent, 256)
	buf := make([]byte, 64<<10)
	for !p.stopped.Load() {
		time.Sleep(p.pause)
		n, err := syscall.EpollWait(p.epoll, events, pollWait)
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("polling: %w", err)
		}
		for _, e := range events[:max(0, n)] {
			p.mu.Lock()
			s := p.streams[e.Fd]
			p.mu.Unlock()
			if err := s.read(buf); err != nil {
				s.reader.ended.Store(&err)
				if err := syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, int(e.Fd), nil); err != nil {
					return fmt.Errorf("polling: %w", err)
				}
			}
		}
	}
	return nil
}

// read takes what has come.
func (s *polled) read(buf []byte) error {
	n, err := s.receive(buf)
	switch {
	case err == syscall.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("reading a stream: %w", err)
	case n == 0:
		return io.ErrUnexpectedEOF
	}
	if s.reader.skims {
		s.reader.tally.bytes.Add(int64(n))
		return nil
	}
	return s.body.feed(buf[:n], s.reader.line)
}

// receive has the kernel throw away what nobody looks at (tcp(7), MSG_TRUNC).
func (s *polled) receive(buf []byte) (int, error) {
	if !s.reader.skims {
		return syscall.Read(int(s.fd), buf)
	}
	n, _, err := syscall.Recvfrom(int(s.fd), buf, syscall.MSG_TRUNC)
	return n, err
}

// close ends the poller and its streams.
func (p *poller) close() error {
	p.stopped.Store(true)
	<-p.done
	for _, s := range p.streams {
		s.socket.Close()
	}
	syscall.Close(p.epoll)
	return p.err
}

// chunked takes a body in the chunked transfer coding (RFC 9112, section 7.1)
// apart into lines, as it comes.
type chunked struct {
	at   chunkPart
	size int // of the chunk, as far as it has been read; in it, what is left
	lines
}

type chunkPart int

const (
	chunkSize chunkPart = iota
	chunkData
	chunkEnd
)

func (c *chunked) feed(p []byte, line func([]byte) error) error {
	for len(p) > 0 {
		switch c.at {
		case chunkSize:
			if err := c.sizeByte(p[0]); err != nil {
				return err
			}
			p = p[1:]
		case chunkData:
			n := min(c.size, len(p))
			if err := c.cut(p[:n], line); err != nil {
				return err
			}
			p, c.size = p[n:], c.size-n
			if c.size == 0 {
				c.at = chunkEnd
			}
		case chunkEnd:
			if p[0] == '\n' {
				c.at = chunkSize
			}
			p = p[1:]
		}
	}
	return nil
}

func (c *chunked) sizeByte(b byte) error {
	switch {
	case '0' <= b && b <= '9':
		c.size = c.size<<4 | int(b-'0')
	case 'a' <= b && b <= 'f':
		c.size = c.size<<4 | int(b-'a'+10)
	case 'A' <= b && b <= 'F':
		c.size = c.size<<4 | int(b-'A'+10)
	case b == '\r':
	case b == '\n' && c.size == 0:
		return io.EOF
	case b == '\n':
		c.at = chunkData
	default:
		return fmt.Errorf("reading a chunk's size: unexpected byte %q", b)
	}
	return nil
}

// lines cuts a text into lines, as it comes.
type lines struct{ begun []byte }

func (l *lines) cut(p []byte, line func([]byte) error) error {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.begun = append(l.begun, p...)
			return nil
		}
		whole := p[:i]
		if len(l.begun) > 0 {
			l.begun = append(l.begun, whole...)
			whole, l.begun = l.begun, l.begun[:0]
		}
		if err := line(whole); err != nil {
			return err
		}
		p = p[i+1:]
	}
}
