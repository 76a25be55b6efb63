package redistest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// silence is how long a test listens to be sure that nothing comes: a wrong byte on loopback needs under a millisecond.
const silence = 60 * time.Millisecond

// patience bounds what must come.
const patience = 5 * time.Second

func TestProxyForwardsAndCounts(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	a, b := dial(t, p), dial(t, p)
	a.say("one")
	a.hears("one")
	b.say("two")
	b.hears("two")
	if p.Accepted() != 2 || p.Open() != 2 {
		t.Errorf("accepted %d, open %d, want 2 and 2", p.Accepted(), p.Open())
	}
	if p.URL() != "redis://"+p.Addr()+"/0" {
		t.Errorf("URL %q of address %q", p.URL(), p.Addr())
	}
	a.close()
	waitOpen(t, p, 1)
	if p.Accepted() != 2 {
		t.Errorf("accepted %d after a close", p.Accepted())
	}
}

func TestProxyForwardsAHalfClose(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	c := dial(t, p)
	c.say("last words")
	_ = c.conn.CloseWrite()
	if got, err := io.ReadAll(c.conn); err != nil || string(got) != "last words" {
		t.Errorf("read %q, %v", got, err)
	}
	waitOpen(t, p, 0)
}

func TestBlackholeHoldsEverything(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	c := dial(t, p)
	c.say("before")
	c.hears("before")
	p.SetBlackhole(true)
	c.say("during")
	c.hearsNothing()
	late := dial(t, p)
	late.say("late")
	late.hearsNothing()
	p.SetBlackhole(false)
	c.hears("during")
	late.hears("late")
}

func TestBlackholeHidesTheEndOfTheTarget(t *testing.T) {
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	c := dial(t, p)
	target := accept(t, ln)
	p.SetBlackhole(true)
	_ = target.SetLinger(0)
	_ = target.Close()
	refuse(t, ln)
	c.hearsNothing()
	late := dial(t, p) // the target is gone, which a dead link does not tell either
	late.hearsNothing()
	p.SetBlackhole(false)
	c.ends(syscall.ECONNRESET)
	late.ends(syscall.ECONNRESET)
}

func TestResetInsideABlackholeLosesWhatItHolds(t *testing.T) {
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	c := dial(t, p)
	target := accept(t, ln)
	p.SetBlackhole(true)
	c.say("lost")
	c.hearsNothing()
	p.Reset()
	c.ends(syscall.ECONNRESET)
	if n, err := target.Read(make([]byte, 16)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target read %d bytes, %v", n, err)
	}
}

func TestHalfOpen(t *testing.T) {
	for name, drop := range map[string]struct {
		set     func(*Proxy, bool)
		reaches bool // whether what the client says reaches the target
	}{
		"to server": {(*Proxy).SetDropToServer, false},
		"to client": {(*Proxy).SetDropToClient, true},
	} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t)
			p := NewProxy(t, ln.Addr().String())
			c := dial(t, p)
			target := peer{t, accept(t, ln)}
			drop.set(p, true)
			c.say("up")
			target.say("down")
			open, holed := target, c
			openText, holedText := "up", "down"
			if !drop.reaches {
				open, holed = holed, open
				openText, holedText = holedText, openText
			}
			open.hears(openText)
			holed.hearsNothing()
			drop.set(p, false)
			holed.hears(holedText)
		})
	}
}

// A client that resets while nothing reaches the server must not be betrayed by the server's own writing.
func TestHalfOpenHidesTheEndOfTheClient(t *testing.T) {
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	c := dial(t, p)
	target := peer{t, accept(t, ln)}
	p.SetDropToServer(true)
	_ = c.conn.SetLinger(0)
	c.close()
	target.say("to nobody")
	target.hearsNothing()
	target.say("to nobody")
	target.hearsNothing()
	p.SetDropToServer(false)
	// EOF or RST: the kernel tells of the client's RST once, to the proxy's reader or to its writer.
	_ = target.conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := target.conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v, want the end", n, err)
	}
}

func TestSetRate(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	c := dial(t, p)
	const size, rate = 20_000, 100_000
	p.SetRate(rate)
	start := time.Now()
	c.say(string(bytes.Repeat([]byte("x"), size)))
	c.hears(string(bytes.Repeat([]byte("x"), size)))
	// The first slice is free, and a busy machine is only slower.
	if got, least := time.Since(start), (size-rate/slicesPerSecond)*time.Second/rate; got < least {
		t.Errorf("%d bytes took %v, want at least %v", size, got, least)
	}

	p.SetRate(1)
	c.say("slow")
	c.hears("s")
	start = time.Now()
	p.SetRate(0)
	c.hears("low")
	if got := time.Since(start); got > time.Second/2 {
		t.Errorf("lifting the limit took effect after %v", got)
	}
}

func TestResetAndCloseConns(t *testing.T) {
	for name, how := range map[string]struct {
		end  func(*Proxy)
		want error
	}{
		"RST": {(*Proxy).Reset, syscall.ECONNRESET},
		"FIN": {(*Proxy).CloseConns, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t)
			p := NewProxy(t, ln.Addr().String())
			c := dial(t, p)
			target := peer{t, accept(t, ln)}
			target.say("linked")
			c.hears("linked")
			p.SetBlackhole(true) // unread bytes must not turn the FIN into a RST
			c.say("unread")
			target.say("unread")
			how.end(p)
			if p.Open() != 0 {
				t.Errorf("%d connections open", p.Open())
			}
			c.ends(how.want)
			target.ends(how.want)
			p.SetBlackhole(false)
			c = dial(t, p)
			target = peer{t, accept(t, ln)}
			c.say("again")
			target.hears("again")
		})
	}
}

func TestCloseConnsEndsAStalledConnection(t *testing.T) {
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	c := dial(t, p)
	target := accept(t, ln)
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			if _, err := target.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	c.hears("\x00") // and reads no more
	p.CloseConns()
	writer.Wait()
}

func TestSetRefuse(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	old := dial(t, p)
	old.say("x")
	old.hears("x")
	p.SetRefuse(true)
	dial(t, p).ends(io.EOF)
	old.say("still open")
	old.hears("still open")
	p.SetRefuse(false)
	c := dial(t, p)
	c.say("y")
	c.hears("y")
	if p.Accepted() != 3 || p.Open() != 2 {
		t.Errorf("accepted %d, open %d, want 3 and 2", p.Accepted(), p.Open())
	}
}

func TestProxyOfNobody(t *testing.T) {
	ln := listen(t)
	_ = ln.Close()
	p := NewProxy(t, ln.Addr().String())
	// The RST may come before connect has returned.
	conn, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection to nobody: %v", err)
	}
	waitOpen(t, p, 0)
}

// peer is one end of a connection under test.
type peer struct {
	t    *testing.T
	conn *net.TCPConn
}

func dial(t *testing.T, p *Proxy) peer {
	t.Helper()
	return dialAddr(t, p.Addr())
}

func dialAddr(t *testing.T, addr string) peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("dialling: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return peer{t, conn.(*net.TCPConn)}
}

func (p peer) close() { _ = p.conn.Close() }

func (p peer) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Fatalf("writing %.20q: %v", text, err)
	}
}

func (p peer) hears(text string) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(text))
	n, err := io.ReadFull(p.conn, got)
	if string(got[:n]) != text {
		p.t.Fatalf("read %.20q, want %.20q: %v", got[:n], text, err)
	}
}

func (p peer) hearsNothing() {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(silence))
	n, err := p.conn.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("read %d bytes, %v, want silence", n, err)
	}
}

func (p peer) ends(want error) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := p.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		p.t.Fatalf("read %d bytes, %v, want %v", n, err, want)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// refuse has connections to a listener refused. Its port stays taken: nobody else gets it and accepts what comes for it.
func refuse(t *testing.T, ln net.Listener) {
	t.Helper()
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

func accept(t *testing.T, ln net.Listener) *net.TCPConn {
	t.Helper()
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatalf("the proxy does not dial: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// echoServer sends back what it reads.
func echoServer(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	// Runs after the cleanups of the proxy and the clients, so that every connection has ended.
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func waitOpen(t *testing.T, p *Proxy, n int) {
	t.Helper()
	for end := time.Now().Add(patience); p.Open() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections open, want %d", p.Open(), n)
		}
	}
}
