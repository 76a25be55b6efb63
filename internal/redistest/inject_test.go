package redistest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSetTarget(t *testing.T) {
	first, second := listen(t), listen(t)
	p := NewProxy(t, first.Addr().String())
	old := dial(t, p)
	oldTarget := peer{t, accept(t, first)}
	p.SetTarget(second.Addr().String())
	fresh := dial(t, p)
	freshTarget := peer{t, accept(t, second)}
	old.say("to the first")
	oldTarget.hears("to the first")
	freshTarget.say("from the second")
	fresh.hears("from the second")
	oldTarget.say("still there")
	old.hears("still there")
}

func TestSetTargetOfAConnectionInAHole(t *testing.T) {
	first, second := listen(t), listen(t)
	p := NewProxy(t, first.Addr().String())
	p.SetBlackhole(true)
	c := dial(t, p)
	waitOpen(t, p, 1)
	p.SetTarget(second.Addr().String())
	p.SetBlackhole(false)
	target := peer{t, accept(t, second)}
	c.say("moved")
	target.hears("moved")
}

func TestInject(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	p.Inject([]byte("to nobody"))
	a, b := dial(t, p), dial(t, p)
	for _, c := range []peer{a, b} {
		c.say("x")
		c.hears("x")
	}
	piece := []byte("injected")
	p.Inject(piece)
	copy(piece, "reused..")
	a.hears("injected")
	b.hears("injected")
	p.Inject([]byte("1"))
	p.Inject([]byte("2"))
	a.say("z")
	a.hears("12z")
	b.hears("12")
}

func TestInjectIsThereBeforeTheEnd(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	c := dial(t, p)
	c.say("x")
	c.hears("x")
	p.Inject([]byte("last words"))
	p.CloseConns()
	c.hears("last words")
	c.ends(io.EOF)
}

// What a hole has held up comes before the pieces that the proxy had not read yet.
func TestInjectIntoAHole(t *testing.T) {
	const text, size, piece = "injected", 128 << 10, 32 << 10
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	c := dial(t, p)
	target := peer{t, accept(t, ln)}
	other := dial(t, p)
	accept(t, ln)
	p.SetDropToClient(true)
	var saying sync.WaitGroup
	saying.Go(func() { _, _ = target.conn.Write(bytes.Repeat([]byte("x"), size)) })
	p.Inject([]byte(text))
	c.hearsNothing()
	p.SetDropToClient(false)
	other.hears(text)
	got := make([]byte, size+len(text))
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.ReadFull(c.conn, got); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	if at := bytes.Index(got, []byte(text)); at < 0 || at > piece {
		t.Errorf("the injection comes after %d bytes, want at most one piece", at)
	}
	saying.Wait()
}

func TestInjectEndsWithTheConnections(t *testing.T) {
	p := NewProxy(t, echoServer(t))
	dial(t, p)
	waitOpen(t, p, 1)
	p.SetBlackhole(true)
	var injected sync.WaitGroup
	begun := time.Now()
	injected.Go(func() {
		for time.Since(begun) < 10*time.Second && p.Open() > 0 {
			p.Inject([]byte("lost"))
		}
	})
	p.Reset()
	injected.Wait()
}

// Lines that the target sends in pieces of many, at a rate, must come whole: a piece is not what one write of the proxy is.
func TestInjectCutsNoPiece(t *testing.T) {
	const line, lines, rate = "a line of the target's\n", 400, 100_000
	ln := listen(t)
	p := NewProxy(t, ln.Addr().String())
	c := dial(t, p)
	target := peer{t, accept(t, ln)}
	p.SetRate(rate)
	target.say(strings.Repeat(line, lines))
	c.hears(line) // the piece is under way
	var injecting sync.WaitGroup
	for n := range 4 {
		injecting.Go(func() { p.Inject(fmt.Appendf(nil, "injected %d\n", n)) })
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	injected := 0
	r := bufio.NewReader(c.conn)
	for read := 1; injected < 4 || read < lines; {
		got, err := r.ReadString('\n')
		switch {
		case err != nil:
			t.Fatalf("after %d lines: %v", read, err)
		case got == line:
			read++
		case strings.HasPrefix(got, "injected ") && len(got) == len("injected 0\n"):
			injected++
		default:
			t.Fatalf("line %d is %q", read, got)
		}
	}
	injecting.Wait()
}
