package redistest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// injectWait bounds Inject, which a hole would hold for as long as it is open.
const injectWait = time.Second

// Proxy forwards TCP connections from a loopback port to a target, and breaks them on demand.
//
// A hole (SetBlackhole, SetDropToServer, SetDropToClient) is what a dead network is to TCP: silence. Bytes and the ends of
// connections are held, at the latest those sent after the call has returned, and senders are pushed back once the kernel's
// buffers are full. When the hole is closed everything held comes through late, as TCP would retransmit it: a connection that
// lives never misses bytes in the middle. To lose what a hole holds, end the connections with Reset or CloseConns while it is
// open.
//
// All methods may be called by any goroutine. The proxy and its connections end with the test.
type Proxy struct {
	t  testing.TB
	ln net.Listener
	wg sync.WaitGroup // the accept loop and every link

	mu       sync.Mutex
	target   string
	rules    rules
	changed  chan struct{} // closed and replaced when rules change
	links    map[*link]struct{}
	accepted int
}

// rules are what a test may turn at any time.
type rules struct {
	blackhole    bool
	dropToServer bool
	dropToClient bool
	refuse       bool
	rate         int // bytes per second to the client; 0 is unlimited
}

// direction is the way bytes travel.
type direction int

const (
	toServer direction = iota
	toClient
)

func (d direction) back() direction { return toServer + toClient - d }

// NewProxy listens on a free loopback port and forwards to target, a host:port. If the target refuses, the client gets a RST,
// during or right after its connect.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening for the proxy: %v", err)
	}
	p := &Proxy{t: t, target: target, ln: ln, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// URL is the redis:// URL of a Redis behind the proxy, database 0.
func (p *Proxy) URL() string { return "redis://" + p.Addr() + "/0" }

// SetBlackhole opens or closes a hole both ways. Connections stay open; new ones are accepted, but reach the target only once
// the hole is closed.
func (p *Proxy) SetBlackhole(on bool) { p.set(func(r *rules) { r.blackhole = on }) }

// SetDropToServer opens or closes a hole towards the target: it hears nothing more, and what it sends still arrives. New
// connections are as in SetBlackhole.
func (p *Proxy) SetDropToServer(on bool) { p.set(func(r *rules) { r.dropToServer = on }) }

// SetDropToClient opens or closes a hole towards the client: what it sends arrives, and it hears nothing back.
func (p *Proxy) SetDropToClient(on bool) { p.set(func(r *rules) { r.dropToClient = on }) }

// SetRate limits each connection to bytesPerSecond towards the client, handed out in slices of a 20th of a second; 0 lifts the
// limit.
func (p *Proxy) SetRate(bytesPerSecond int) { p.set(func(r *rules) { r.rate = bytesPerSecond }) }

// SetRefuse makes the proxy close new connections at once, or stop doing so. Open ones are not touched.
func (p *Proxy) SetRefuse(on bool) { p.set(func(r *rules) { r.refuse = on }) }

// SetTarget sends new connections to addr, those included that a hole has not let through yet. Open ones stay where they are, as
// when an address moves from one host to another.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Inject writes b to the client of every open connection, as if the target had sent it: before all that this sends after the
// call, and never inside a piece, which is what one read of the proxy gave. It returns when b is written, or after a second: what
// a hole, the rate or a client that does not read holds up comes late.
func (p *Proxy) Inject(b []byte) { p.inject(b, func(*link) bool { return true }) }

// InjectInto is Inject for the connection alone that the target sees as coming from addr. It is false if there is none.
func (p *Proxy) InjectInto(addr string, b []byte) bool {
	return p.inject(b, func(l *link) bool { return l.from == addr }) > 0
}

func (p *Proxy) inject(b []byte, into func(*link) bool) (n int) {
	b = bytes.Clone(b)
	var written []<-chan struct{}
	p.mu.Lock()
	for l := range p.links {
		if into(l) {
			written = append(written, l.inject(b))
		}
	}
	p.mu.Unlock()
	late := time.After(injectWait)
	for _, done := range written {
		select {
		case <-done:
		case <-late:
			return len(written)
		}
	}
	return len(written)
}

// Forget leaves the connections that are open in a hole for ever, in which neither side hears of the other's end, as a firewall
// does that has lost its table, or a host that came back without them. New ones are as before. Until it is ended one that is
// forgotten is not counted as open.
func (p *Proxy) Forget() { p.forget(rules{blackhole: true}) }

// ForgetToServer is Forget with a hole towards the target only: what that sends still arrives.
func (p *Proxy) ForgetToServer() { p.forget(rules{dropToServer: true}) }

func (p *Proxy) forget(hole rules) {
	p.set(func(*rules) {
		for l := range p.links {
			l.hole = hole
		}
	})
}

// Reset ends all connections with a RST to both sides, sent when it returns.
func (p *Proxy) Reset() { p.end(endReset) }

// CloseConns ends all connections with a FIN to both sides, sent when it returns. A side that does not close its own end
// within a second gets a RST.
func (p *Proxy) CloseConns() { p.end(endFIN) }

// Accepted is how many connections were accepted since the start, refused ones included.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open is how many connections are forwarded or held. One counts until both sides have closed it or the proxy has ended it; a
// hole hides that a side has closed.
func (p *Proxy) Open() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if l.hole == (rules{}) {
			n++
		}
	}
	return n
}

func (p *Proxy) targetNow() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target
}

func (p *Proxy) set(change func(*rules)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.rules)
	close(p.changed)
	p.changed = make(chan struct{})
}

// end ends all links and returns when their sockets have been told.
func (p *Proxy) end(how ending) {
	p.mu.Lock()
	var ended []*link
	for l := range p.links {
		p.endLinkLocked(l, how)
		ended = append(ended, l)
	}
	p.mu.Unlock()
	for _, l := range ended {
		<-l.told
	}
}

// endLinkLocked decides how a link ends; the first decision stands.
func (p *Proxy) endLinkLocked(l *link, how ending) {
	if _, open := p.links[l]; !open {
		return
	}
	delete(p.links, l)
	l.how = how
	l.cancel()
}

// close ends everything. No link can be added once refuse is set, so that Wait sees them all.
func (p *Proxy) close() {
	p.SetRefuse(true)
	_ = p.ln.Close()
	p.end(endReset)
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.t.Errorf("accepting a connection for the proxy: %v", err)
			return
		}
		p.admit(conn.(*net.TCPConn))
	}
}

func (p *Proxy) admit(client *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted++
	if p.rules.refuse {
		_ = client.Close()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{proxy: p, client: client, cancel: cancel, told: make(chan struct{}), more: make(chan struct{}, 1)}
	p.links[l] = struct{}{}
	p.wg.Go(func() { l.run(ctx) })
}

func (r rules) hold(way direction) bool {
	return r.blackhole || way == toServer && r.dropToServer || way == toClient && r.dropToClient
}
