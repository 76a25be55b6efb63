package redissse

import (
	"net/http"
	"sync"
	"time"
)

// lateDeadline is the write deadline of a response over HTTP/2, for what sets one before each write and takes it back behind it.
// There a deadline is a timer that resets the stream when it fires, and belongs to the goroutine that serves the connection: each change is
// a message to that, four for an event that is written and flushed. That was a fifth of an event's CPU. Here the timer is our own, and the
// connection hears only of a deadline that has passed. It is for one goroutine, which writes.
type lateDeadline struct {
	http.ResponseWriter // which a http.ResponseController asks for; nothing is written through it
	real                *http.ResponseController

	mu    sync.Mutex // also held while real is called: once end has returned, nobody calls it
	at    time.Time  // zero for none
	timer *time.Timer
	fires time.Time // when the timer fires, zero for never. Invariant: not behind at
}

// newLateDeadline makes one that hands on to real. Whoever has it must call end before the handler returns.
func newLateDeadline(w http.ResponseWriter, real *http.ResponseController) *lateDeadline {
	return &lateDeadline{ResponseWriter: w, real: real}
}

// SetWriteDeadline sets the deadline, or takes it back if it is zero. One that has passed already ends the response at once.
func (d *lateDeadline) SetWriteDeadline(at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	if at.IsZero() || !d.fires.IsZero() && !at.Before(d.fires) {
		return nil // the timer finds that out when it fires, which is cheaper than to move it twice for each write
	}
	if left := time.Until(at); left > 0 {
		d.firesIn(left)
		return nil
	}
	return d.handOn()
}

// firesIn has the timer fire next after some time.
func (d *lateDeadline) firesIn(left time.Duration) {
	d.fires = time.Now().Add(left)
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.fire)
		return
	}
	d.timer.Reset(left)
}

// fire hands on a deadline that has passed. What was written in time, and what is written next, is none of its business: the deadline may
// have been taken back since the timer was set, or moved.
func (d *lateDeadline) fire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fires = time.Time{}
	if d.at.IsZero() {
		return
	}
	if left := time.Until(d.at); left > 0 {
		d.firesIn(left)
		return
	}
	_ = d.handOn() // whoever writes has the error
}

// handOn gives a deadline over to the connection.
func (d *lateDeadline) handOn() error {
	at := d.at
	d.at = time.Time{}
	return d.real.SetWriteDeadline(at)
}

// end hands on a deadline that is still set: what is written behind the handler keeps to it.
func (d *lateDeadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	if !d.at.IsZero() {
		_ = d.handOn() // there is nobody to tell: the response is over
	}
}
