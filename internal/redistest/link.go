package redistest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dialWait bounds the dial of a target whose backlog is full, as a frozen one's may be.
	dialWait = 5 * time.Second

	// finWait is how long CloseConns lets a side read on to our FIN. A socket closed with unread bytes in it sends a RST, and
	// that would overtake the FIN.
	finWait = time.Second

	// slicesPerSecond is how often a limited connection sends: short enough to look like a slow line, long against a timer's
	// precision.
	slicesPerSecond = 20
)

// ending is how a link ends.
type ending int

const (
	endNormal ending = iota // both sides have closed
	endFIN
	endReset
)

// link is one client's connection and its counterpart to the target.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	cancel context.CancelFunc
	how    ending        // set under the proxy's lock before cancel, read after
	told   chan struct{} // closed when the sockets have been closed, or have sent their FIN

	closedWays atomic.Int32 // directions in which an end of file has been forwarded

	hole rules  // of its own, for ever; guarded by the proxy's lock, as the next
	from string // the address that the target sees

	turn sync.Mutex    // held while something is written to the client
	more chan struct{} // has one element when something has been injected

	mu       sync.Mutex
	injected []injection // not yet written
}

// injection is what the proxy itself sends to the client.
type injection struct {
	b    []byte
	done chan struct{} // closed when it is written, or the client turns out to be gone
}

// run forwards until the link ends. ctx ends when that has been decided.
func (l *link) run(ctx context.Context) {
	conns := []*net.TCPConn{l.client}
	server := l.dial(ctx)
	var pumps sync.WaitGroup
	if server != nil {
		conns = append(conns, server)
		pumps.Go(func() { l.pump(ctx, server, l.client, toServer) })
		pumps.Go(func() { l.pump(ctx, l.client, server, toClient) })
		pumps.Go(func() { l.injector(ctx) })
	}
	<-ctx.Done()
	for _, conn := range conns {
		l.tell(conn)
	}
	close(l.told)
	pumps.Wait()
	for _, conn := range conns {
		_ = conn.Close() // again for those that tell closed
	}
}

// dial connects to the target, nil if the link ends before or there is nobody. A SYN does not cross a hole either.
func (l *link) dial(ctx context.Context) *net.TCPConn {
	if _, _, ok := l.pass(ctx, toServer); !ok {
		return nil
	}
	dialer := net.Dialer{Timeout: dialWait}
	conn, err := dialer.DialContext(ctx, "tcp", l.proxy.targetNow())
	if err == nil {
		l.proxy.mu.Lock()
		defer l.proxy.mu.Unlock()
		l.from = conn.LocalAddr().String()
		return conn.(*net.TCPConn)
	}
	if _, _, ok := l.pass(ctx, toClient); ok {
		l.end(endReset)
	}
	return nil
}

// pass waits until bytes may go way, and returns the rules of that moment and the channel that is closed when they change. It
// is false if ctx ends first.
func (l *link) pass(ctx context.Context, way direction) (r rules, changed <-chan struct{}, ok bool) {
	p := l.proxy
	for ctx.Err() == nil {
		p.mu.Lock()
		r, changed = p.rules, p.changed
		held := r.hold(way) || l.hole.hold(way)
		p.mu.Unlock()
		if !held {
			return r, changed, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return r, changed, false
}

// tell lets the peer of conn know the end, and wakes the pumps.
func (l *link) tell(conn *net.TCPConn) {
	switch l.how {
	case endReset:
		_ = conn.SetLinger(0)
		_ = conn.Close()
	case endFIN:
		_ = conn.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(finWait))
		_ = conn.SetWriteDeadline(time.Now())
	case endNormal:
		_ = conn.Close()
	}
}

func (l *link) end(how ending) {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.proxy.endLinkLocked(l, how)
}

// pump forwards one direction until the link ends or src does. Whatever it read is forwarded before the end of src is.
func (l *link) pump(ctx context.Context, dst, src *net.TCPConn, way direction) {
	// Without effect unless the link ends with a FIN: then src is read to its end, so that closing it sends no RST.
	defer func() {
		if ctx.Err() != nil {
			_, _ = io.Copy(io.Discard, src)
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		n, readErr := src.Read(buf)
		if err := l.send(ctx, dst, buf[:n], way); err != nil {
			// dst is gone: news that travels against way, and no further than the link is whole.
			if _, _, ok := l.pass(ctx, way.back()); ok {
				l.end(endReset)
			}
			return
		}
		if readErr == nil {
			continue
		}
		if _, _, ok := l.pass(ctx, way); !ok {
			return
		}
		if !errors.Is(readErr, io.EOF) {
			l.end(endReset)
			return
		}
		_ = dst.CloseWrite()
		if l.closedWays.Add(1) == 2 {
			l.end(endNormal)
		}
		return
	}
}

// send forwards a piece, with what has been injected before it.
func (l *link) send(ctx context.Context, dst *net.TCPConn, b []byte, way direction) error {
	if way == toClient {
		l.turn.Lock()
		defer l.turn.Unlock()
		l.flush(ctx)
	}
	return l.forward(ctx, dst, b, way)
}

// inject returns the channel of an injection's done.
func (l *link) inject(b []byte) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := make(chan struct{})
	l.injected = append(l.injected, injection{b, done})
	select {
	case l.more <- struct{}{}:
	default:
	}
	return done
}

// injector writes what is injected while the target is silent.
func (l *link) injector(ctx context.Context) {
	for {
		select {
		case <-l.more:
		case <-ctx.Done():
			return
		}
		l.turn.Lock()
		l.flush(ctx)
		l.turn.Unlock()
	}
}

// flush writes what has been injected. If the client is gone, the pumps find that out.
func (l *link) flush(ctx context.Context) {
	l.mu.Lock()
	all := l.injected
	l.injected = nil
	l.mu.Unlock()
	for _, i := range all {
		_ = l.forward(ctx, l.client, i.b, toClient)
		close(i.done)
	}
}

// forward writes b to dst, as fast as the rules allow.
func (l *link) forward(ctx context.Context, dst *net.TCPConn, b []byte, way direction) error {
	for len(b) > 0 {
		r, changed, ok := l.pass(ctx, way)
		if !ok {
			return ctx.Err()
		}
		n := len(b)
		limited := way == toClient && r.rate > 0
		if limited {
			n = min(n, max(1, r.rate/slicesPerSecond))
		}
		if _, err := dst.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		if limited {
			pause(ctx, changed, time.Duration(n)*time.Second/time.Duration(r.rate))
		}
	}
	return nil
}

// pause waits for d, until changed is closed or ctx ends.
func pause(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
	}
}
