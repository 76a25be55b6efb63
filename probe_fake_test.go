package redissse

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fakeRedis answers what a hub asks, and fails in ways that a redis-server does not on demand. Its fields may change under set.
type fakeRedis struct {
	ln      net.Listener
	running sync.WaitGroup

	mu        sync.Mutex
	deaf      bool              // PUBLISH is answered, but not delivered
	mute      bool              // PING is not answered
	lost      bool              // nor is that of a subscription, as if it had not come
	role      string            // RESP reply to ROLE; empty: an unknown command
	receivers string            // RESP reply to PUBLISH; empty: the number of subscriptions
	says      map[string]string // RESP replies instead of its own, by a command with all its arguments or by the name of it
	holds     chan struct{}     // PUBLISH is answered once it is closed; nil: at once
	conns     map[*fakeConn]bool
	asked     map[string]int // commands by name
}

type fakeConn struct {
	net.Conn
	write sync.Mutex
	subs  map[string]bool // guarded by fakeRedis.mu
}

const (
	fakeMaster  = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
	fakeReplica = "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:0\r\n"
)

func startFakeRedis(t *testing.T) *fakeRedis {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeRedis{ln: ln, role: fakeMaster, conns: map[*fakeConn]bool{}, asked: map[string]int{}}
	f.running.Go(f.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		f.set(func() {
			f.conns[nil] = true // no more of them
			for c := range f.conns {
				if c != nil {
					_ = c.Close()
				}
			}
		})
		f.running.Wait()
	})
	return f
}

func (f *fakeRedis) url() string { return "redis://" + f.ln.Addr().String() }

func (f *fakeRedis) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// count is how often a command has been asked.
func (f *fakeRedis) count(command string) (n int) {
	f.set(func() { n = f.asked[command] })
	return n
}

// open is how many connections there are.
func (f *fakeRedis) open() (n int) {
	f.set(func() { n = len(f.conns) })
	return n
}

func (f *fakeRedis) accept() {
	for {
		conn, err := f.ln.Accept()
		if err != nil {
			return
		}
		c := &fakeConn{Conn: conn, subs: map[string]bool{}}
		f.mu.Lock()
		if f.conns[nil] {
			_ = conn.Close()
		} else {
			f.conns[c] = true
			f.running.Go(func() { f.serve(c) })
		}
		f.mu.Unlock()
	}
}

func (f *fakeRedis) serve(c *fakeConn) {
	defer f.set(func() { delete(f.conns, c) })
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		c.say(f.answer(c, args))
	}
}

func readCommand(r *bufio.Reader) (args []string, err error) {
	length := func() (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := length()
	for range n {
		size, err := length()
		if err != nil {
			return nil, err
		}
		arg := make([]byte, size+2)
		if _, err := io.ReadFull(r, arg); err != nil {
			return nil, err
		}
		args = append(args, string(arg[:size]))
	}
	return args, err
}

func bulks(texts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(texts))
	for _, s := range texts {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s)
	}
	return b.String()
}

func (c *fakeConn) say(reply string) {
	c.write.Lock()
	defer c.write.Unlock()
	_, _ = io.WriteString(c, reply) // the reader notices if it has gone
}

func (f *fakeRedis) answer(c *fakeConn, args []string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := strings.ToUpper(args[0])
	f.asked[name]++
	if reply, ok := f.says[strings.Join(append([]string{name}, args[1:]...), " ")]; ok {
		return reply
	}
	if reply, ok := f.says[name]; ok {
		return reply
	}
	switch name {
	case "PING":
		if f.mute || f.lost && len(args) > 1 {
			return ""
		}
		if len(args) == 1 {
			return "+PONG\r\n"
		}
		return bulks(append([]string{"pong"}, args[1:]...)...)
	case "TIME":
		return bulks("1795392462", "0")
	case "ROLE":
		if f.role != "" {
			return f.role
		}
	case "SUBSCRIBE":
		reply := ""
		for _, channel := range args[1:] {
			c.subs[channel] = true
			reply += fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n", len(channel), channel, len(c.subs))
		}
		return reply
	case "PUBLISH":
		n := f.deliverLocked(args[1], args[2])
		if holds := f.holds; holds != nil {
			f.mu.Unlock()
			<-holds
			f.mu.Lock()
		}
		if f.receivers != "" {
			return f.receivers
		}
		return fmt.Sprintf(":%d\r\n", n)
	}
	return fmt.Sprintf("-ERR unknown command `%s`, with args beginning with: \r\n", args[0])
}

func (f *fakeRedis) deliverLocked(channel, payload string) (n int) {
	for c := range f.conns {
		if c == nil || !c.subs[channel] {
			continue
		}
		n++
		if !f.deaf {
			c.say(bulks("message", channel, payload))
		}
	}
	return n
}

// tell says something unasked to those who are subscribed to a channel.
func (f *fakeRedis) tell(channel, reply string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if c != nil && c.subs[channel] {
			c.say(reply)
		}
	}
}

// publish delivers also if PUBLISH does not.
func (f *fakeRedis) publish(channel, payload string) {
	f.set(func() {
		deaf := f.deaf
		f.deaf = false
		f.deliverLocked(channel, payload)
		f.deaf = deaf
	})
}
