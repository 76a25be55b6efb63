//go:build linux

package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// What no redis-server sends, and what none sends unasked.
var (
	malformed = []string{
		"rubbish\r\n",
		"*3\r\n$-7\r\n",
		"*9223372036854775807\r\n",
		"*-7\r\n",
		"$9223372036854775807\r\n",
		"*3\r\n$7\r\nmessage\r\n$x\r\n",
	}
	foreign = []string{
		"+OK\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$5\r\none:0\r\n:1\r\n",
		"*3\r\n:1\r\n:2\r\n:3\r\n",
		"*3\r\n$11\r\nunsubscribe\r\n$5\r\none:0\r\n:0\r\n",
		"*2\r\n$4\r\npong\r\n$5\r\n12345\r\n",
		"*0\r\n",
	}
)

// fakeFaults are servers that are none, and answers that are none.
func fakeFaults() []fault {
	return []fault{
		{key: "mute server", breaks: true, strike: (*rig).muteServer},
		{key: "malformed 1", breaks: true, panics: true, times: 3,
			strike: injects(malformed[:3])},
		{key: "malformed 2", breaks: true, panics: true, times: 3,
			strike: injects(malformed[3:])},
		{key: "foreign 1", breaks: true, panics: true, times: 3,
			strike: injects(foreign[:3])},
		{key: "foreign 2", breaks: true, panics: true, times: 3,
			strike: injects(foreign[3:])},
		{key: "huge length", breaks: true, panics: true,
			strike: injects([]string{"$99999999999\r\n"})},
		{key: "malformed server", breaks: true, panics: true,
			strike: (*rig).malformedServer},
	}
}

// injects has one of several things come over the subscription's connection each time.
func injects(what []string) func(*rig) {
	n := 0
	return func(r *rig) {
		is := r.subscription()
		if !r.proxy.InjectInto(is.addr, []byte(what[n])) {
			r.t.Errorf("%q was not injected", what[n])
		}
		n++
		r.awaitGone(is)
	}
}

// awaitGone returns when the gateway has given a connection up, and only that says that it has seen what is wrong.
func (r *rig) awaitGone(is conn) {
	r.gateway.Poll(r.t, "the gateway to give the connection up", func() bool { return !r.has(is) })
}

// has tells whether Redis still has a connection.
func (r *rig) has(is conn) bool {
	for _, c := range r.connections() {
		if c.id == is.id {
			return true
		}
	}
	return false
}

// fakeServer counts what it was asked.
type fakeServer struct {
	hello, subscribe atomic.Int64
	conns            atomic.Int64
}

// lead has the address lead elsewhere, and nothing that is open survive that.
func (r *rig) lead(addr string) {
	r.proxy.SetTarget(addr)
	r.proxy.Reset()
}

// muteServer leaves it to the gateway to give up connections to the server when it is no longer there.
func (r *rig) muteServer() {
	var f fakeServer
	r.lead(redistest.Fake(r.t, func(conn net.Conn) {
		f.conns.Add(1)
		for commands := bufio.NewReader(conn); f.ask(commands) != nil; {
		}
	}))
	r.awaitDown()
	time.Sleep(holeFor)
	if f.hello.Load() < 2 {
		r.t.Errorf("%d of %d connections asked HELLO", f.hello.Load(), f.conns.Load())
	}
	r.proxy.SetTarget(r.redis.Addr())
}

// malformedServer is two: one that sends rubbish at once, and one that does so when something is subscribed.
func (r *rig) malformedServer() {
	const each = 6 * time.Second
	var atOnce, later fakeServer
	r.lead(redistest.Fake(r.t, func(conn net.Conn) {
		n := atOnce.conns.Add(1)
		_, _ = io.WriteString(conn, malformed[int(n)%len(malformed)])
		_, _ = io.Copy(io.Discard, conn)
	}))
	time.Sleep(each)
	r.lead(redistest.Fake(r.t, later.serve))
	time.Sleep(each)
	if atOnce.conns.Load() < 2 || later.subscribe.Load() < 2 {
		r.t.Errorf("%d connections to one server, and SUBSCRIBE %d times at the other", atOnce.conns.Load(), later.subscribe.Load())
	}
	r.lead(r.redis.Addr())
}

// serve answers as Redis does, until something is subscribed.
func (f *fakeServer) serve(conn net.Conn) {
	f.conns.Add(1)
	for commands := bufio.NewReader(conn); ; {
		args := f.ask(commands)
		if args == nil {
			return
		}
		if _, err := io.WriteString(conn, f.answer(args)); err != nil {
			return
		}
	}
}

func (f *fakeServer) answer(args []string) string {
	bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
	switch strings.ToUpper(args[0]) {
	case "HELLO":
		return "*2\r\n" + bulk("server") + bulk("redis")
	case "PING":
		if len(args) > 1 {
			return bulk(args[1])
		}
		return "+PONG\r\n"
	case "TIME":
		return "*2\r\n" + bulk(strconv.FormatInt(time.Now().Unix(), 10)) + bulk("0")
	case "ROLE":
		return "*3\r\n" + bulk("master") + ":0\r\n*0\r\n"
	case "SUBSCRIBE":
		return malformed[int(f.subscribe.Add(1))%len(malformed)]
	}
	return "-ERR not here\r\n" // a PUBLISH, too: nothing is taken
}

// ask reads a command, nil at the end of the connection.
func (f *fakeServer) ask(commands *bufio.Reader) (args []string) {
	number := func() (n int) {
		if line, err := commands.ReadString('\n'); err == nil {
			n, _ = strconv.Atoi(strings.TrimSpace(line[1:])) // 0 is no command
		}
		return n
	}
	for range number() {
		arg := make([]byte, number()+len("\r\n"))
		if _, err := io.ReadFull(commands, arg); err != nil {
			return nil
		}
		args = append(args, strings.TrimSuffix(string(arg), "\r\n"))
	}
	if len(args) > 0 && strings.EqualFold(args[0], "HELLO") {
		f.hello.Add(1)
	}
	return args
}
