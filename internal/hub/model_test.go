package hub

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
	"github.com/redis-sse/caddy-redis-sse/internal/hub/hubtest"
)

// trace is what happened, line by line. The lines are made when they are asked
// for: most histories go well.
type trace []note

type note struct {
	format string
	args   []any
}

func (t *trace) note(format string, args ...any) { *t = append(*t, note{format, args}) }

func (t trace) lines() []string {
	lines := make([]string, len(t))
	for i, n := range t {
		lines[i] = fmt.Sprintf(n.format, n.args...)
	}
	return lines
}

func (t trace) text() string { return strings.Join(t.lines(), "\n") }

// world is a hub whose Redis is played by the test.
type world struct {
	t       *testing.T
	hub     *Hub
	replies *Replies
	redis   *hubtest.Redis
	log     map[string][]int // which publishes were of a channel
	sent    int
	causes  map[string]int // what may have lost something, by channel
	places  map[uint64]int // which publish took a seq
	said    []string       // the payload of each publish, from 1
	ids     []cursor       // of all that viewers got

	unpacked [2]int     // how many messages viewers got of runs, from channels and from patterns
	doubt    *rand.Rand // nil: that Redis is gone is always known at once

	published []string // of several nodes, the first has the channel of each publish
	trace     trace
	checked   bool // against the plainest reading of the rules, after each step; a history that is played again is not
}

var modelChannels, modelPatterns = []string{"a", "b", "c"}, []string{"[ab]", "*"}

var roomyBudget = Budget{Bytes: 1 << 40, Channels: 1 << 20}

func newWorld(t *testing.T, l Limits) *world {
	if l.Message == 0 {
		l.Message = 1 << 30
	}
	h := New(Bounds{Limits: l, Budget: roomyBudget}, func(int) {})
	h.Clock.known.Store(true)
	w := &world{
		t: t, hub: h, replies: &Replies{hub: h}, redis: hubtest.New(modelPatterns...),
		log: map[string][]int{}, causes: map[string]int{}, places: map[uint64]int{}, checked: true,
	}
	return w
}

func (w *world) connect() {
	w.replies = &Replies{hub: w.hub}
	w.redis.Connect()
}

// bound puts bounds in force that change makes of those that are.
func (h *Hub) bound(change func(*Bounds)) {
	b := *h.bounds.Load()
	change(&b)
	h.bounds.Store(&b)
}

func (w *world) note(format string, args ...any) {
	w.trace.note(format, args...)
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), w.trace.text())
}

// spaces are to make payloads large with. (To make them each time is most of what some histories do.)
var spaces = strings.Repeat(" ", 1<<20)

// publish has Redis deliver to whoever is subscribed at this moment.
func (w *world) publish(channel string, pad int) {
	w.say(channel, fmt.Sprint(w.sent+1)+spaces[:pad])
}

func (w *world) say(channel, payload string) {
	w.sent++
	w.log[channel] = append(w.log[channel], w.sent)
	w.said = append(w.said, payload)
	w.note("publish %s %d", channel, w.sent)
	w.redis.Deliver(hubtest.Message{Channel: channel, Payload: payload, N: w.sent})
}

// write has the writer write one command, if there is one.
func (w *world) write() bool {
	if !w.redis.Up {
		return false
	}
	kind, names := w.replies.Next()
	if len(names) == 0 {
		return false
	}
	denied := w.redis.Execute(kind, names)
	for _, name := range names {
		w.note("write %s %s refused %v", kind, name, denied)
		if denied || strings.Contains(kind, "un") {
			w.causeOf(name)
		}
	}
	return true
}

// ping has the answer to a PING lie on the wire.
func (w *world) ping() {
	if w.redis.Up {
		w.redis.Wire = append(w.redis.Wire, hubtest.Pong(w.replies.Ping()))
	}
}

// read has the reader read n replies.
func (w *world) read(n int) {
	for ; n > 0; n-- {
		var err error
		switch r := w.redis.Next().(type) {
		case nil:
			return
		case hubtest.Message:
			before := w.hub.next
			w.hub.Receive(r.Pattern, r.Channel, r.Payload)
			if w.hub.next != before {
				w.places[w.hub.next] = r.N
			}
		case hubtest.Pong:
			_, err = w.replies.Ponged(string(r))
		case hubtest.Confirmed:
			_, err = w.replies.Confirmed(r.Kind, r.Name)
		case hubtest.Denied:
			w.replies.Denied()
		}
		if err != nil {
			w.fail("reading: %v", err)
		}
	}
}

func (w *world) settle() {
	for w.write() || len(w.redis.Wire) > 0 {
		w.read(len(w.redis.Wire))
	}
}

func (w *world) down() {
	w.note("down")
	w.redis.Up = false
	w.hub.Lost(w.complete())
	w.cause()
	w.connect()
}

// complete is where the hub takes everything for complete. It may be before
// what streams have had: a server that had stopped to be the publishers' goes
// on delivering until that is noticed.
func (w *world) complete() Mark {
	m := w.hub.Complete()
	if w.doubt != nil && w.doubt.Intn(3) == 0 {
		m.Seq -= uint64(w.doubt.Intn(8))
		m.MS -= int64(w.doubt.Intn(5000))
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
	clear(w.redis.Deny)
	time.Sleep(denialPeriod)
	w.hub.retryDenied()
}
