//go:build faults && linux

package promises

import (
	"context"
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const (
	// defaultRetry is Chromium's.
	defaultRetry = 3 * time.Second

	// smallWindow makes a client that reads nothing be felt soon.
	smallWindow = 64 << 10
)

// message is what is published. Fill makes it large.
type message struct {
	N    int
	Fill string `json:",omitempty"`
}

// arrival is a line of a client's log.
type arrival struct {
	n  int // or Gap
	at time.Time
}

// client is an EventSource, by the HTML standard: it comes back until it is told something else than an event stream.
type client struct {
	url    string
	http   *http.Client
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	opened chan struct{} // closed once a first response is an event stream

	mu      sync.Mutex
	log     []arrival
	opens   int
	endedAt time.Time // of the last stream
	stopped bool
	away    time.Duration // instead of the next retry
	cut     context.CancelFunc
	gate    chan struct{} // nil, or closed when reading goes on
}

func openClient(t *testing.T, url string) *client {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallWindow)
		})
	}}
	c := &client{
		url: url, http: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}},
		done: make(chan struct{}), opened: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.run()
	t.Cleanup(c.close)
	return c
}

// awaitOpen returns when the headers of a first stream have come.
func (c *client) awaitOpen(t *testing.T) {
	t.Helper()
	proctest.Await(t, "a stream of "+c.url, c.opened)
}

// close ends the client for good.
func (c *client) close() {
	c.cancel()
	c.read(true)
	<-c.done
}

func (c *client) run() {
	defer close(c.done)
	lastID, retry := "", defaultRetry
	for !c.hasStopped() {
		lastID, retry = c.stream(lastID, retry)
		pause := time.NewTimer(c.pause(retry))
		select {
		case <-c.ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

func (c *client) hasStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// pause is how long the client waits before it comes back.
func (c *client) pause(retry time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away > 0 {
		retry, c.away = c.away, 0
	}
	return retry
}

// stream reads one response to its end, and returns what it leaves behind: an id and a retry.
func (c *client) stream(lastID string, retry time.Duration) (string, time.Duration) {
	ctx, cut := context.WithCancel(c.ctx)
	defer cut()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		panic(err) // the URL is not one
	}
	request.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return lastID, retry
	}
	defer response.Body.Close()
	if !c.open(response, cut) {
		return lastID, retry
	}
	parser := ssetest.NewParser()
	parser.LastEventID = lastID
	buf := make([]byte, 32<<10)
	for {
		c.awaitGate()
		n, err := response.Body.Read(buf)
		c.take(parser.Push(buf[:n]))
		if parser.Retry >= 0 {
			retry = parser.Retry
		}
		if err != nil {
			c.ended()
			return parser.LastEventID, retry
		}
	}
}

// open takes note of a response. It is false if that stops the client.
func (c *client) open(response *http.Response, cut context.CancelFunc) bool {
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	c.mu.Lock()
	defer c.mu.Unlock()
	if response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		c.stopped = true
		return false
	}
	c.opens++
	c.cut = cut
	if c.opens == 1 {
		close(c.opened)
	}
	return true
}

func (c *client) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endedAt = time.Now()
}

func (c *client) take(events []ssetest.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		switch e.Type {
		case "gap":
			c.log = append(c.log, arrival{Gap, time.Now()})
		case "message":
			m := message{N: Gap - 1}
			_ = json.Unmarshal([]byte(e.Data), &m) // what is none is judged as foreign
			c.log = append(c.log, arrival{m.N, time.Now()})
		}
	}
}

func (c *client) awaitGate() {
	c.mu.Lock()
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

// read has the client read on, or not.
func (c *client) read(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on && c.gate != nil {
		close(c.gate)
		c.gate = nil
	}
	if !on && c.gate == nil {
		c.gate = make(chan struct{})
	}
}

// leave cuts the connection; the client comes back after d.
func (c *client) leave(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = d
	c.cut()
}

// view is what a client has done so far.
type view struct {
	log     []arrival
	opens   int
	endedAt time.Time
	stopped bool
}

func (c *client) view() view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return view{slices.Clip(c.log), c.opens, c.endedAt, c.stopped}
}

// numbers are the messages and gaps, in their order.
func (v view) numbers() (all []int) {
	for _, a := range v.log {
		all = append(all, a.n)
	}
	return all
}
