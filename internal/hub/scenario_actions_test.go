package hub

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub/hubtest"
)

// sceneOpenTimeout is open_timeout's default.
const sceneOpenTimeout = 2 * time.Second

// join opens the client's stream, which begins as soon as it can. Unless cut is
// empty the client is cut after so many events.
func (c *sceneClient) join(n *sceneNode, at Start, cut string) (err error) {
	if c.stream != nil {
		return fmt.Errorf("%s is open", c.name)
	}
	if err := sceneKnows(c.patterns); err != nil {
		return err
	}
	c.node, c.wake, c.at, c.began, c.most = n, NewWaiter(), at, false, roomForAll
	if cut != "" {
		if c.most, err = strconv.Atoi(cut); err != nil {
			return fmt.Errorf("cut=%s: %w", cut, err)
		}
	}
	c.timeout = n.hub.Clock.Monotonic() + sceneOpenTimeout.Milliseconds()
	if c.stream, err = n.hub.Open(0, c.channels, c.patterns, c.wake); err != nil {
		c.stream = nil
		n.scene.result("error: %v", err)
		return nil
	}
	if !n.stepwise {
		n.settle()
	}
	if !c.begin("") {
		n.scene.result("waits")
		n.scene.waiting = append(n.scene.waiting, c)
	}
	return nil
}

// begin begins the client's stream unless it has to wait for Redis.
func (c *sceneClient) begin(prefix string) bool {
	h := c.node.hub
	if !c.stream.Settled() && h.Clock.Monotonic() < c.timeout {
		return false
	}
	c.began = true
	c.stream.Begin(c.at, h.Clock.Now())
	c.take(prefix, c.stream.AppendCursor(nil, sceneFormat))
	c.read(prefix, false, c.most)
	if c.most < roomForAll {
		c.close()
	}
	return true
}

// beginAll begins the streams that need to wait no longer.
func (s *scene) beginAll() {
	s.waiting = slices.DeleteFunc(s.waiting, func(c *sceneClient) bool {
		return c.stream == nil || c.begin(c.name+" ")
	})
}

// take tells what the client is sent.
func (c *sceneClient) take(prefix string, wire []byte) {
	for _, e := range sceneEvents(wire) {
		c.last = e.id
		c.node.scene.result("%s%s", prefix, c.node.scene.ids.tell(e))
	}
}

// streaming returns a client whose stream is open.
func (s *scene) streaming(name string) (*sceneClient, error) {
	c := s.clients[name]
	switch {
	case c == nil || c.stream == nil:
		return nil, fmt.Errorf("there is no stream %s", name)
	case !c.began:
		return nil, fmt.Errorf("%s waits for Redis", name)
	}
	return c, nil
}

// roomForAll is more events than a client is ever sent at once.
const roomForAll = 1 << 30

// read has the client be sent all there is for it, with a cursor behind it if
// it is a heartbeat, but no more than most events.
func (c *sceneClient) read(prefix string, beat bool, most int) {
	for more := true; more; {
		var b Batch
		c.stream.Read(&b)
		for i := range b.Items {
			if most--; most < 0 {
				return
			}
			c.take(prefix, wireOf(c.node.hub, &b.Items[i], sceneFormat))
		}
		if more = b.More; beat && !more {
			c.take(prefix, b.AppendCursor(nil, sceneFormat))
		}
		c.stream.Wrote(&b)
	}
}

func (c *sceneClient) close() {
	c.node.hub.Close(c.stream)
	c.stream = nil
}

func (n *sceneNode) reading(rest string, beat bool) error {
	c, err := n.scene.streaming(rest)
	if err != nil {
		return err
	}
	if c.read("", beat, roomForAll); len(n.scene.results) == 0 {
		n.scene.result("nothing")
	}
	return nil
}

func (n *sceneNode) cut(rest string) error {
	name, after, cutLater := strings.Cut(rest, " after ")
	c, err := n.scene.streaming(name)
	if err != nil {
		return err
	}
	if cutLater {
		most, err := strconv.Atoi(after)
		if err != nil {
			return errUsage
		}
		c.read("", false, most)
	}
	c.close()
	return nil
}

func (n *sceneNode) publishing(rest string) error {
	channel, payload, _ := strings.Cut(rest, " ")
	if payload == "" {
		return errUsage
	}
	payloads := []string{payload}
	var first, last, size int
	if k, _ := fmt.Sscanf(payload, "%d..%d", &first, &last); k == 2 && payload == fmt.Sprintf("%d..%d", first, last) {
		payloads = nil
		for i := first; i <= last; i++ {
			payloads = append(payloads, fmt.Sprint(i))
		}
	} else if k, _ := fmt.Sscanf(payload, "<%d bytes>", &size); k == 1 {
		payloads = []string{strings.Repeat("x", size)}
	}
	for _, payload := range payloads {
		for _, n := range n.scene.nodes {
			n.deliver(channel, payload)
		}
	}
	return nil
}

// deliver has Redis deliver a message, and tells if it does not do so once.
func (n *sceneNode) deliver(channel, payload string) {
	before := len(n.redis.Wire)
	n.say(channel, payload)
	where := ""
	if len(n.scene.nodes) > 1 {
		where = " to node " + n.name
	}
	switch copies := len(n.redis.Wire) - before; copies {
	case 0:
		n.scene.result("not delivered%s", where)
	case 1:
	default:
		n.scene.result("%d copies%s", copies, where)
	}
	if !n.stepwise {
		n.settle()
	}
}

func (n *sceneNode) sends(rest string) error {
	channel, payload, _ := strings.Cut(rest, " ")
	payload, pattern, _ := strings.Cut(payload, " of ")
	if payload == "" {
		return errUsage
	}
	n.redis.Wire = append(n.redis.Wire, hubtest.Message{Pattern: pattern, Channel: channel, Payload: payload})
	return nil
}

func (n *sceneNode) deny(rest string, deny bool) error {
	if rest == "" {
		return errUsage
	}
	for _, name := range strings.Fields(rest) {
		n.redis.Deny[name] = deny
	}
	return nil
}

func (n *sceneNode) demoted(string) error {
	n.redis.Up = false
	n.hub.Lost(n.sound)
	n.connect()
	return nil
}

// writes tells the commands that the hub writes to Redis.
func (n *sceneNode) writes(string) error {
	if !n.stepwise {
		return errNotStepwise
	}
	for n.redis.Up {
		kind, names := n.replies.Next()
		if len(names) == 0 {
			break
		}
		n.redis.Execute(kind, names)
		n.scene.result("%s %s", strings.ToUpper(kind), strings.Join(names, " "))
	}
	if len(n.scene.results) == 0 {
		n.scene.result("nothing")
	}
	return nil
}

// reads tells the replies and messages that the hub reads.
func (n *sceneNode) reads(rest string) (err error) {
	if !n.stepwise {
		return errNotStepwise
	}
	count := len(n.redis.Wire)
	if rest != "" {
		if count, err = strconv.Atoi(rest); err != nil {
			return errUsage
		}
	}
	for ; count > 0 && len(n.redis.Wire) > 0; count-- {
		switch r := n.redis.Wire[0].(type) {
		case hubtest.Message:
			of := ""
			if r.Pattern != "" {
				of = " of " + r.Pattern
			}
			n.scene.result("message %s %s%s", r.Channel, tellPayload(r.Payload), of)
		case hubtest.Confirmed:
			n.scene.result("%s %s", r.Kind, r.Name)
		case hubtest.Denied:
			n.scene.result("NOPERM")
		case hubtest.Pong:
			n.scene.result("PONG")
		}
		n.read(1)
	}
	if len(n.scene.results) == 0 {
		n.scene.result("nothing")
	}
	return nil
}

func (n *sceneNode) limits(rest string) error {
	b := n.bounds
	size := func(to *int64) func(string) error {
		return func(text string) (err error) { *to, err = sceneSize(text); return err }
	}
	count := func(to *int) func(string) error {
		return func(text string) (err error) { *to, err = strconv.Atoi(text); return err }
	}
	set := map[string]func(string) error{
		"messages": count(&b.Limits.Messages), "channel_size": size(&b.Limits.Bytes), "max_message": size(&b.Limits.Message),
		"total_size": size(&b.Budget.Bytes), "max_channels": count(&b.Budget.Channels),
		"max_age": func(text string) error {
			d, err := time.ParseDuration(text)
			b.Limits.MaxAge = d.Milliseconds()
			return err
		},
		"linger": func(text string) (err error) { b.Linger, err = time.ParseDuration(text); return err },
	}
	words := strings.Fields(rest)
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if set[key] == nil {
			return errUsage
		}
		if err := set[key](value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if len(words) == 0 {
		return errUsage
	}
	n.bounds = b
	n.hub.Configure(b, n.kept)
	return nil
}

// sceneSize reads a number of bytes, or of KiB or MiB.
func sceneSize(text string) (int64, error) {
	shift := 0
	if number, ok := strings.CutSuffix(text, "KiB"); ok {
		text, shift = number, 10
	} else if number, ok := strings.CutSuffix(text, "MiB"); ok {
		text, shift = number, 20
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n << shift, err
}

func (n *sceneNode) keeps(rest string) error {
	if rest == "" {
		return errUsage
	}
	var kept []string
	if rest != "nothing" {
		kept = strings.Fields(rest)
	}
	if err := sceneKnows(kept); err != nil {
		return err
	}
	n.kept = kept
	n.hub.Configure(n.bounds, n.kept)
	return nil
}

// restart has another process take the node's place. Its clients are cut.
func (n *sceneNode) restart(string) error {
	for _, c := range n.scene.clients {
		if c.node == n {
			c.stream = nil
		}
	}
	n.begin()
	return nil
}

func (n *sceneNode) timePasses(rest string) error {
	d, err := time.ParseDuration(rest)
	if err != nil || d <= 0 {
		return errUsage
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Second, time.Until(end)))
		for _, n := range n.scene.nodes {
			if !n.stepwise {
				n.ping()
			}
			n.hub.Tick()
			if !n.stepwise {
				n.settle()
			}
		}
		n.scene.beginAll()
	}
	return nil
}
