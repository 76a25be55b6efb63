//go:build linux

package faults

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// client is a client of the gateway while the run goes on.
type client struct {
	Client // without its log

	source *ssetest.EventSource
	read   int            // records that have been looked at
	last   map[string]int // the newest message of each channel among them
	opened time.Time      // the first time, if it is among them
}

// openClient opens a stream, and does not wait for it.
func (r *rig) openClient(c Client, path string) *client {
	r.t.Helper()
	opened := r.newClient(c, path)
	r.add(opened)
	return opened
}

// openConfirmed opens a stream, and returns when it is open. Where all is well but for a busy machine, one may open unconfirmed,
// and is told so by a gap (P2): that is no client then, and another one takes its place.
func (r *rig) openConfirmed(c Client, path string) *client {
	r.t.Helper()
	const openTimeout = 2 * time.Second
	for {
		opened := r.newClient(c, path)
		opened.source.AwaitOpened()
		if log := opened.source.Log(); log[1].At.Sub(log[0].At) < openTimeout { // from Asked to Opened
			r.add(opened)
			return opened
		}
		opened.source.Close()
	}
}

func (r *rig) add(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, c)
}

// newClient opens a stream of which the rig itself awaits nothing.
func (r *rig) newClient(c Client, path string) *client {
	r.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	return &client{
		Client: c, last: map[string]int{},
		source: ssetest.StartEventSource(r.t, &http.Client{Transport: transport}, r.gateway.url(path)),
	}
}

// look reads on in the client's log. The rig's goroutine alone may do so.
func (c *client) look() {
	more := c.source.LogFrom(c.read)
	c.read += len(more)
	for _, record := range more {
		if record.What == ssetest.Opened && c.opened.IsZero() {
			c.opened = record.At
		}
		var p Payload
		if record.What == ssetest.Received && record.Event.Type == "message" && json.Unmarshal([]byte(record.Event.Data), &p) == nil {
			c.last[p.C] = max(p.N, c.last[p.C])
		}
	}
}

// comeAndGo has clients lose their connections, now and then, until what it returns is called.
func comeAndGo(clients []*client) (stop func()) {
	random := rand.New(rand.NewPCG(1, 2))
	return every(300*time.Millisecond, func() {
		c := clients[random.IntN(len(clients))]
		c.source.Leave(time.Duration(random.IntN(1000)) * time.Millisecond)
	})
}
