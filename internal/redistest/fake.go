package redistest

import (
	"net"
	"sync"
	"testing"
)

// Fake listens on a free loopback port and runs serve for each connection, in a goroutine of its own; the connection is closed
// when that returns. At the end of the test it closes the port and all connections, and waits for every serve.
func Fake(t testing.TB, serve func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening for a fake server: %v", err)
	}
	f := &fake{serve: serve, conns: map[net.Conn]struct{}{}}
	f.running.Go(func() { f.accept(ln) })
	t.Cleanup(func() {
		_ = ln.Close()
		f.close()
		f.running.Wait()
	})
	return ln.Addr().String()
}

type fake struct {
	serve   func(net.Conn)
	running sync.WaitGroup // the accept loop and every serve

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once the test has ended
}

func (f *fake) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		f.admit(conn)
	}
}

func (f *fake) admit(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		_ = conn.Close()
		return
	}
	f.conns[conn] = struct{}{}
	f.running.Go(func() {
		defer f.forget(conn)
		f.serve(conn)
	})
}

func (f *fake) forget(conn net.Conn) {
	_ = conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, conn)
}

func (f *fake) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		_ = conn.Close()
	}
	f.conns = nil
}
