package redissse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// departures tells which clients have closed their connection, and of those that
// are asked for, which take bytes again. Over HTTP/1
// net/http does, too, but no longer once it has read a byte after the request,
// which it takes for the next one: such a client would count for up to two
// heartbeats more. Safe for concurrent use.
//
// It is one epoll(7) for all of a hub's streams, which wakes for nothing else.
// Go's own poller waits for it, so that it takes no thread.
type departures struct {
	mu      sync.Mutex
	file    *os.File
	epoll   syscall.RawConn // of file; nil: not open
	last    uint64          // what events are known by: a descriptor may be another one's by then
	awaited map[uint64]*awaited
}

// awaited is one connection.
type awaited struct {
	in     *departures
	socket controlled
	id     uint64
	gone   func()
	room   func() // nil: nobody waits for that. Of in.mu
}

// open has await work. It is called once, and run after it.
func (d *departures) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making an epoll: %w", err)
	}
	// Without this os.NewFile would not give it to Go's poller.
	nonblock := unix.SetNonblock(fd, true)
	file := os.NewFile(uintptr(fd), "epoll")
	epoll, err := file.SyscallConn()
	if err = errors.Join(nonblock, err); err != nil {
		return fmt.Errorf("making an epoll: %w", errors.Join(err, file.Close()))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.file, d.epoll, d.awaited = file, epoll, map[uint64]*awaited{}
	return nil
}

// run calls those that await until ctx is done. Then it closes what is open.
func (d *departures) run(ctx context.Context) error {
	closing := context.AfterFunc(ctx, func() { _ = d.file.Close() })
	defer closing()
	var events [64]unix.EpollEvent
	var failed error
	err := d.epoll.Read(func(fd uintptr) bool {
		failed = d.take(int(fd), events[:])
		return failed != nil
	})
	if err = errors.Join(err, failed); err != nil && ctx.Err() == nil {
		return fmt.Errorf("waiting for clients that go: %w", errors.Join(err, d.file.Close()))
	}
	return nil
}

// take takes the events that there are.
func (d *departures) take(epoll int, events []unix.EpollEvent) error {
	for {
		n, err := unix.EpollWait(epoll, events, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n == 0 {
			return nil
		}
		for _, e := range events[:max(n, 0)] {
			if tell := d.told(uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32, e.Events); tell != nil {
				tell()
			}
		}
	}
}

// await calls gone, which must not block, once a connection's peer has closed
// it, or it has failed. forget ends that; gone may be called meanwhile. It returns nil if
// nothing can be awaited.
func (d *departures) await(socket controlled, gone func()) *awaited {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epoll == nil {
		return nil
	}
	d.last++
	a := &awaited{in: d, socket: socket, id: d.last, gone: gone}
	d.awaited[a.id] = a
	d.control(a, unix.EPOLL_CTL_ADD, unix.EPOLLRDHUP|unix.EPOLLONESHOT)
	return a
}

// forget ends what await began.
func (a *awaited) forget() {
	if a == nil {
		return
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.in.control(a, unix.EPOLL_CTL_DEL, 0)
	delete(a.in.awaited, a.id)
}

// awaitRoom has room called, which must not block, when the socket takes bytes, and from
// then on each time that it does again after it took none.
func (a *awaited) awaitRoom(room func()) {
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.room = room
	a.in.control(a, unix.EPOLL_CTL_MOD, unix.EPOLLRDHUP|unix.EPOLLOUT|unix.EPOLLET)
}

// told returns what is to be called for an event: of a connection's end once.
func (d *departures) told(id uint64, events uint32) (tell func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.awaited[id]
	switch {
	case a == nil:
		return nil
	case events&^unix.EPOLLOUT == 0:
		return a.room
	}
	delete(d.awaited, id)
	return a.gone
}

// control does nothing for a socket that is closed, which the kernel has taken out.
func (d *departures) control(a *awaited, op int, events uint32) {
	event := unix.EpollEvent{Events: events, Fd: int32(a.id), Pad: int32(a.id >> 32)}
	_ = d.epoll.Control(func(epoll uintptr) {
		_ = a.socket.Control(func(fd uintptr) { _ = unix.EpollCtl(int(epoll), op, int(fd), &event) })
	})
}
