//go:build promises && linux

package promises

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/faults"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// smallWindow makes a client that reads nothing be felt soon.
const smallWindow = 64 << 10

// message is what is published. Fill makes it large.
type message struct {
	N    int
	Fill string `json:",omitempty"`
}

// arrival is a message or a gap at a client.
type arrival struct {
	n  int // or faults.Gap
	at time.Time
}

// client is an EventSource, and what its log says of messages and gaps.
type client struct {
	*ssetest.EventSource

	mu   sync.Mutex
	read int // of the log
	open bool
	view view
}

// view is what a client has done so far.
type view struct {
	log     []arrival
	endedAt time.Time // of the last stream
	stopped bool
}

func openClient(t *testing.T, url string) *client {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallWindow)
		})
	}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	return &client{EventSource: ssetest.StartEventSource(t, &http.Client{Transport: transport}, url)}
}

func (c *client) look() view {
	c.mu.Lock()
	defer c.mu.Unlock()
	records := c.LogFrom(c.read)
	c.read += len(records)
	for _, r := range records {
		switch r.What {
		case ssetest.Opened:
			c.open = true
		case ssetest.Received:
			c.view.take(r)
		case ssetest.Ended:
			if c.open {
				c.view.endedAt = r.At
			}
			c.open = false
		case ssetest.Stopped:
			c.view.stopped = true
		case ssetest.Asked:
		}
	}
	v := c.view
	v.log = slices.Clip(v.log)
	return v
}

func (v *view) take(r ssetest.Record) {
	switch r.Event.Type {
	case "gap":
		v.log = append(v.log, arrival{faults.Gap, r.At})
	case "message":
		m := message{N: faults.Gap - 1}
		_ = json.Unmarshal([]byte(r.Event.Data), &m) // what is none is judged as foreign
		v.log = append(v.log, arrival{m.N, r.At})
	}
}

// numbers are the messages and gaps, in their order.
func (v view) numbers() (all []int) {
	for _, a := range v.log {
		all = append(all, a.n)
	}
	return all
}
