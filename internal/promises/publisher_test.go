//go:build promises && linux

package promises

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

const channel = "news"

// sending is a line of the publisher's log.
type sending struct {
	at    time.Time // before the PUBLISH
	taken bool      // whether Redis answered it
}

// publisher publishes at a steady rate, one message after the other, and keeps the log. A PUBLISH that does not come back within
// 3 s counts as unknown, and the next one has its turn.
type publisher struct {
	redis *redistest.Server
	fill  string

	mu  sync.Mutex
	log []sending
}

// start publishes perSecond messages until stop is called.
func (p *publisher) start(t *testing.T, perSecond int) (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(time.Second / time.Duration(perSecond))
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				p.publish()
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(quit)
		done.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// publish sends the next message.
func (p *publisher) publish() {
	p.mu.Lock()
	n := len(p.log)
	p.log = append(p.log, sending{at: time.Now()})
	p.mu.Unlock()
	payload, err := json.Marshal(message{n, p.fill})
	if err != nil {
		panic(err)
	}
	_, err = p.redis.TryPublish(channel, string(payload))
	p.mu.Lock()
	p.log[n].taken = err == nil
	p.mu.Unlock()
}

func filling(bytes int) string { return strings.Repeat("x", bytes) }

// sent is the log so far.
func (p *publisher) sent() []sending {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]sending(nil), p.log...)
}

// taken tells which messages Redis certainly took.
func (p *publisher) taken() (all []bool) {
	for _, s := range p.sent() {
		all = append(all, s.taken)
	}
	return all
}
