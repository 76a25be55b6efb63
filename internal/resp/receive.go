package resp

import (
	"fmt"
	"strings"
)

// Reply is what Redis says on a connection that is subscribed.
type Reply struct {
	Kind    string // message, pmessage, pong, or the command that is confirmed: subscribe ...
	Pattern string // of a pmessage
	Channel string // of a message; or the channel or pattern that is confirmed
	Payload string // of a message or a pong
}

// Error is an error reply, also to go-redis: a redis.Error.
type Error string

func (e Error) Error() string { return string(e) }

// RedisError makes it a redis.Error.
func (e Error) RedisError() {}

// Receive waits for a reply, of RESP2. It can go on behind an Error, but behind nothing
// else that it fails with. A message costs one allocation, and its channel's name
// another if that has not come lately.
func (c *Conn) Receive() (r Reply, err error) {
	switch h := c.header(); h.kind {
	case '-':
		return r, Error(h.text)
	case '*':
		r = c.push(h.number)
	default: // before anything is subscribed
		r.Kind, r.Payload = "pong", c.text(h)
	}
	return r, c.err
}

// push reads so many elements.
func (c *Conn) push(elements int) (r Reply) {
	r.Kind = c.name()
	switch {
	case r.Kind == "message" && elements == 3:
		r.Channel, r.Payload = c.name(), c.text(c.header())
	case r.Kind == "pmessage" && elements == 4:
		r.Pattern, r.Channel, r.Payload = c.name(), c.name(), c.text(c.header())
	case r.Kind == "pong" && elements == 2:
		r.Payload = c.text(c.header())
	case strings.HasSuffix(r.Kind, "subscribe") && elements == 3:
		r.Channel = c.name()
		if h := c.header(); h.kind != ':' || h.number < 0 { // how many subscriptions there are
			c.unexpected(h.line)
		}
	default:
		c.unexpected([]byte(r.Kind))
	}
	return r
}

// text reads the string that h begins.
func (c *Conn) text(h header) string {
	switch {
	case h.kind == '+':
		return string(h.text)
	case h.kind != '$' || h.number < 0:
		c.unexpected(h.line)
		return ""
	}
	var b strings.Builder
	b.Grow(h.number)
	for left := h.number; left > 0 && c.err == nil; left = h.number - b.Len() {
		b.Write(c.take(min(left, max(c.rd.Buffered(), 1))))
	}
	c.take(len("\r\n"))
	return b.String()
}

// Whoever publishes chooses the channels that a pattern covers. So no more names are
// kept than these, 1 MiB of them; then all are forgotten, and each costs an allocation
// when it comes again.
const maxNames, maxName = 8 << 10, 128 // bytes

// name reads a string that has come before, as a rule.
func (c *Conn) name() string {
	h := c.header()
	if h.kind != '$' || h.number < 0 || h.number > maxName {
		return c.text(h)
	}
	text := c.take(h.number + len("\r\n"))
	text = text[:min(h.number, len(text))]
	if name, kept := c.names[string(text)]; kept {
		return name
	}
	if len(c.names) == maxNames {
		clear(c.names)
	}
	name := string(text)
	c.names[name] = name
	return name
}

// take reads n bytes, which stay until the next read; fewer if reading fails.
func (c *Conn) take(n int) []byte {
	p, err := c.rd.Peek(n)
	if c.err == nil {
		c.err = err
	}
	_, _ = c.rd.Discard(len(p)) // they are there
	return p
}

func (c *Conn) unexpected(text []byte) {
	if c.err == nil {
		c.err = fmt.Errorf("redis sends %.100q, which is nothing of a subscription", text)
	}
}
