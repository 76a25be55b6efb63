package main

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// held is how much a connection takes while the network is lost, as a kernel does for what is not acknowledged: minutes of the demo's
// traffic. Beyond it the connection is closed.
const held = 1 << 20

var errNetworkLost = errors.New("the network is lost already")

// visitors is the network between the browsers and Caddy, of which this process has one as it has one Caddy.
var visitors = network{conns: map[*lossyConn]struct{}{}}

func init() {
	caddy.RegisterModule(tcpNetwork{})
	caddy.RegisterModule(udpNetwork{})
}

// network can be lost: then nothing gets through in either direction, nothing is closed, and nobody is told. What was written to a
// TCP connection arrives when the network is back, since TCP sends it again. The datagrams of QUIC are gone; QUIC sends new ones.
type network struct {
	mu    sync.Mutex
	back  chan struct{} // closed when the network is back; nil while it is there
	conns map[*lossyConn]struct{}
}

// outage loses the network for so long, or until stop.
func (n *network) outage(stop <-chan struct{}, long time.Duration) error {
	restore, err := n.lose()
	if err != nil {
		return err
	}
	defer restore()
	select {
	case <-stop:
		return errors.New("losing the network: the demo is stopping")
	case <-time.After(long):
		return nil
	}
}

// lose returns what brings the network back.
func (n *network) lose() (restore func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.back != nil {
		return nil, errNetworkLost
	}
	n.back = make(chan struct{})
	return n.restore, nil
}

// restore returns when all that was held is on its way.
func (n *network) restore() {
	n.mu.Lock()
	close(n.back)
	n.back = nil
	var sending sync.WaitGroup
	for conn := range n.conns {
		sending.Go(conn.sendHeld) // side by side: one that reads nothing must not delay the others
	}
	n.mu.Unlock()
	sending.Wait()
}

// lost returns nil while the network is there, else what is closed when it is back.
func (n *network) lost() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.back
}

// join has a connection go over the network, until it is closed.
func (n *network) join(conn net.Conn) *lossyConn {
	c := &lossyConn{Conn: conn, network: n, closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = struct{}{}
	return c
}

// lossyConn is a TCP connection over the network. The socket below stays visible to Caddy's modules.
type lossyConn struct {
	net.Conn
	network *network
	closed  chan struct{}
	once    sync.Once

	mu   sync.Mutex
	held []byte // written while the network was lost
}

// Read returns nothing that comes while the network is lost, not even the other side's end, until it is back.
func (c *lossyConn) Read(p []byte) (int, error) {
	count, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return count, err // this side's own doing
	}
	if back := c.network.lost(); back != nil {
		select {
		case <-back:
		case <-c.closed:
		}
	}
	return count, err
}

func (c *lossyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.network.lost() == nil {
		if err := c.send(); err != nil {
			return 0, err
		}
		return c.Conn.Write(p)
	}
	if len(c.held)+len(p) > held {
		return 0, errors.Join(errors.New("writing to a lost network: it holds no more"), c.Close())
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// send writes what was held. The caller holds c.mu.
func (c *lossyConn) send() error {
	if len(c.held) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.held)
	c.held = nil
	return err
}

func (c *lossyConn) sendHeld() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.send(); err != nil {
		_ = c.Close() // bytes are missing; that the connection is closed says it
	}
}

func (c *lossyConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.network.mu.Lock()
		defer c.network.mu.Unlock()
		delete(c.network.conns, c)
	})
	return c.Conn.Close()
}

type lossyListener struct {
	net.Listener
	network *network
}

func (l lossyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.network.join(conn), nil
}

// lossyPacketConn is the socket of HTTP/3.
type lossyPacketConn struct {
	net.PacketConn
	network *network
}

func (c lossyPacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		count, from, err := c.PacketConn.ReadFrom(p)
		if err != nil || c.network.lost() == nil {
			return count, from, err
		}
	}
}

func (c lossyPacketConn) WriteTo(p []byte, to net.Addr) (int, error) {
	if c.network.lost() != nil {
		return len(p), nil
	}
	return c.PacketConn.WriteTo(p, to)
}

// SetReadBuffer leaves the socket as it is, and SetWriteBuffer too: what a demo sends fits. Without them quic-go would warn.
func (lossyPacketConn) SetReadBuffer(int) error  { return nil }
func (lossyPacketConn) SetWriteBuffer(int) error { return nil }

// tcpNetwork puts the network in front of a server's listeners.
type tcpNetwork struct{}

func (tcpNetwork) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.demo_network", New: func() caddy.Module { return new(tcpNetwork) }}
}

func (tcpNetwork) WrapListener(ln net.Listener) net.Listener { return lossyListener{ln, &visitors} }

// udpNetwork puts it in front of its HTTP/3.
type udpNetwork struct{}

func (udpNetwork) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.packetconns.demo_network", New: func() caddy.Module { return new(udpNetwork) }}
}

func (udpNetwork) WrapPacketConn(conn net.PacketConn) net.PacketConn {
	return lossyPacketConn{conn, &visitors}
}
