package redissse

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// drain tells a configuration's streams that they have to end.
type drain struct {
	reload, exit time.Duration // over which time, by why
	begun        chan struct{} // closed when it begins
	once         sync.Once
	over         time.Duration // set before begun is closed
}

func newDrain() *drain { return &drain{begun: make(chan struct{})} }

// begin has the streams end, each at a random moment of the window. Calls
// after the first do nothing.
func (d *drain) begin() {
	d.once.Do(func() {
		d.over = d.reload
		if caddy.Exiting() {
			d.over = d.exit
		}
		close(d.begun)
	})
}

// window returns over which time to end; only valid once begun is closed.
func (d *drain) window() time.Duration { return d.over }

// users counts the open streams of one handler, so that whoever is last, its
// Cleanup or a stream, gives the hub up.
type users struct {
	mu     sync.Mutex
	n      int
	closed bool
}

// enter counts one in. It reports false once the hub has been given up: a
// request may reach a handler whose configuration has just gone.
func (u *users) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed && u.n == 0 {
		return false
	}
	u.n++
	return true
}

// leave counts one out and reports whether it was the last of a closed handler.
func (u *users) leave() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n--
	return u.closed && u.n == 0
}

// close reports whether nobody is in.
func (u *users) close() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	return u.n == 0
}
