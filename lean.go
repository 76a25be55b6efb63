package redissse

import (
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
	"go.uber.org/zap"
)

// lean is the second life of a stream: an outlet writes it, which never waits for its
// client. The first, up to where it is live, is the request's goroutine's. What is read, and
// when, is the same in both, and so is what ends it.
//
// It is the sink of its stream's events, and the alarm of its heartbeat. All of it belongs
// to the outlet's goroutine.
type lean struct {
	d      *delivery
	seat   *outlet.Seat
	socket clientSocket
	ended  func(end endReason) // is called once, elsewhere, when nothing more is written

	rest  []byte      // what the socket has not taken. Invariant: a chunk, and what stood before it, at most
	wrote int         // bytes in this turn
	held  hub.Signals // that came while there was a rest
	own   bool        // the socket is the stream's alone, and it ends the response
	asked bool        // the socket tells when it takes bytes again
	state leanState

	now     time.Time // of this turn
	beatAt  time.Time // when a heartbeat is due; it waits for the rest
	stallAt time.Time // until when the client has to take a chunk, or all of the rest. Invariant: zero if there is none
	taken   int       // of the rest, since stallAt was put off

	reason   endReason // why it ends, once it does
	lingerTo time.Time // when it closes, once it lingers
}

// leanState is how far a stream's end has come.
type leanState uint8

const (
	leanOpen    leanState = iota
	leanEnding            // its last events are being written
	leanSaid              // all there is has been written, or is in rest
	leanLingers           // the client has all of it, and a moment to close
)

// clientSocket is a client's connection. None of its methods waits.
type clientSocket interface {
	// send writes what the connection takes of p now, which may be nothing.
	send(p []byte) (n int, err error)

	// awaitRoom has room called whenever the connection takes bytes again after it took none.
	awaitRoom(room func())

	// closeWrite tells the client that nothing more comes. Of a connection that is the server's it does nothing, as close.
	closeWrite() error

	// close gives the connection up. With reset the kernel does not go on with what the client has not taken. It is called once,
	// behind all else.
	close(reset bool)
}

const (
	// leanTurn is how many bytes a stream writes, at least, before others have their turn: a batch
	// of small messages, which takes some tens of microseconds.
	leanTurn = 64 << 10

	// lingerFor is how long a client has to close its side once all is written. A
	// connection that is closed while something is unread takes back what is on its way.
	lingerFor = 500 * time.Millisecond
)

// Serve is the stream's turn.
func (l *lean) Serve(now time.Time) (next time.Time) {
	l.now, l.wrote = now, 0
	if reason, over := l.turn(l.d.wake.Take()); over {
		l.end(reason)
		return time.Time{}
	}
	switch {
	case l.state == leanLingers:
		return l.lingerTo
	case len(l.rest) > 0:
		return l.stallAt
	case l.hasMore():
		l.seat.Wake() // after others have had their turn
	}
	return l.beatAt
}

// hasMore reports whether there is something to be done although nobody has signalled it.
func (l *lean) hasMore() bool {
	return l.d.work != nil || l.state == leanEnding || l.state == leanOpen && (l.d.behind || l.held != 0)
}

// turn does what there is to do. It reports whether nothing more will be, and why the
// stream has ended.
func (l *lean) turn(got hub.Signals) (reason endReason, over bool) {
	switch {
	case l.state == leanLingers:
		return l.reason, got&signalGone != 0 || !l.now.Before(l.lingerTo)
	case got&signalGone != 0:
		return l.failed(nil)
	}
	// What only says when the stream is to end counts even if the client takes nothing.
	l.d.heed(got)
	l.held |= got &^ (signalDrain | signalExit | signalAsked)
	if err := l.sendRest(); err != nil {
		return l.failed(err)
	}
	if len(l.rest) == 0 {
		if reason, over = l.goOn(); over {
			return reason, true
		}
	}
	switch {
	case len(l.rest) > 0:
		return l.waitForClient()
	case l.state == leanSaid:
		return l.linger()
	}
	return "", false
}

// goOn writes what there is to be written, as the client has taken all before.
func (l *lean) goOn() (reason endReason, over bool) {
	if l.d.work != nil {
		if err := l.d.goOn(); err != nil {
			return l.failed(err)
		}
		if l.d.finished {
			l.state = leanEnding
		}
	}
	if l.d.work != nil || l.full() {
		return "", false
	}
	if l.state == leanOpen {
		if reason, over := l.d.step(l.takeHeld()); over {
			if l.d.broken || l.d.cut {
				return reason, true
			}
			l.state, l.reason = leanEnding, reason
		}
	}
	if l.state == leanEnding && l.d.work == nil {
		return l.say()
	}
	return "", false
}

// takeHeld returns what the stream has been signalled, with the heartbeat if it is due.
func (l *lean) takeHeld() hub.Signals {
	got := l.held
	l.held = 0
	if !l.now.Before(l.beatAt) {
		got |= signalBeat
	}
	return got
}

// say ends the response behind all that has been written, if it is to end properly.
func (l *lean) say() (reason endReason, over bool) {
	l.state = leanSaid
	if l.d.finished {
		l.reason = endFinished // its end was in what was left to be written
	}
	if l.own && !l.d.isUnfinished(l.reason) {
		if err := l.put([]byte(lastChunk)); err != nil {
			return l.failed(err)
		}
	}
	return "", false
}

// linger waits for the client to close, as all is written. A connection that is the
// server's goes back to it.
func (l *lean) linger() (reason endReason, over bool) {
	if !l.own {
		return l.reason, true
	}
	l.state, l.lingerTo = leanLingers, l.now.Add(lingerFor)
	return l.reason, l.socket.closeWrite() != nil
}

// failed ends a stream whose connection has, or that must not go on, at once.
func (l *lean) failed(err error) (reason endReason, over bool) {
	if err == nil {
		l.d.broken = true
		return endClient, true
	}
	return l.d.endOf(err), true
}

// waitForClient ends the stream if its client takes too little.
func (l *lean) waitForClient() (reason endReason, over bool) {
	if l.stallAt.IsZero() {
		l.stallAt, l.taken = l.now.Add(l.d.stallTimeout), 0
	}
	if !l.asked {
		l.asked = true
		l.socket.awaitRoom(l.seat.Wake)
	}
	switch {
	case !l.now.Before(l.stallAt):
		l.d.cut = true
		return endStalled, true
	case l.d.passed(l.d.stallTimeout):
		return l.failed(errOverdue)
	}
	return "", false
}

// end gives the stream up. What comes then may wait for the hub's reader, which wakes
// streams of this outlet.
func (l *lean) end(reason endReason) {
	l.rest = nil
	l.d.forgetWork()
	l.seat.End(func() { l.ended(reason) })
}

// Panicked ends the stream alone.
func (l *lean) Panicked(value any, stack []byte) {
	caddy.Log().Named("redis_sse").Error("a stream fails, and ends alone", zap.Any("panic", value), zap.ByteString("stack", stack))
	l.d.broken, l.d.failed = true, true
	if !l.seat.Left() {
		l.end(endClient)
	}
}

// Reset has a heartbeat be due in d.
func (l *lean) Reset(d time.Duration) bool {
	l.beatAt = l.now.Add(d)
	return true
}

// Stop does nothing: who has left its seat is not served.
func (l *lean) Stop() bool { return true }

// lastChunk ends a response, see RFC 9112, section 7.1.
const lastChunk = "0\r\n\r\n"

// write sends p as a chunk.
func (l *lean) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	l.wrote += len(p)
	c := chunks.Get().(*[]byte)
	defer chunks.Put(c)
	*c = append(strconv.AppendUint((*c)[:0], uint64(len(p)), 16), "\r\n"...)
	*c = append(append(*c, p...), "\r\n"...)
	return l.put(*c)
}

// chunks are buffers of a chunk each.
var chunks = sync.Pool{New: func() any { return new([]byte) }}

// put writes what the socket takes of p, and keeps the rest.
func (l *lean) put(p []byte) error {
	n := 0
	if len(l.rest) == 0 {
		var err error
		if n, err = l.socket.send(p); err != nil {
			return err
		}
	}
	l.rest = append(l.rest, p[n:]...)
	return nil
}

func (l *lean) flush() error { return nil }

// giveUp does nothing: the connection is closed, or waited for, elsewhere.
func (*lean) giveUp() {}

// full reports that the client has not taken all, or that it is other streams' turn.
func (l *lean) full() bool { return len(l.rest) > 0 || l.wrote >= leanTurn }

// sendRest writes what the socket takes of the rest.
func (l *lean) sendRest() error {
	for len(l.rest) > 0 {
		n, err := l.socket.send(l.rest)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		l.rest = l.rest[n:]
		if l.taken += n; l.taken >= writeChunk {
			l.stallAt, l.taken = l.now.Add(l.d.stallTimeout), 0
		}
	}
	l.rest, l.stallAt = nil, time.Time{}
	return nil
}

// Interface guards
var (
	_ sink        = (*lean)(nil)
	_ alarm       = (*lean)(nil)
	_ outlet.Task = (*lean)(nil)
)
