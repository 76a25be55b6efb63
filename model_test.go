package redissse

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// world is a hub whose Redis is played by the test: commands take effect when
// the test writes them, and replies and messages lie on the wire, in order,
// until the test has the hub read them.
type world struct {
	t      *testing.T
	hub    *hub
	gen    *generation
	up     bool
	redis  map[string]bool  // subscriptions that Redis has, by kind and name
	acl    map[string]bool  // names that Redis refuses
	wire   []any            // *redis.Subscription, arrived, pong, redis.Error
	log    map[string][]int // which publishes were of a channel
	sent   int
	causes map[string]int // what may have lost something, by channel
	places map[uint64]int // which publish took a seq
	doubt  *rand.Rand     // nil: that Redis is gone is always known at once

	published []string // of several nodes, the first has the channel of each publish
	trace     []string
}

// arrived is a message on the wire, because of which pattern, and which
// publish it was.
type arrived struct {
	pattern, channel, payload string
	n                         int
}

// pong answers a PING that was sent at a monotonic time.
type pong int64

var modelChannels, modelPatterns = []string{"a", "b", "c"}, []string{"[ab]", "*"}

var roomyBudget = budget{bytes: 1 << 40, channels: 1 << 20}

func newWorld(t *testing.T, l limits) *world {
	if l.message == 0 {
		l.message = 1 << 30
	}
	h := newHub("model", &settings{limits: l, budget: roomyBudget}, zap.NewNop())
	h.clock.known.Store(true)
	w := &world{
		t: t, hub: h, up: true, acl: map[string]bool{}, log: map[string][]int{},
		causes: map[string]int{}, places: map[uint64]int{},
	}
	w.connect()
	return w
}

func (w *world) connect() {
	w.gen, _ = newGeneration(w.t.Context(), w.hub)
	w.redis, w.wire = map[string]bool{}, nil
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace, "\n"))
}

// publish has Redis deliver to whoever is subscribed at this moment.
func (w *world) publish(channel string, pad int) {
	w.say(channel, fmt.Sprint(w.sent+1)+strings.Repeat(" ", pad))
}

func (w *world) say(channel, payload string) {
	w.sent++
	w.log[channel] = append(w.log[channel], w.sent)
	w.note("publish %s %d", channel, w.sent)
	w.deliver(arrived{channel: channel, payload: payload, n: w.sent})
}

// deliver puts a copy on the wire for each subscription, next to each other as
// Redis does.
func (w *world) deliver(d arrived) {
	if !w.up {
		return
	}
	if w.redis["subscribe "+d.channel] {
		w.wire = append(w.wire, d)
	}
	for _, p := range modelPatterns {
		if w.redis["psubscribe "+p] && glob.Match(p, d.channel) {
			d.pattern = p
			w.wire = append(w.wire, d)
		}
	}
}

// write has the writer write one command, if there is one.
func (w *world) write() bool {
	if !w.up {
		return false
	}
	c := w.hub.take()
	if c == nil {
		return false
	}
	w.gen.expect(c)
	kind, leaves := strings.CutPrefix(strings.Replace(c.kind.String(), "un", "!", 1), "!")
	if !leaves {
		kind, leaves = strings.CutPrefix(kind, "p!")
		if leaves {
			kind = "p" + kind
		}
	}
	refused := !leaves && slices.ContainsFunc(c.subs, func(s *subscription) bool { return w.acl[s.line.name] })
	if refused {
		w.wire = append(w.wire, refusedByACL("NOPERM"))
	}
	for _, sub := range c.subs {
		name := sub.line.name
		w.note("write %s %s refused %v", c.kind, name, refused)
		if leaves || refused {
			w.causeOf(name)
		}
		if !refused {
			w.redis[kind+" "+name] = !leaves
			w.wire = append(w.wire, &redis.Subscription{Kind: c.kind.String(), Channel: name})
		}
	}
	return true
}

type refusedByACL string

func (r refusedByACL) Error() string { return string(r) }
func (refusedByACL) RedisError()     {}

// read has the reader read n replies.
func (w *world) read(n int) {
	for ; n > 0 && len(w.wire) > 0; n-- {
		reply := w.wire[0]
		w.wire = w.wire[1:]
		var err error
		switch r := reply.(type) {
		case arrived:
			before := w.hub.next
			w.hub.receive(r.pattern, r.channel, r.payload)
			if w.hub.next != before {
				w.places[w.hub.next] = r.n
			}
		case pong:
			w.hub.answered(int64(r))
		case *redis.Subscription:
			err = w.gen.confirmed(r)
		case redis.Error:
			err = w.gen.refused(r)
		}
		if err != nil {
			w.fail("reading: %v", err)
		}
	}
}

func (w *world) settle() {
	for w.write() || len(w.wire) > 0 {
		w.read(len(w.wire))
	}
}

func (w *world) down() {
	w.note("down")
	w.up = false
	w.hub.lost(w.complete())
	w.cause()
	w.connect()
}

// complete is where the hub takes everything for complete. It may be before
// what streams have had: a server that had stopped to be the publishers' goes
// on delivering until that is noticed.
func (w *world) complete() mark {
	m := w.hub.complete()
	if w.doubt != nil && w.doubt.Intn(3) == 0 {
		m.seq -= uint64(w.doubt.Intn(8))
		m.ms -= int64(w.doubt.Intn(5000))
	}
	return m
}

// cause notes that something may be missing on every channel from here on.
func (w *world) cause() {
	for _, channel := range modelChannels {
		w.causes[channel]++
	}
}

// causeOf does so for a channel, or for those that a pattern covers.
func (w *world) causeOf(name string) {
	for _, channel := range modelChannels {
		if channel == name || glob.Match(name, channel) {
			w.causes[channel]++
		}
	}
}

// allow has the ACL allow everything again, and the hub hear of it.
func (w *world) allow() {
	clear(w.acl)
	time.Sleep(refusalPeriod)
	w.hub.retryRefused()
}
