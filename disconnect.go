package redissse

import (
	"errors"
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// disconnects are what an operator has had disconnected on a hub, lately. They
// are kept by what was to be disconnected and not with the streams, which would
// all pay for it. The zero value is ready. Safe for concurrent use.
type disconnects struct {
	mu      sync.Mutex
	windows map[streamsOf]window
}

// streamsOf are the streams of a channel or a pattern; the zero value, of all.
type streamsOf struct {
	name    string
	pattern bool
}

// window is when streams are to end.
type window struct {
	began time.Time
	over  time.Duration
}

func (w window) ends() time.Time { return w.began.Add(w.over) }

const (
	// disconnectLate is for how long a window is kept after it has ended, for
	// requests that came before it began and whose stream opens after it: who let
	// them in did not know yet. open_timeout is 1m at most, a body takes 30 s.
	disconnectLate = 2 * time.Minute
	// maxDisconnects bounds the windows of a hub, to some 20 MiB. A backend that
	// disconnects 800 users a second stays below it. More are an error.
	maxDisconnects = 100_000
)

var errTooManyDisconnects = errors.New("too many channels are being disconnected at once")

// begin has the window hold for the streams. A later one for the same takes its
// place; streams that know of the earlier one keep to it if that ends them sooner.
func (d *disconnects) begin(of streamsOf, w window) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, again := d.windows[of]; !again && len(d.windows) >= maxDisconnects {
		return errTooManyDisconnects
	}
	if d.windows == nil {
		d.windows = map[streamsOf]window{}
	}
	d.windows[of] = w
	return nil
}

// forget gives up what is of no more use.
func (d *disconnects) forget(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for of, w := range d.windows {
		if now.Sub(w.ends()) > disconnectLate {
			delete(d.windows, of)
		}
	}
	if len(d.windows) == 0 {
		d.windows = nil // a map does not shrink
	}
}

// of returns the windows that hold for a stream.
func (d *disconnects) of(s *hub.Stream) (found []window) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.windows) == 0 {
		return nil
	}
	add := func(of streamsOf) {
		if w, ok := d.windows[of]; ok {
			found = append(found, w)
		}
	}
	add(streamsOf{})
	for name, pattern := range s.Reads() {
		add(streamsOf{name, pattern})
	}
	return found
}
