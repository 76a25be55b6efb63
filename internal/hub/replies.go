package hub

import (
	"fmt"
	"strconv"
	"sync"
)

// command is one command on the wire. Redis answers in order: one reply a
// name, one PONG a PING, or one error for the whole command.
type command struct {
	kind     commandKind
	subs     []*subscription
	probe    string // of a probeCommand: the channel
	answered int    // replies in so far; reader goroutine only
	sent     int64  // of a PING: when, monotonic milliseconds
}

// names returns the channels or patterns that the command names.
func (c *command) names() []string {
	names := make([]string, len(c.subs))
	for i, sub := range c.subs {
		names[i] = sub.line.name
	}
	return names
}

// commandKind is a command's name, as Redis has it in its replies.
type commandKind string

const (
	pingCommand         commandKind = "ping"
	subscribeCommand    commandKind = "subscribe"
	unsubscribeCommand  commandKind = "unsubscribe"
	psubscribeCommand   commandKind = "psubscribe"
	punsubscribeCommand commandKind = "punsubscribe"
	probeCommand        commandKind = "probe" // a SUBSCRIBE of the probe channel, which is no subscription of a stream
)

// replies are the commands of one connection that have been written and are
// not completely answered, oldest first. One goroutine writes, another one
// reads.
type Replies struct {
	memory *Hub

	mu       sync.Mutex
	expected ring[*command]
	waiting  int   // (un)subscribe replies under way
	replied  int64 // when the newest reply came, monotonic milliseconds
}

// newReplies returns those of a connection on which nothing was written yet.
// Its writer has to look for what was wanted before.
func (h *Hub) NewReplies() *Replies {
	h.wakeWriter()
	return &Replies{memory: h}
}

// maxUnanswered bounds the replies under way: Redis keeps them in the output
// buffer of the connection, which it closes at 32 MB by default (it did so at
// 540,000 channels of one command). At the limit the writer waits.
const maxUnanswered = 8 * maxBatch

// next returns what has to be written next: the command's kind, as Redis's
// replies name it, such as "psubscribe", and the names that go with it. No
// names: there is nothing, or nothing until more has been answered. The replies
// are expected from then on, as they may come before the write returns.
func (r *Replies) Next() (kind string, names []string) {
	if r.unanswered() >= maxUnanswered {
		return "", nil
	}
	c := r.memory.take()
	if c == nil {
		return "", nil
	}
	r.expect(c)
	return string(c.kind), c.names()
}

// ping returns the text of a PING that is about to be written.
func (r *Replies) Ping() string {
	c := &command{kind: pingCommand, sent: r.memory.Clock.Monotonic()}
	r.expect(c)
	return strconv.FormatInt(c.sent, 10)
}

// probe expects the reply to a SUBSCRIBE of the probe channel.
func (r *Replies) Probe(channel string) { r.expect(&command{kind: probeCommand, probe: channel}) }

func (r *Replies) expect(c *command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected.push(c)
	r.waiting += len(c.subs)
}

// asked returns the oldest command that is not completely answered, to which an
// error reply belongs: its kind, which may also be "ping", "probe" or, if there
// is none, empty, and its names.
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

// confirmed takes a reply to one name of a (P)SUBSCRIBE or (P)UNSUBSCRIBE, and
// says whether it was the probe channel's. If the subscription has been given
// up meanwhile the confirmation is lost on it, and the channel's new one waits
// for its own. Reader goroutine only, as the next two.
func (r *Replies) Confirmed(kind, name string) (probe bool, err error) {
	c := r.oldest()
	if c != nil && c.kind == probeCommand && kind == string(subscribeCommand) && name == c.probe {
		r.advance(c)
		return true, nil
	}
	if c == nil || string(c.kind) != kind || c.subs[c.answered].line.name != name {
		return false, fmt.Errorf("%s of %q was not asked for", kind, name)
	}
	sub := c.subs[c.answered]
	r.advance(c)
	if c.kind == subscribeCommand || c.kind == psubscribeCommand {
		r.memory.confirmed(sub)
	}
	return false, nil
}

// ponged takes a PONG and returns when its PING was about to be written,
// monotonic milliseconds.
func (r *Replies) Ponged(text string) (sent int64, err error) {
	c := r.oldest()
	if c == nil || c.kind != pingCommand || text != strconv.FormatInt(c.sent, 10) {
		return 0, fmt.Errorf("a PONG of %q was not asked for", text)
	}
	r.advance(c)
	r.memory.answered(c.sent)
	return c.sent, nil
}

// advance counts one reply to c, the oldest command.
func (r *Replies) advance(c *command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replied = r.memory.Clock.Monotonic()
	c.answered++
	if c.answered >= len(c.subs) {
		r.expected.pop()
	}
	if len(c.subs) == 0 {
		return
	}
	r.waiting--
	// Only when the writer may have stopped at the limit and half is done:
	// waking it for each reply would make it write crumbs.
	if r.waiting == maxUnanswered/2 {
		r.memory.wakeWriter()
	}
}

// denied takes an ACL's refusal of the oldest command. Streams are told, and
// what was refused alone is asked for again later.
func (r *Replies) Denied() { r.memory.refused(r.skip().subs) }

// failed takes another error reply to the oldest command, which nothing comes
// of.
func (r *Replies) Failed() { r.skip() }

func (r *Replies) skip() *command {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replied = r.memory.Clock.Monotonic()
	c := r.expected.pop()
	r.waiting -= len(c.subs)
	r.memory.wakeWriter()
	return c
}

func (r *Replies) unanswered() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting
}

// unheardSince reports whether a PING from before a time is unanswered, and
// nothing has been answered since. Times are monotonic milliseconds.
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
