package redissse

import (
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
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

// tenancy is one handler's claim on its hub, held until both its Cleanup has
// run and its last stream has ended.
type tenancy struct {
	log *zap.Logger

	mu      sync.Mutex
	lease   *lease
	streams int
	closed  bool
}

// enter counts a stream in and returns the hub. A request may reach a handler
// whose configuration has just gone and given the hub up: it takes the hub
// again, since refusing would stop an EventSource for ever.
func (t *tenancy) enter() (*hub, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && t.streams == 0 {
		again, err := claim(t.lease.key, t.lease.settings, t.log)
		if err != nil {
			return nil, err
		}
		t.lease = again
		again.hub.start()
	}
	t.streams++
	return t.lease.hub, nil
}

// leave counts a stream out.
func (t *tenancy) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams--
	if !t.closed || t.streams > 0 {
		return
	}
	if err := t.lease.release(); err != nil {
		t.lease.hub.log().Error("releasing a hub failed", zap.String("hub", t.lease.key.name), zap.Error(err))
	}
}

// close ends the configuration's own claim. It does not wait for streams: the
// last one releases the hub.
func (t *tenancy) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.streams > 0 {
		return nil
	}
	return t.lease.release()
}
