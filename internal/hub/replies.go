package hub

import (
	"fmt"
	"strconv"
	"sync"
)

// command is one command on the wire. Redis answers commands in their order:
//
//	(P)SUBSCRIBE, (P)UNSUBSCRIBE    a reply to each name
//	PING                            a PONG
//	any                             or one error for the whole command
type command struct {
	kind  commandKind
	subs  []*subscription
	probe string // of a probeCommand: the channel
	sent  int64  // of a PING: when, monotonic milliseconds

	// Of the reader goroutine only, once the command is expected.
	replies int // that have come
}

// names returns the channels or patterns that the command names.
func (c *command) names() []string {
	names := make([]string, len(c.subs))
	for i, sub := range c.subs {
		names[i] = sub.line.name
	}
	return names
}

// commandKind is a command's name, as Redis's replies have it.
type commandKind string

const (
	pingCommand         commandKind = "ping"
	subscribeCommand    commandKind = "subscribe"
	unsubscribeCommand  commandKind = "unsubscribe"
	psubscribeCommand   commandKind = "psubscribe"
	punsubscribeCommand commandKind = "punsubscribe"
	probeCommand        commandKind = "probe" // a SUBSCRIBE of the probe channel, for which there is no subscription
)

// Replies are the replies that one connection owes to what has been written on
// it. The writer goroutine calls Next, Ping and Probe, the reader goroutine takes
// what comes.
type Replies struct {
	hub *Hub

	mu       sync.Mutex     // guards what follows
	expected ring[*command] // not completely answered, oldest first
	waiting  int            // replies to names in expected that have not come
	replied  int64          // when the newest reply came, monotonic milliseconds
	added    uint64         // commands that were ever expected
	answered uint64         // of them
	owed     uint64         // added, when nothing was left to be written; 0: something is

	// Of the reader goroutine only.
	restored Restored // but for its gaps
	outages  int64    // gaps of outages before
}

// Restored is what Redis has answered to what a connection was to be subscribed to.
type Restored struct {
	Channels int // confirmed
	Patterns int // confirmed
	Denied   int // of both
	Gaps     int // channels with a gap for the outage before
}

// NewReplies returns the replies of a new connection. The writer is woken for
// what was to be written before there was one.
func (h *Hub) NewReplies() *Replies {
	h.wakeWriter()
	return &Replies{hub: h, outages: h.usage.outages.Load()}
}

// maxUnanswered bounds the replies under way: the writer waits at the limit.
// Redis keeps replies in the connection's output buffer and closes the connection
// when the buffer has 32 MB, by default. (540,000 channels in one command did it.)
const maxUnanswered = 8 * maxBatch

// Next returns the command that has to be written next: its kind, as Redis's
// replies have it, such as "psubscribe", and the channels or patterns. There are
// no names if nothing has to be written, or if Redis has to answer first. The
// replies are expected from then on, as they may come before the write returns.
func (r *Replies) Next() (kind string, names []string) {
	if r.unanswered() >= maxUnanswered {
		return "", nil
	}
	c := r.hub.take()
	if c == nil {
		r.wroteAll()
		return "", nil
	}
	r.expect(c)
	return string(c.kind), c.names()
}

// Ping returns the text of a PING that is about to be written.
func (r *Replies) Ping() string {
	c := &command{kind: pingCommand, sent: r.hub.Clock.Monotonic()}
	r.expect(c)
	return strconv.FormatInt(c.sent, 10)
}

// Probe expects the reply to a SUBSCRIBE of the probe channel.
func (r *Replies) Probe(channel string) { r.expect(&command{kind: probeCommand, probe: channel}) }

func (r *Replies) expect(c *command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected.push(c)
	r.added++
	r.waiting += len(c.subs)
}

// wroteAll records that nothing is left to be written, for the first time on this
// connection or since a denial of several names.
func (r *Replies) wroteAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owed == 0 {
		r.owed = max(1, r.added)
	}
}

// Restored reports whether Redis has answered for all that was to be subscribed
// to when the connection began, and what it has answered since. What streams ask
// for meanwhile is counted, but not waited for. Reader goroutine only.
func (r *Replies) Restored() (what Restored, all bool) {
	r.mu.Lock()
	all = r.owed > 0 && r.answered >= r.owed
	r.mu.Unlock()
	what = r.restored
	what.Gaps = int(r.hub.usage.outages.Load() - r.outages)
	return what, all
}

// Asked returns the oldest command that is not completely answered: an error
// reply belongs to that one. Its kind may also be "ping" or "probe"; it is empty if
// every command has been answered.
func (r *Replies) Asked() (kind string, names []string) {
	c := r.oldest()
	if c == nil {
		return "", nil
	}
	return string(c.kind), c.names()
}

func (r *Replies) oldest() *command {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expected.len() == 0 {
		return nil
	}
	return r.expected.at(0)
}

// Confirmed takes a reply to one name of a (P)SUBSCRIBE or (P)UNSUBSCRIBE. It
// reports whether the name was the probe channel. A confirmation changes nothing if
// its subscription has been given up: if the channel has a new one, that waits for
// a confirmation of its own. Reader goroutine only.
func (r *Replies) Confirmed(kind, name string) (probe bool, err error) {
	c := r.oldest()
	if c != nil && c.kind == probeCommand && kind == string(subscribeCommand) && name == c.probe {
		r.advance(c)
		return true, nil
	}
	if c == nil || string(c.kind) != kind || c.subs[c.replies].line.name != name {
		return false, fmt.Errorf("%s of %q was not asked for", kind, name)
	}
	sub := c.subs[c.replies]
	r.advance(c)
	switch c.kind {
	case subscribeCommand:
		r.restored.Channels++
		r.hub.confirmed(sub)
	case psubscribeCommand:
		r.restored.Patterns++
		r.hub.confirmed(sub)
	}
	return false, nil
}

// Ponged takes a PONG. It returns when its PING was about to be written, monotonic
// milliseconds. Reader goroutine only.
func (r *Replies) Ponged(text string) (sent int64, err error) {
	c := r.oldest()
	if c == nil || c.kind != pingCommand || text != strconv.FormatInt(c.sent, 10) {
		return 0, fmt.Errorf("a PONG of %q was not asked for", text)
	}
	r.advance(c)
	r.hub.raiseLowWater(c.sent)
	return c.sent, nil
}

// advance counts one reply to c, the oldest command.
func (r *Replies) advance(c *command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replied = r.hub.Clock.Monotonic()
	c.replies++
	if c.replies >= len(c.subs) {
		r.expected.pop()
		r.answered++
	}
	if len(c.subs) == 0 {
		return
	}
	r.waiting--
	// The writer may have stopped at the limit. It is woken at half of that:
	// woken for each reply it would write crumbs.
	if r.waiting == maxUnanswered/2 {
		r.hub.wakeWriter()
	}
}

// Denied takes an ACL's denial of the oldest command, see Hub.denied. Reader
// goroutine only.
func (r *Replies) Denied() {
	c := r.skip()
	r.hub.denied(c.subs)
	if len(c.subs) == 1 {
		if c.kind == subscribeCommand || c.kind == psubscribeCommand {
			r.restored.Denied++
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owed = 0
	r.hub.wakeWriter() // it may have found nothing to write before these names were queued
}

// Failed takes another error reply to the oldest command. Nothing follows from
// it but that the command is answered. Reader goroutine only.
func (r *Replies) Failed() { r.skip() }

func (r *Replies) skip() *command {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replied = r.hub.Clock.Monotonic()
	c := r.expected.pop()
	r.answered++
	r.waiting -= len(c.subs)
	r.hub.wakeWriter()
	return c
}

func (r *Replies) unanswered() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// UnheardSince reports whether a PING from before a time is unanswered and no
// reply has come since that time, in monotonic milliseconds.
func (r *Replies) UnheardSince(before int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.replied >= before {
		return false
	}
	for i := range r.expected.len() {
		if c := r.expected.at(i); c.kind == pingCommand {
			return c.sent < before // the oldest
		}
	}
	return false
}
