package redistest

import (
	"bufio"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

func TestFake(t *testing.T) {
	var served, over atomic.Int32
	t.Run("inner", func(t *testing.T) {
		addr := Fake(t, func(conn net.Conn) {
			defer over.Add(1)
			r := bufio.NewReader(conn)
			for served.Add(1); ; {
				line, err := r.ReadString('\n')
				if err != nil || line == "bye\n" {
					return
				}
				_, _ = io.WriteString(conn, line)
			}
		})
		a, b := dialAddr(t, addr), dialAddr(t, addr)
		a.say("one\n")
		b.say("two\n")
		b.hears("two\n")
		a.hears("one\n")
		b.say("bye\n")
		b.ends(io.EOF)
		a.say("three\n") // and stays open
		a.hears("three\n")
	})
	if served.Load() != 2 || over.Load() != 2 {
		t.Errorf("%d connections served, %d to their end, want 2", served.Load(), over.Load())
	}
}

func TestFakeEndsWithTheTest(t *testing.T) {
	var over atomic.Bool
	var c peer
	t.Run("inner", func(inner *testing.T) {
		c = dialAddr(t, Fake(inner, func(conn net.Conn) {
			_, _ = io.Copy(conn, conn)
			time.Sleep(silence) // the test waits for a serve that is slow to end
			over.Store(true)
		}))
		c.say("x")
		c.hears("x")
	})
	if !over.Load() {
		t.Error("a serve outlives the test")
	}
	c.ends(io.EOF)
}
