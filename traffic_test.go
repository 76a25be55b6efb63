package redissse

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// published is what became of one PUBLISH.
type published struct {
	receivers int64
	err       error
}

// traffic publishes to its channels in turn, without a pause at a broken Redis, and keeps the books. The payload of the n-th
// message of channel a is "a n", counted from 0.
type traffic struct {
	server   *redistest.Server
	channels []string
	stop     chan struct{}
	done     sync.WaitGroup

	mu  sync.Mutex
	log map[string][]published
	// held is set when a PUBLISH timed out, which Redis may execute later: what follows must wait for that, or it would be
	// Redis that mixes up the order. release clears it.
	held bool
}

const (
	trafficPause = time.Millisecond
	// trafficShown is how many messages of each channel must pass for the traffic to count as going on.
	trafficShown = 50
)

func startTraffic(t *testing.T, server *redistest.Server, channels ...string) *traffic {
	p := &traffic{server: server, channels: channels, stop: make(chan struct{}), log: map[string][]published{}}
	p.done.Go(p.run)
	t.Cleanup(p.end)
	return p
}

func (p *traffic) run() {
	ticker := time.NewTicker(trafficPause)
	defer ticker.Stop()
	for i := 0; ; {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		channel := p.channels[i%len(p.channels)]
		n, held := len(p.log[channel]), p.held
		p.mu.Unlock()
		if held {
			continue
		}
		receivers, err := p.server.TryPublish(channel, channel+" "+strconv.Itoa(n))
		var timeout net.Error
		p.mu.Lock()
		p.log[channel] = append(p.log[channel], published{receivers, err})
		p.held = errors.As(err, &timeout) && timeout.Timeout()
		p.mu.Unlock()
		i++
	}
}

// end stops the traffic. Calls after the first do nothing.
func (p *traffic) end() {
	p.mu.Lock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.mu.Unlock()
	p.done.Wait()
}

// release lets the traffic go on after a PUBLISH timed out. Redis must have answered since.
func (p *traffic) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
}

// sent is how many messages of each channel have been tried.
func (p *traffic) sent() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[string]int{}
	for _, channel := range p.channels {
		counts[channel] = len(p.log[channel])
	}
	return counts
}

// entries is the book of one channel, which only grows.
func (p *traffic) entries(channel string) []published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clip(p.log[channel])
}

// failed is how many messages have failed.
func (p *traffic) failed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, log := range p.log {
		for _, e := range log {
			if e.err != nil {
				n++
			}
		}
	}
	return n
}

// witness is a stream and what it brought of one channel after the other.
type witness struct {
	*ssetest.Stream
	t        *testing.T
	channels []string
	got      map[string][]delivered
	last     map[string]int // the newest number, -1 before the first
}

// delivered is a message's number, or a gap's data.
type delivered struct {
	n   int
	gap *told
	id  place
}

func newWitness(t *testing.T, s *ssetest.Stream, channels ...string) *witness {
	w := &witness{Stream: s, t: t, channels: channels, got: map[string][]delivered{}, last: map[string]int{}}
	for _, channel := range channels {
		w.last[channel] = -1
	}
	return w
}

// until takes events until each channel has got beyond the numbers.
func (w *witness) until(beyond map[string]int) {
	w.t.Helper()
	for slices.ContainsFunc(w.channels, func(channel string) bool { return w.last[channel] <= beyond[channel] }) {
		w.take(w.Next())
	}
}

func (w *witness) take(e ssetest.Event) {
	w.t.Helper()
	id, ok := placeOf(e.ID)
	if !ok {
		w.t.Fatalf("%+q has no id of ours", e)
	}
	switch e.Type {
	case "cursor":
	case "gap":
		g := outageGap(w.t, e)
		w.got[g.Channel] = append(w.got[g.Channel], delivered{n: -1, gap: g, id: id})
	default:
		channel, number, _ := strings.Cut(e.Data, " ")
		n, err := strconv.Atoi(number)
		if err != nil || !slices.Contains(w.channels, channel) {
			w.t.Fatalf("not one of our messages: %+q", e)
		}
		w.got[channel] = append(w.got[channel], delivered{n: n, id: id})
		w.last[channel] = n
	}
}

func outageGap(t *testing.T, e ssetest.Event) *told {
	t.Helper()
	g, err := decodeGap(e.Data)
	if err != nil {
		t.Fatalf("the data of a gap is %q: %v", e.Data, err)
	}
	return g
}

// judge compares what was delivered with the publisher's book: all in order and once, and every message that is missing in
// the place of a gap. gaps is how many gaps each channel must have. With clean the way from Redis was cut cleanly: Redis counts
// no receiver that is gone, so in a gap nothing that had receivers follows what had none.
func (w *witness) judge(p *traffic, gaps int, clean bool) {
	w.t.Helper()
	for _, channel := range w.channels {
		if err := judgeOutage(p.entries(channel), w.got[channel], gaps, clean); err != nil {
			w.t.Errorf("channel %q: %v", channel, err)
		}
	}
}

func judgeOutage(book []published, got []delivered, gaps int, clean bool) error {
	first := slices.IndexFunc(got, func(d delivered) bool { return d.gap == nil })
	if first < 0 {
		return errors.New("no message was delivered")
	}
	last, id, seen := got[first].n-1, place{}, 0
	var open *delivered
	for i := range got {
		d := &got[i]
		if d.id.Seq < id.Seq {
			return fmt.Errorf("the id went back from %v to %v", id, d.id)
		}
		id = d.id
		if d.gap != nil {
			if open != nil {
				return fmt.Errorf("two gaps after %d without a message between: %+v and %+v", last, *open.gap, *d.gap)
			}
			if d.gap.Reason != gapDisconnected {
				return fmt.Errorf("the gap after %d has the reason %q", last, d.gap.Reason)
			}
			if err := judgeAfter(got[:i], d); err != nil {
				return err
			}
			open = d
			seen++
			continue
		}
		switch {
		case d.n <= last:
			return fmt.Errorf("%d was delivered after %d", d.n, last)
		case d.n > last+1 && open == nil:
			return fmt.Errorf("%d follows %d without a gap: lost %+v", d.n, last, book[last+1:d.n])
		case clean:
			if err := judgeLost(book[last+1 : d.n]); err != nil {
				return fmt.Errorf("the gap between %d and %d: %w", last, d.n, err)
			}
		}
		last, open = d.n, nil
	}
	if seen != gaps {
		return fmt.Errorf("%d gaps, want %d", seen, gaps)
	}
	return nil
}

// judgeAfter checks the place that a gap names: not before the last message that was delivered, not at or behind the gap.
func judgeAfter(before []delivered, g *delivered) error {
	if g.gap.After == nil {
		return fmt.Errorf("the gap %+v has no after", *g.gap)
	}
	after, ok := placeOf(*g.gap.After)
	if !ok || after.Seq >= g.id.Seq {
		return fmt.Errorf("the gap at %v is after %q", g.id, *g.gap.After)
	}
	if len(before) > 0 && after.Seq < before[len(before)-1].id.Seq {
		return fmt.Errorf("the gap is after %v, but %v has been delivered", after, before[len(before)-1].id)
	}
	return nil
}

// judgeLost checks the messages lost in an outage: those that were on their way, then those without a receiver.
func judgeLost(lost []published) error {
	alone := slices.IndexFunc(lost, func(e published) bool { return e.err != nil || e.receivers == 0 })
	if alone < 0 {
		return nil
	}
	for _, e := range lost[alone:] {
		if e.err == nil && e.receivers > 0 {
			return fmt.Errorf("a message with %d receivers is lost behind one with none: %+v", e.receivers, lost)
		}
	}
	return nil
}
