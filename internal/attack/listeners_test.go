//go:build attack && linux

package attack

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// listeners are clients that behave, and measure how late their messages are.
type listeners struct {
	g       *gateway
	channel string
	n       int
	sent    int

	mu   sync.Mutex
	late []time.Duration // of each message at each client
}

// listen opens n streams, which end with the test.
func (g *gateway) listen(target, channel string, n int) *listeners {
	g.t.Helper()
	l := &listeners{g: g, channel: channel, n: n}
	var all sync.WaitGroup
	g.t.Cleanup(all.Wait) // after those that close the connections
	for range n {
		s := g.mustOpen(target)
		if err := s.conn.SetDeadline(time.Time{}); err != nil {
			g.t.Fatal(err)
		}
		all.Go(func() { _ = s.lines(l.line) }) // until its connection is closed
	}
	return l
}

func (l *listeners) line(line []byte) bool {
	text, ok := strings.CutPrefix(string(line), "data: at ")
	if !ok {
		return true
	}
	if sent, err := strconv.ParseInt(text, 10, 64); err == nil {
		l.mu.Lock()
		l.late = append(l.late, time.Duration(time.Now().UnixNano()-sent))
		l.mu.Unlock()
	}
	return true
}

// publish sends one message, whose payload is when.
func (l *listeners) publish() {
	l.g.t.Helper()
	l.g.redis.Publish(l.channel, fmt.Sprintf("at %d", time.Now().UnixNano()))
	l.sent++
}

// missing is how many deliveries have not come.
func (l *listeners) missing() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent*l.n - len(l.late)
}

// await returns when all has come.
func (l *listeners) await() {
	l.g.t.Helper()
	l.g.Poll(l.g.t, "all messages at those who listen", func() bool { return l.missing() == 0 })
}

// cpuOf is what the gateway's processor spends on a message, each published once the one before has arrived.
func (l *listeners) cpuOf(messages int) float64 {
	l.g.t.Helper()
	before := l.g.cpu()
	for range messages {
		l.publish()
		proctest.Within(proctest.Patience, func() bool { return l.missing() == 0 })
	}
	return milliseconds(l.g.cpu()-before) / float64(messages)
}

// every is how often listeners get a message while their latency is measured.
const every = 10 * time.Millisecond

// during publishes until done is closed, and returns the latencies from then on, sorted.
func (l *listeners) during(done <-chan struct{}) []time.Duration {
	l.g.t.Helper()
	l.await()
	l.mu.Lock()
	l.late, l.sent = nil, 0
	l.mu.Unlock()
	for ticker := time.NewTicker(every); ; {
		l.publish()
		select {
		case <-ticker.C:
			continue
		case <-done:
			ticker.Stop()
		}
		l.await()
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Sorted(slices.Values(l.late))
	}
}

// quantile of sorted latencies, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	return milliseconds(sorted[int(q*float64(len(sorted)-1))])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
