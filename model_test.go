package redissse

import (
	"cmp"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	redis  map[string]bool // subscriptions that Redis has
	wire   []any           // *redis.Subscription, arrival, pong
	log    map[string][]string
	sent   int
	causes map[string]int // what may have lost something, by channel
	places map[uint64]int // which publish took a seq

	published []string // of several nodes, the first has the channel of each publish
	trace     []string
}

// arrival is a message on the wire, and which publish it was.
type arrival struct {
	channel, payload string
	n                int
}

// pong answers a PING that was sent at a monotonic time.
type pong int64

func newWorld(t *testing.T, l limits) *world {
	h := newHub("model", &settings{limits: l}, zap.NewNop())
	h.clock.known.Store(true)
	w := &world{t: t, hub: h, up: true, log: map[string][]string{}, causes: map[string]int{}, places: map[uint64]int{}}
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
	w.sent++
	payload := strconv.Itoa(w.sent) + strings.Repeat(" ", pad)
	w.log[channel] = append(w.log[channel], payload)
	w.note("publish %s %d", channel, w.sent)
	w.deliver(arrival{channel, payload, w.sent})
}

func (w *world) deliver(d arrival) {
	if w.up && w.redis[d.channel] {
		w.wire = append(w.wire, d)
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
	for _, sub := range c.subs {
		w.note("write %s %s", c.kind, sub.buf.channel)
		w.redis[sub.buf.channel] = c.kind == subscribeCommand
		if c.kind == unsubscribeCommand {
			w.causes[sub.buf.channel]++
		}
		w.wire = append(w.wire, &redis.Subscription{Kind: c.kind.String(), Channel: sub.buf.channel})
	}
	return true
}

// read has the reader read n replies.
func (w *world) read(n int) {
	for ; n > 0 && len(w.wire) > 0; n-- {
		reply := w.wire[0]
		w.wire = w.wire[1:]
		switch r := reply.(type) {
		case arrival:
			before := w.hub.next
			w.hub.receive(r.channel, r.payload)
			if w.hub.next != before {
				w.places[w.hub.next] = r.n
			}
		case pong:
			w.hub.answered(int64(r))
		case *redis.Subscription:
			if err := w.gen.confirmed(r); err != nil {
				w.fail("confirming: %v", err)
			}
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
	w.hub.lost()
	w.cause()
	w.connect()
}

// cause notes that something may be missing on every channel from here on.
func (w *world) cause() {
	for _, channel := range modelChannels {
		w.causes[channel]++
	}
}

var modelChannels = []string{"a", "b", "c"}

// viewer is a client with what it was sent, checked against the log as it comes.
type viewer struct {
	w        *world
	channels []string
	stream   *stream // nil while it is away
	wake     *waiter
	last     cursor
	owed     map[string]int  // index in the channel's log from which it must get everything
	next     map[string]int  // index of the next message it expects, -1: any up to owed
	gapped   map[string]bool // a gap stands before the next message
	gaps     map[string]int
	causes   map[string]int // of the world, when it first opened
}

func (w *world) view(channels []string) *viewer {
	v := &viewer{w: w, channels: channels, owed: map[string]int{}, next: map[string]int{}, gapped: map[string]bool{}, gaps: map[string]int{}, causes: map[string]int{}}
	v.open(false)
	for _, channel := range channels {
		v.owed[channel], v.next[channel] = len(w.log[channel]), -1
		v.causes[channel] = w.causes[channel]
		if !v.stream.confirmed() {
			v.causes[channel]-- // opened without waiting: a gap is due
		}
	}
	return v
}

// open joins; unless the client is in a hurry or Redis is down it waits for
// the confirmations, as the handler does.
func (v *viewer) open(hurry bool) {
	v.wake = newWaiter()
	v.stream = v.w.hub.open(v.channels, v.wake)
	if !hurry && v.w.up {
		v.w.settle()
	}
	at := start{resume: v.last != (cursor{}), cursor: v.last, readable: true}
	v.stream.begin(at, v.w.hub.clock.now())
	v.last = v.stream.cursor // the first event
	v.w.note("open %v at %d resume %v", v.channels, v.last.seq, at.resume)
}

func (v *viewer) cut() {
	v.w.hub.close(v.stream, v.wake)
	v.stream = nil
}

// look reads one batch; the client is cut after some of its events if keep
// is less than their number. It reports whether there is more.
func (v *viewer) look(keep int) bool {
	var b batch
	v.stream.read(&b)
	v.w.compare(v, &b)
	for i := range b.items {
		if i == keep {
			v.w.note("cut %v after %d of %d at %d", v.channels, i, len(b.items), v.last.seq)
			v.cut()
			return false
		}
		v.take(&b.items[i])
	}
	v.stream.wrote(&b)
	v.last = b.end // as a heartbeat would tell it
	return b.more
}

func (v *viewer) take(it *item) {
	if it.id.seq < v.last.seq {
		v.w.fail("the cursor of %v went back from %d to %d", v.channels, v.last.seq, it.id.seq)
	}
	v.last = it.id
	channel := it.src.buf.channel
	if it.msg == nil {
		v.w.note("  %v gets gap %s %s id %d", v.channels, channel, it.reason, it.id.seq)
		v.gapped[channel] = true
		v.gaps[channel]++
		if v.causes[channel] == v.w.causes[channel] {
			v.w.fail("%v got a gap on %s with no cause", v.channels, channel)
		}
		return
	}
	v.w.note("  %v gets %s %s id %d", v.channels, channel, strings.TrimSpace(it.msg.payload), it.id.seq)
	log := v.w.log[channel]
	i := slices.Index(log, it.msg.payload)
	expected := v.next[channel]
	if expected < 0 {
		expected = min(i, v.owed[channel]) // one published just before may come, too
	}
	if i < expected {
		v.w.fail("%v got %s twice or late on %s", v.channels, it.msg.payload, channel)
	}
	if i > expected && !v.gapped[channel] {
		v.w.fail("SILENT LOSS: %v got %q on %s after index %d", v.channels, it.msg.payload, channel, expected)
	}
	v.next[channel], v.gapped[channel] = i+1, false
}

// finish checks that nothing is missing at the end.
func (v *viewer) finish() {
	if v.stream == nil {
		v.open(false)
	}
	for v.look(1 << 30) {
	}
	for _, channel := range v.channels {
		got := v.next[channel]
		if got < 0 {
			got = v.owed[channel]
		}
		if got < len(v.w.log[channel]) && !v.gapped[channel] {
			v.w.fail("SILENT LOSS: %v never got index %d of %s", v.channels, got, channel)
		}
	}
	v.cut()
}

// compare checks a batch against the plainest reading of the rules: every
// item of every buffer, looked at one by one.
func (w *world) compare(v *viewer, b *batch) {
	type plain struct {
		seq     uint64
		channel string
		gap     bool
	}
	c := v.stream.cursor.seq
	var want []plain
	for _, src := range v.stream.sources {
		buf := src.buf
		if !buf.confirmed {
			continue
		}
		if c < buf.floor.seq && src.told < buf.floor.seq {
			want = append(want, plain{c, buf.channel, true})
		}
		for i := range buf.breaks.len() {
			if g := buf.breaks.at(i); g.seq > c {
				want = append(want, plain{g.seq, buf.channel, true})
			}
		}
		for i := range buf.entries.len() {
			if m := buf.entries.at(i); m.seq > c {
				want = append(want, plain{m.seq, buf.channel, false})
			}
		}
	}
	slices.SortStableFunc(want, func(x, y plain) int { return cmp.Compare(x.seq, y.seq) })
	last := map[string]plain{}
	want = slices.DeleteFunc(want, func(p plain) bool {
		again := p.gap && last[p.channel].gap
		last[p.channel] = p
		return again || p.seq > b.bound
	})
	var got []plain
	for _, it := range b.items {
		got = append(got, plain{it.seq, it.src.buf.channel, it.msg == nil})
	}
	if !slices.Equal(got, want) {
		w.fail("reading %v from %d to %d: got %v, want %v", v.channels, c, b.bound, got, want)
	}
}

// TestRandomHistories plays histories of publishes, outages, joins and leaves
// with commands in flight, evictions and expiry, with clients cut after any
// event, and compares what they were sent with what was published: delivered
// once and in order, or inside a gap; no gap without a cause.
// REDIS_SSE_HISTORIES sets how many.
func TestRandomHistories(t *testing.T) {
	for seed := range histories(t, 3000) {
		synctest.Test(t, func(t *testing.T) { history(t, int64(seed)) })
	}
}

func histories(t *testing.T, standard int) int {
	s := os.Getenv("REDIS_SSE_HISTORIES")
	if s == "" {
		return standard
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func history(t *testing.T, seed int64) {
	r := rand.New(rand.NewSource(seed))
	bytes := []int64{1 << 30, 70_000}[r.Intn(2)] // two of the large ones fit, and many small ones
	w := newWorld(t, limits{messages: 3 + r.Intn(5), bytes: bytes, maxAge: 40})
	w.note("seed %d", seed)
	channels := modelChannels
	var viewers []*viewer
	for range 80 {
		time.Sleep(time.Millisecond)
		switch x := r.Intn(20); {
		case x < 7:
			channel := channels[r.Intn(3)]
			w.publish(channel, r.Intn(2)*r.Intn(2)*30_000) // large ones make reads stop before head
			if l := w.hub.settings.Load().limits; len(w.log[channel]) > l.messages || len(w.log[channel]) > 2 && l.bytes < 1<<30 {
				w.causes[channel]++
			}
		case x < 10:
			w.read(1 + r.Intn(3))
		case x < 11:
			w.write()
		case x < 12:
			w.hub.answered(w.hub.clock.monotonic())
		case x < 14:
			k := 1 + r.Intn(2)
			picked := slices.Clone(channels)
			r.Shuffle(3, func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
			viewers = append(viewers, w.view(picked[:k]))
		case x < 17 && len(viewers) > 0:
			v := viewers[r.Intn(len(viewers))]
			if v.stream == nil {
				v.open(r.Intn(4) == 0)
			} else {
				v.look(r.Intn(8))
			}
		case x == 17:
			if w.up {
				w.down()
			} else {
				w.note("up")
				w.up = true
			}
		case x == 18:
			w.note("linger ends")
			w.hub.dropIdle(0)
			for range r.Intn(2) {
				w.write()
			}
		case x == 19:
			w.hub.aging.expire(w.hub.clock.monotonic() - w.hub.settings.Load().limits.maxAge)
			w.cause()
		}
	}
	w.up = true
	w.settle()
	for _, v := range viewers {
		v.finish()
	}
	w.weigh()
}
