package hub

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// TestRandomAnswers plays histories of a channel with one answer after the other, under a kept pattern, with outages and
// evictions. Clients begin at the start or with the unfinished answer, lose their connection after any byte, be it in
// the middle of an event that several messages share, and come back with the id that a browser would have. Each gets every
// message once and in order, up to its answer's end and nothing behind, or a gap stands where some are missing; and who begins
// with an answer hears of nothing that was before it.
func TestRandomAnswers(t *testing.T) {
	t.Parallel()
	playAll(t, "seeds", histories(t, fewerIfChecked(3000)), func(t *testing.T, seed int64) { newAnswering(t, seed).play() })
}

// The messages of an answer, each with its number.
func answerBegins(n int) string { return fmt.Sprintf(`{"type":"start","n":%d}`, n) }
func answerToken(n int) string  { return fmt.Sprintf(`{"type":"delta","delta":"<%d é\"\\>"}`, n) }
func answerEnds(n int) string   { return fmt.Sprintf(`{"type":"finish","n":%d}`, n) }

type answering struct {
	*world
	r       *rand.Rand
	format  Format
	payload []string // of all publishes, from number 1 on
	begun   bool     // an answer is in the works
	clients []*answered
}

func newAnswering(t *testing.T, seed int64) *answering {
	r := rand.New(rand.NewSource(seed))
	wire := Wire{Merge: []string{"other", "delta"}, End: []Match{{Data: []string{"[DONE]"}}, {Field: "type", Values: []string{"finish"}}}, Begin: []Match{{Field: "type", Values: []string{"start"}}}}
	if r.Intn(2) == 0 {
		wire.Control, wire.GapData = controlComments, `{"gap":{gap}}`
	}
	format, err := ParseFormat(wire)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Limits{Messages: 4 + r.Intn(40), Bytes: 1 << 30, MaxAge: 1 << 40})
	w.doubt = r
	w.note("seed %d", seed)
	w.hub.countFrom(1 << 40)
	if seed%2 == 0 {
		w.pack(seed)
	}
	if r.Intn(2) == 0 {
		w.hub.batch = 3
	}
	w.hub.Configure(*w.hub.bounds.Load(), []string{"*"})
	w.settle()
	return &answering{world: w, r: r, format: format, payload: []string{""}}
}

func (a *answering) play() {
	for range 120 {
		time.Sleep(time.Millisecond)
		switch x := a.r.Intn(20); {
		case x < 9:
			a.publishMore()
		case x < 12:
			a.read(1 + a.r.Intn(6))
		case x == 12 && a.redis.Up:
			a.down()
		case x == 12:
			a.redis.Up = true
			a.settle()
		case x == 13:
			a.clients = append(a.clients, &answered{a: a, next: -1})
		case x == 14:
			a.hub.raiseLowWater(a.hub.Clock.Monotonic())
		case len(a.clients) > 0:
			a.clients[a.r.Intn(len(a.clients))].go_on()
		}
	}
	a.redis.Up = true
	a.settle()
	for _, c := range a.clients {
		c.finish()
	}
}

func (a *answering) publishMore() {
	for range 1 + a.r.Intn(4) {
		payload := answerToken(len(a.payload))
		switch {
		case !a.begun:
			payload, a.begun = answerBegins(len(a.payload)), true
		case a.r.Intn(8) == 0:
			payload, a.begun = answerEnds(len(a.payload)), false
		}
		a.payload = append(a.payload, payload)
		a.say("a", payload)
	}
}

// answered is a client and what it was sent.
type answered struct {
	a        *answering
	stream   *Stream // nil while it is away
	wake     *Waiter
	id       string // the last that it has
	next     int    // the number of the message that it has to get; -1: it has none yet
	gapped   bool   // a gap stands before the next message
	finished bool
}

func (c *answered) open() {
	at := []Start{FromStart(), FromUnfinished(&c.a.format)}[c.a.r.Intn(2)]
	if c.id != "" {
		at = ResumeAt(c.id)
	} else {
		c.next, c.gapped = -1, false // it goes on as a new one
	}
	if at.EndsAnswer() {
		c.a.fail("a client with the end %s comes back", c.id)
	}
	c.wake = NewWaiter()
	stream, err := c.a.hub.Open(0, []string{"a"}, nil, c.wake)
	if err != nil {
		c.a.t.Fatal(err)
	}
	c.stream = stream
	if c.a.redis.Up {
		c.a.settle()
	}
	stream.ReadMore()
	stream.Begin(at.BeginningAnswers(&c.a.format), c.a.hub.Clock.Now())
	c.a.note("open with %q at %d", c.id, stream.cursor.seq)
	c.take(stream.AppendCursor(nil, &c.a.format), true)
}

func (c *answered) cut() {
	c.a.hub.Close(c.stream)
	c.stream = nil
}

// go_on has the client be sent some bytes, or come back.
func (c *answered) go_on() {
	switch {
	case c.finished:
	case c.stream == nil:
		c.open()
	default:
		c.look(c.a.r.Intn(2) == 0)
	}
}

// look has the client be sent a batch, of which it loses what is behind some byte if it is cut. It reports whether there is more.
func (c *answered) look(cut bool) bool {
	var b Batch
	defer b.Forget()
	c.stream.Read(&b)
	wire, ended := c.encode(&b)
	if cut && len(wire) > 0 {
		at := c.a.r.Intn(len(wire))
		c.a.note("cut at %d of %d", at, len(wire))
		c.cut()
		c.take(wire[:at], false)
		return false
	}
	c.take(wire, true)
	if ended != c.finished {
		c.a.fail("the stream has ended: %v, its client has all of an answer: %v", ended, c.finished)
	}
	if ended {
		c.cut()
		return false
	}
	c.stream.Wrote(&b)
	c.take(b.AppendCursor(nil, &c.a.format), true)
	return b.More
}

func (c *answered) encode(b *Batch) (wire []byte, ended bool) {
	for at := 0; at < len(b.Items); {
		var e Encoder
		n, _ := c.a.hub.EncodeRun(&e, b.Items[at:], &c.a.format)
		for more := true; more; {
			wire, more = e.Append(wire, math.MaxInt)
		}
		if at += n; e.Ends() {
			b.CutAfter(at - 1)
			return wire, true
		}
	}
	return wire, false
}

// take has the client read bytes, of which the last may not be all of an event.
func (c *answered) take(wire []byte, whole bool) {
	p := ssetest.NewParser()
	for _, e := range p.Push(wire) {
		c.event(e)
	}
	if _, last, _ := strings.Cut(string(wire), `"finish"`); c.finished && whole && (strings.Count(last, "\n") != 2) {
		c.a.fail("behind the end stands %q", last)
	}
}

func (c *answered) event(e ssetest.Event) {
	if e.ID != "" {
		c.id = e.ID
	}
	var data struct {
		Type, Delta string
		N           int
		Gap         any
	}
	if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
		c.a.fail("decoding %q: %v", e.Data, err)
	}
	switch {
	case e.Type == "cursor":
		return
	case e.Type == "gap" || data.Gap != nil:
		c.a.note("  gap %s id %s", e.Data, e.ID)
		c.gapped = true
		return
	case data.Type != "delta":
		c.message(data.N)
	default:
		for text := range strings.SplitSeq(strings.TrimPrefix(data.Delta, "<"), "<") {
			var n int
			if _, err := fmt.Sscanf(text, "%d é\"\\>", &n); err != nil {
				c.a.fail("reading %q of %q: %v", text, e.Data, err)
			}
			c.message(n)
		}
	}
	c.finished = data.Type == "finish"
	if at := ResumeAt(e.ID); at.EndsAnswer() != c.finished {
		c.a.fail("%q has the id %s", e.Data, e.ID)
	}
}

// message has the client get message n.
func (c *answered) message(n int) {
	c.a.note("  number %d", n)
	switch all := c.a.payload; {
	case n < c.next:
		c.a.fail("number %d comes twice, or late: it wants %d", n, c.next)
	case c.gapped:
	case c.next >= 0 && n != c.next:
		c.a.fail("SILENT LOSS: number %d after %d", n, c.next-1)
	case c.next < 0 && all[n] != answerBegins(n):
		c.a.fail("SILENT LOSS: number %d is the first, and no answer begins with it", n)
	}
	c.next, c.gapped = n+1, false
}

// finish has the client come to the end of what was published.
func (c *answered) finish() {
	if c.finished {
		c.checkFinished()
		return
	}
	if c.stream == nil {
		c.open()
	}
	for c.look(false) {
	}
	switch {
	case c.finished:
		c.checkFinished()
		return
	case c.next > 0 && c.next < len(c.a.payload) && !c.gapped:
		c.a.fail("SILENT LOSS: number %d never came", c.next)
	}
	c.cut()
}

// checkFinished asks for the stream again.
func (c *answered) checkFinished() {
	at := ResumeAt(c.id)
	b := c.a.hub.buffers.get("a")
	behind := b != nil && b.entries.len() > 0 && b.entries.at(b.entries.len()-1).seq > at.cursor.seq
	if got := c.a.hub.Finished("a", at, &c.a.format); !at.EndsAnswer() || got == behind {
		c.a.fail("with the id %s the client is said to have all: %v, want %v", c.id, got, !behind)
	}
}
