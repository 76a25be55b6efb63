package hub

import (
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub/hubtest"
)

// mover is a client that goes from node to node with the last id it has.
type mover struct {
	nodes    []*world
	covers   []string // channels, all it streams
	channels []string
	patterns []string
	node     int
	stream   *Stream
	wake     *Waiter
	last     cursor
	owed     map[string]int  // every publish beyond it is received or gapped
	gapped   map[string]bool // since then
	told     map[string]int  // up to which publish a gap stood in its place
	exact    int             // how often another node's anchor was found
	trace    *trace
}

func (m *mover) note(format string, args ...any) {
	m.trace.note(format, args...)
}

func (m *mover) open(node int) {
	m.node = node
	w := m.nodes[node]
	m.wake = NewWaiter()
	m.stream, _ = w.hub.Open(0, m.channels, m.patterns, m.wake) // there is room
	if w.redis.Up {
		w.settle()
	}
	m.stream.Begin(Start{resume: m.last != (cursor{}), cursor: m.last, readable: true}, w.hub.Clock.Now())
	if m.stream.foreign && m.stream.cursor.anchor != 0 {
		m.exact++
	}
	m.note("node %d: open %v %v with %s at %d", node, m.channels, m.patterns, placeOf(m.last), m.stream.cursor.seq)
	m.last = m.stream.cursor
}

func (m *mover) close() {
	m.nodes[m.node].hub.Close(m.stream)
	m.stream = nil
}

// look reads, and is cut after keep events.
func (m *mover) look(t *testing.T, keep int) {
	var b Batch
	m.stream.Read(&b)
	for i := range b.Items {
		if i == keep {
			m.close()
			return
		}
		m.take(t, &b.Items[i])
	}
	m.stream.Wrote(&b)
	m.last = b.end
	m.note("node %d: cursor %s", m.node, placeOf(m.last))
}

func (m *mover) take(t *testing.T, it *Item) {
	t.Helper()
	m.last = it.id
	channel := it.src.line.name
	if it.msg == nil {
		m.note("node %d: gap %s %s id %s", m.node, channel, it.lack.reason, placeOf(it.id))
		for _, c := range m.covers {
			if c == channel || it.src.line.pattern {
				m.gapped[c] = true
			}
		}
		return
	}
	channel = it.msg.home.name
	n := m.nodes[m.node].places[it.seq]
	m.note("node %d: got %s #%d id %s", m.node, channel, n, placeOf(it.id))
	for c := range m.gapped { // one node sends in the order of the publishes
		if m.gapped[c] {
			m.told[c] = max(m.told[c], n-1)
		}
	}
	next := max(m.owed[channel], m.told[channel]) + 1
	for ; next < n && m.nodes[0].published[next-1] != channel; next++ {
	}
	if next < n && !m.gapped[channel] {
		t.Fatalf("SILENT LOSS of #%d on %s\n%s", next, channel, m.trace.text())
	}
	if n > m.owed[channel] {
		m.owed[channel], m.gapped[channel] = n, false
	}
}

func (m *mover) finish(t *testing.T) {
	t.Helper()
	if m.stream == nil {
		m.open(m.node)
	}
	for m.stream != nil {
		before := m.last
		m.look(t, 1<<30)
		if m.last == before {
			break
		}
	}
	for n, channel := range m.nodes[0].published {
		for _, mine := range m.covers {
			if channel == mine && n+1 > m.owed[channel] && !m.gapped[channel] {
				t.Fatalf("SILENT LOSS of #%d on %s at the end\n%s", n+1, channel, m.trace.text())
			}
		}
	}
}

// TestMovingBetweenNodesLosesNothingSilently plays two nodes on one Redis,
// each with outages, delays and a clock error of its own, few different
// payloads, and clients that go from one to the other cut at any event. What
// comes twice is allowed there; what is missing without a gap is not.
func TestMovingBetweenNodesLosesNothingSilently(t *testing.T) {
	t.Parallel()
	var exact, moves atomic.Int64
	playAll(t, "seeds", histories(t, 3000), func(t *testing.T, seed int64) {
		e, n := nodesHistory(t, seed)
		exact.Add(int64(e))
		moves.Add(int64(n))
	})
	t.Logf("%d of %d moves resumed exactly", exact.Load(), moves.Load())
	if os.Getenv("REDIS_SSE_SEED") == "" && exact.Load() == 0 {
		t.Error("no move resumed exactly: nothing was tested of it")
	}
}

func nodesHistory(t *testing.T, seed int64) (exact, moves int) {
	r := rand.New(rand.NewSource(seed))
	trace := new(trace)
	trace.note("seed %d", seed)
	nodes := []*world{newWorld(t, roomy), newWorld(t, Limits{Messages: 4 + r.Intn(20), Bytes: 1 << 30})}
	for _, w := range nodes {
		w.doubt = r
		w.hub.Clock.offset.Add(int64(r.Intn(401) - 200)) // within half of maxRoundTrip
		w.pack(seed)
	}
	channels := []string{"a", "b"}[:1+r.Intn(2)]
	m := &mover{nodes: nodes, covers: channels, channels: channels, owed: map[string]int{}, gapped: map[string]bool{}, told: map[string]int{}, trace: trace}
	switch r.Intn(3) {
	case 0:
		m.channels, m.patterns = nil, []string{"[ab]"}
	case 1:
		m.channels, m.patterns = channels[:1], []string{"[ab]"}
	}
	kinds, pace := 1+r.Intn(4), time.Duration(1+r.Intn(1000))*time.Millisecond
	outages := r.Intn(10)
	for range 200 {
		time.Sleep(time.Duration(r.Int63n(int64(pace))))
		w := nodes[r.Intn(2)]
		switch x := r.Intn(20); {
		case x < 8:
			channel := channels[r.Intn(len(channels))]
			nodes[0].published = append(nodes[0].published, channel)
			n := len(nodes[0].published)
			m.note("%d: publish %s #%d", time.Now().UnixMilli(), channel, n)
			payload := fmt.Sprint(r.Intn(kinds))
			for _, w := range nodes {
				w.redis.Deliver(hubtest.Message{Channel: channel, Payload: payload, N: n})
			}
		case x < 11:
			w.read(1 + r.Intn(10))
		case x < 14:
			w.ping()
		case x < 16:
			w.settle()
		case x == 16 && r.Intn(10) < outages:
			if w.redis.Up {
				w.down()
			} else {
				w.redis.Up = true
			}
		case m.stream != nil:
			m.look(t, r.Intn(6))
		default: // away: it comes back to either
			if m.last == (cursor{}) {
				for _, channel := range channels {
					m.owed[channel] = len(nodes[0].published)
				}
			}
			m.open(r.Intn(2))
			if m.stream.foreign {
				moves++
			}
		}
	}
	for _, w := range nodes {
		w.redis.Up = true
		w.settle()
	}
	if m.last != (cursor{}) {
		m.finish(t)
	}
	return m.exact, moves
}

// A channel that says the same all day: the only message near a heartbeat's
// time is one that the client does not have.
func TestAnchorOfAnOldMessageFindsNoOtherOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newWorld(t, roomy), newWorld(t, roomy)
		tick := func(nodes ...*world) {
			for _, w := range nodes {
				w.redis.Deliver(hubtest.Message{Channel: "a", Payload: "tick"})
				w.ping()
				w.settle()
			}
		}
		s := a.opened(cursor{}, "a")
		b.opened(cursor{}, "a") // has its subscription
		for range 2 * anchorWindow {
			tick(a, b)
			time.Sleep(time.Minute)
		}
		a.hub.raiseLowWater(a.hub.Clock.Monotonic())
		got := read(s)
		time.Sleep(time.Second)
		tick(a, b)
		s = b.opened(got.end, "a")
		if items := sight(read(s)); len(items) == 0 {
			t.Errorf("node b sends nothing after %s of node a, which lacks the last message", got.end)
		}
	})
}

func TestBeginSaysWhereTheStreamBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newWorld(t, roomy), newWorld(t, roomy)
		s := a.opened(cursor{}, "a")
		b.opened(cursor{}, "a")
		for i := range 4 * anchorWindow {
			time.Sleep(time.Second)
			for _, w := range []*world{a, b} {
				w.redis.Deliver(hubtest.Message{Channel: "a", Payload: strconv.Itoa(i)})
				w.ping()
				w.settle()
			}
		}
		items := read(s).Items
		got := items[len(items)-1].id
		byTime, ahead := got, got
		byTime.anchor = 0
		ahead.ms += 2 * maxAhead
		for _, test := range []struct {
			node *world
			at   Start
			want Beginning
		}{
			{a, Start{}, BeginsLive},
			{a, FromStart(), BeginsAtStart},
			{a, FromLast(2), BeginsAtLast},
			{a, SinceAgo(time.Second), BeginsSince},
			{a, SinceTime(1), BeginsSince},
			{a, ResumeAt(got.String()), BeginsExactly},
			{b, ResumeAt(got.String()), BeginsByMessage},
			{b, ResumeAt(byTime.String()), BeginsByTime},
			{b, ResumeAt(ahead.String()), BeginsUnknown},
			{b, ResumeAt("nonsense"), BeginsUnknown},
		} {
			opened, err := test.node.hub.Open(0, []string{"a"}, nil, NewWaiter())
			if err != nil {
				t.Fatal(err)
			}
			if begins := opened.Begin(test.at, test.node.hub.Clock.Now()); begins != test.want {
				t.Errorf("%+v begins at %q, want %q", test.at, begins, test.want)
			}
		}
	})
}
