//go:build browser && linux

package browsertest

import (
	"slices"
	"testing"
	"time"
)

var bothProtos = []string{httpOne, httpTwo}

// A stream that never got a message has an id nevertheless, its first cursor's, and the browser must send that.
func TestQuietStreamResumesExactly(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.open(b)
		p.awaitType("cursor", 1)

		g.cut(p, func() { g.publish(messages(1, 10)...) })
		p.awaitMessage("message-10")
		g.publish("message-11")
		p.awaitMessage("message-11")

		p.passes(messages(1, 11), nil)
		p.cameBack(g, 2)
		cursor := slices.IndexFunc(p.events(), func(e event) bool { return e.Type == "cursor" })
		if first := p.events()[cursor]; p.visits()[1].lastEventID != first.ID {
			t.Errorf("the browser sent %q, want that of %+v", p.visits()[1].lastEventID, first)
		}
	})
}

func TestStreamWithMessagesResumesExactly(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.open(b)
		p.awaitType("cursor", 1)
		g.publish(messages(1, 5)...)
		p.awaitMessage("message-5")

		g.cut(p, func() { g.publish(messages(6, 10)...) })
		p.awaitMessage("message-10")
		g.cut(p, func() { g.publish(messages(11, 15)...) })
		p.awaitMessage("message-15")

		p.passes(messages(1, 15), nil)
		p.cameBack(g, 3)
	})
}

// The stream stays open, so that only the gap tells.
func TestRedisThatWentAwayIsOneGap(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.open(b)
		p.awaitType("cursor", 1)
		g.publish(messages(1, 3)...)
		p.awaitMessage("message-3")

		g.redis.Kill()
		g.redis.Restart()
		g.publish("message-4") // nobody is subscribed yet, or only just
		g.redis.WaitNumSub(channel, 1)
		p.awaitType("gap", 1)
		g.publish(messages(5, 10)...)
		p.awaitMessage("message-10")

		p.passes(messages(1, 10), []string{"redis_disconnected"})
		p.cameBack(g, 1)
		if n := count(p.events(), "error"); n > 0 {
			t.Errorf("%d errors, want a stream that stays open", n)
		}
	})
}

func TestReloadLosesNothing(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.open(b)
		p.awaitType("cursor", 1)
		publisher := g.startPublisher()
		p.awaitMessage("message-20")

		g.reload("2")
		p.awaitType("open", 2)
		p.awaitType("cursor", 2)
		published := publisher.stop()
		p.awaitMessage(published[len(published)-1])

		p.passes(published, nil)
		p.cameBack(g, 2)
		if n := count(p.events(), "error"); n != 1 {
			t.Errorf("%d errors, want only the one at the end of the stream", n)
		}
	})
}

// What was published while there was no gateway nobody knows: it must be a gap.
func TestGatewayThatWasKilledIsAGap(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.openAt(b, g.addr, channel) // no proxy: connections must really be refused
		p.awaitType("cursor", 1)
		g.publish(messages(1, 5)...)
		p.awaitMessage("message-5")

		g.process.Kill()
		g.publish(messages(6, 10)...)
		p.awaitType("error", 4) // the end of the stream, and three attempts in vain
		g.start()
		p.awaitType("open", 2)
		g.publish(messages(11, 15)...)
		p.awaitMessage("message-15")

		p.passes(messages(1, 15), []string{"not_buffered"})
		p.cameBack(g, 2)
	})
}

// cut breaks all connections, and lets the browser come back only after what happens meanwhile, and after it has tried in vain.
func (g *gateway) cut(p *page, meanwhile func()) {
	g.t.Helper()
	errors := count(p.events(), "error")
	g.proxy.SetRefuse(true)
	accepted := g.proxy.Accepted()
	g.proxy.Reset()
	meanwhile()
	p.awaitType("error", errors+2)
	if g.proxy.Accepted() == accepted {
		g.t.Error("no attempt to come back was seen")
	}
	g.proxy.SetRefuse(false)
}

// passes checks what the page got: all that was published once and in order, but for gaps with these reasons.
func (p *page) passes(published, gaps []string) {
	p.t.Helper()
	events := p.events()
	got, err := audit(events, published, len(gaps) > 0)
	if err != nil {
		p.t.Errorf("%s: %v\n%s", p.name, err, told(events, p.visits()))
	}
	if !slices.Equal(got, gaps) {
		p.t.Errorf("%s: gaps %q, want %q", p.name, got, gaps)
	}
}

// cameBack checks that the browser asked for its stream so often, each time over the right HTTP version and with the right id.
func (p *page) cameBack(g *gateway, times int) {
	p.t.Helper()
	events, visits := p.events(), p.visits()
	var sent []string
	for _, v := range visits {
		sent = append(sent, v.lastEventID)
		if v.proto != g.proto {
			p.t.Errorf("%s: the browser spoke %s", p.name, v.proto)
		}
	}
	if err := cameBack(events, sent); err != nil {
		p.t.Errorf("%s: %v\n%s", p.name, err, told(events, visits))
	}
	if len(visits) != times {
		p.t.Errorf("%s: asked for its stream %d times, want %d", p.name, len(visits), times)
	}
}

// publisher publishes numbered messages for as long as something happens.
type publisher struct {
	quit chan struct{}
	done chan []string
	last []string // once stopped
}

func (g *gateway) startPublisher() *publisher {
	p := &publisher{quit: make(chan struct{}), done: make(chan []string, 1)}
	go func() {
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for n := 1; ; n++ {
			select {
			case <-p.quit:
				p.done <- messages(1, n-1)
				return
			case <-pace.C:
			}
			if _, err := g.redis.TryPublish(channel, messages(n, n)[0]); err != nil {
				g.t.Errorf("publishing message %d: %v", n, err)
			}
		}
	}()
	g.t.Cleanup(func() { p.stop() })
	return p
}

// stop returns all that was published.
func (p *publisher) stop() []string {
	if p.last == nil {
		close(p.quit)
		p.last = <-p.done
	}
	return p.last
}
