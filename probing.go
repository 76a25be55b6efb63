package redissse

import (
	"errors"
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// probing is what a connection generation knows of its probes and of its
// server. A probe is a message of the hub to itself. One probe is under way at
// most: a second one could not be overdue any sooner, and while a backlog holds
// the first up it would only add to the backlog. Times are monotonic
// milliseconds. Safe for concurrent use.
type probing struct {
	mu sync.Mutex

	// The probe under way.
	payload        string    // empty: there is none
	sent           int64     // when its PUBLISH was about to be written
	started        time.Time // the same, for the metric
	completeAtSend hub.Mark  // up to where all was complete then
	acked          int64     // when Redis answered the PUBLISH; 0: not yet
	weak           bool      // the probe may well be lost on its way: see acknowledged

	// What the generation has learned.
	listening       bool                     // Redis has confirmed the probe channel
	proved          bool                     // the newest probe came back
	ponged          int64                    // when the newest PING that has been answered was written
	role            role                     // of the server, as last seen
	without         map[optionalCommand]bool // what Redis does not let this user have
	completeAtRole  hub.Mark                 // up to where all was complete before ROLE last found all well
	completeAtProbe hub.Mark                 // up to where all was complete before the newest probe that came back was published
}

// probeTimeout is how long a message that Redis has taken may be on its way
// to the subscription when nothing else is ahead of it: to another node of a
// cluster, or to a replica. At the limit the generation ends. With the default
// probe_interval a deaf Redis is noticed within 10 s + 2 s for the PUBLISH +
// 10 s + a tick, well under 30 s.
const probeTimeout = 10 * time.Second

var (
	errDeaf    = errors.New("redis answers but does not deliver")
	errUnheard = errors.New("what is sent does not reach redis")
)

// begin puts a probe under way, unless one is or the probe could not come back.
// Up to m all is complete.
func (p *probing) begin(payload string, started time.Time, now int64, m hub.Mark) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.listening || p.payload != "" {
		return false
	}
	p.payload, p.sent, p.started, p.completeAtSend, p.acked, p.weak = payload, now, started, m, 0, false
	return true
}

// acknowledged records that Redis has executed the probe's PUBLISH. The probe
// is weak if the server that did so does not have our subscription and is a
// replica: what is published there may reach nobody else. That is so behind
// an address that stands for several replicas, and says nothing of ours.
func (p *probing) acknowledged(payload string, now int64, weak bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.payload == payload { // else it has come back already
		p.acked, p.weak = now, weak
	}
}

// abandoned forgets a probe whose PUBLISH failed: it proves nothing.
func (p *probing) abandoned(payload string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.payload == payload {
		p.payload, p.proved = "", false
	}
}

// arrived records that a probe came back. Not ok: it is none of this
// generation, or had been given up.
func (p *probing) arrived(payload string) (sent int64, started time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if payload == "" || p.payload != payload {
		return 0, time.Time{}, false
	}
	p.payload, p.proved, p.completeAtProbe = "", true, p.completeAtSend
	return p.sent, p.started, true
}

// answered records that a PING which was written at the time sent was answered.
func (p *probing) answered(sent int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ponged = sent
}

// overdue reports that the probe under way is lost, which takes time in which this
// process ran. The answer to a PING that
// was written after Redis had taken the probe comes behind it, as one server
// answers in order. So as long as that PONG is missing the probe may still be
// on its way: behind a large message that arrives slowly, or behind a backlog
// of hours. While bytes progress nothing fails; if they do not, the watchdog
// sees it.
func (p *probing) overdue(now int64, stood *pauses) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.payload == "" || p.acked == 0 || stood.ran(p.acked, now) <= probeTimeout.Milliseconds() {
		return false
	}
	p.proved = false
	if p.weak {
		p.payload = ""
		return false
	}
	return p.ponged > p.acked
}

// become records a role, and returns what is wrong with it after the one
// before. m is where all was complete before it was asked for.
func (p *probing) become(now role, m hub.Mark) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.role
	p.role = now
	if err := now.since(before); err != nil {
		return err
	}
	p.completeAtRole = m
	return nil
}

// completeBefore returns up to where all is complete once the generation has
// ended with err. Up to m all that the server has told was read. But a server
// that is no longer the publishers' goes on answering, and delivering, until
// that is noticed: what it told since it was last known to be well proves
// nothing.
//
//	the generation ended because of    all is complete up to
//	the server's role                  before ROLE last found all well
//	a lost probe                       before the newest probe that came back
//	anything else                      m
func (p *probing) completeBefore(err error, m hub.Mark) hub.Mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch lossReasonOf(err) {
	case lossRole:
		return p.completeAtRole
	case lossDeaf:
		return p.completeAtProbe
	}
	return m
}

func (p *probing) listens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listening = true
}

// goesWithout records that a command is unavailable in this generation.
func (p *probing) goesWithout(what optionalCommand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.without == nil {
		p.without = map[optionalCommand]bool{}
	}
	p.without[what] = true
}

func (p *probing) has(what optionalCommand) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.without[what]
}

// canProve reports whether probes are possible, as far as is known.
func (p *probing) canProve() bool { return p.has(commandPublish) && p.has(commandSubscribe) }

// isAsked reports whether Redis has answered for the probe channel.
func (p *probing) isAsked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listening || p.without[commandSubscribe]
}

// lastRole returns the role of the server, as last seen.
func (p *probing) lastRole() role {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.role
}

// isProved reports whether the newest probe came back.
func (p *probing) isProved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proved
}
