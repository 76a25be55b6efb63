package hub

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/glob"
)

// viewer is a client with what it was sent, checked against the log as it comes.
type viewer struct {
	w                  *world
	channels, patterns []string
	covers             []string // channels, all it streams
	stream             *Stream  // nil while it is away
	wake               *Waiter
	from               startMode
	last               cursor
	owed               map[string]int  // index in the channel's log from which it must get everything
	next               map[string]int  // index of the next message it expects, -1: any up to owed
	gapped             map[string]bool // a gap stands before the next message
	gaps               map[string]int
	causes             map[string]int // of the world, when it first opened
}

func (w *world) view(channels, patterns []string, from startMode) *viewer {
	v := &viewer{
		w: w, channels: channels, patterns: patterns, from: from, owed: map[string]int{}, next: map[string]int{},
		gapped: map[string]bool{}, gaps: map[string]int{}, causes: map[string]int{},
	}
	for _, channel := range modelChannels {
		if slices.Contains(channels, channel) || slices.ContainsFunc(patterns, func(p string) bool { return glob.Match(p, channel) }) {
			v.covers = append(v.covers, channel)
		}
	}
	if !v.open(false) {
		return nil
	}
	for _, channel := range v.covers {
		v.owed[channel], v.next[channel] = len(w.log[channel]), -1
		v.causes[channel] = w.causes[channel]
		if !v.stream.live() {
			v.causes[channel]-- // opened without waiting, or denied: a gap is due
		}
		if from != startLive {
			v.causes[channel] = -1 // whatever was before may be a gap
		}
	}
	return v
}

// live reports whether all that is published now will arrive.
func (s *Stream) live() bool {
	return !slices.ContainsFunc(s.sources, func(src *source) bool { return !src.line.isLive() })
}

// open joins; unless the client is in a hurry or Redis is down it waits for
// the confirmations, as the handler does. It reports false if it was turned away.
func (v *viewer) open(hurry bool) bool {
	v.wake = NewWaiter()
	s, err := v.w.hub.Open(v.channels, v.patterns, v.wake)
	if err != nil {
		v.w.note("open %v %v: %v", v.channels, v.patterns, err)
		return false
	}
	v.stream = s
	if !hurry && v.w.redis.Up {
		v.w.settle()
	}
	at := Start{mode: v.from, resume: v.last != (cursor{}), cursor: v.last, readable: true}
	v.stream.Begin(at, v.w.hub.Clock.Now())
	v.last = v.stream.cursor // the first event
	v.w.note("open %v %v at %d resume %v", v.channels, v.patterns, v.last.seq, at.resume)
	return true
}

func (v *viewer) cut() {
	v.w.hub.Close(v.stream, v.wake)
	v.stream = nil
}

// look reads one batch; the client is cut after some of its events if keep
// is less than their number. It reports whether there is more.
func (v *viewer) look(keep int) bool {
	var b Batch
	v.stream.Read(&b)
	v.w.compare(v, &b)
	for i := range b.Items {
		if i == keep {
			v.w.note("cut %v %v after %d of %d at %d", v.channels, v.patterns, i, len(b.Items), v.last.seq)
			v.cut()
			return false
		}
		v.take(&b.Items[i])
	}
	v.stream.Wrote(&b)
	v.last = b.end // as a heartbeat would tell it
	return b.More
}

func (v *viewer) take(it *Item) {
	if it.id.seq < v.last.seq {
		v.w.fail("the cursor of %v went back from %d to %d", v.channels, v.last.seq, it.id.seq)
	}
	v.last = it.id
	if it.msg == nil {
		v.takeGap(it)
		return
	}
	channel, n := it.msg.home.name, v.w.places[it.seq]
	v.w.note("  %v %v gets %s %d id %d", v.channels, v.patterns, channel, n, it.id.seq)
	i := slices.Index(v.w.log[channel], n)
	expected := v.next[channel]
	if expected < 0 {
		expected = min(i, v.owed[channel]) // one published just before may come, too
	}
	if i < expected {
		v.w.fail("%v %v got %d twice or late on %s", v.channels, v.patterns, n, channel)
	}
	if i > expected && !v.gapped[channel] {
		v.w.fail("SILENT LOSS: %v %v got %d on %s after index %d", v.channels, v.patterns, n, channel, expected)
	}
	v.next[channel], v.gapped[channel] = i+1, false
}

func (v *viewer) takeGap(it *Item) {
	name, caused := it.src.line.name, false
	v.w.note("  %v %v gets gap %s %s id %d", v.channels, v.patterns, name, it.reason, it.id.seq)
	v.gaps[name]++
	for _, channel := range v.covers {
		if channel == name || it.src.line.pattern && glob.Match(name, channel) {
			v.gapped[channel] = true
			caused = caused || v.causes[channel] != v.w.causes[channel]
		}
	}
	if !caused {
		v.w.fail("%v %v got a gap on %s with no cause", v.channels, v.patterns, name)
	}
}

// finish checks that nothing is missing at the end.
func (v *viewer) finish() {
	if v.stream == nil && !v.open(false) {
		return
	}
	for v.look(1 << 30) {
	}
	for _, channel := range v.covers {
		got := v.next[channel]
		if got < 0 {
			got = v.owed[channel]
		}
		if got < len(v.w.log[channel]) && !v.gapped[channel] {
			v.w.fail("SILENT LOSS: %v %v never got index %d of %s", v.channels, v.patterns, got, channel)
		}
	}
	v.cut()
}

// compare checks a batch against the plainest reading of the rules: every
// item of every timeline, looked at one by one.
func (w *world) compare(v *viewer, b *Batch) {
	type plain struct {
		seq  uint64
		name string // of its source
		gap  bool
	}
	c := v.stream.cursor.seq
	var want []plain
	for _, src := range v.stream.sources {
		t := src.line
		told := t.confirmed && c < t.floor.seq && src.told < t.floor.seq
		switch {
		case told && t.pattern:
			want = append(want, plain{t.floor.seq, t.name, true})
		case told:
			want = append(want, plain{c, t.name, true})
		}
		for i := range t.breaks.len() {
			if g := t.breaks.at(i); g.seq > c {
				want = append(want, plain{g.seq, t.name, true})
			}
		}
		for i := range t.entries.len() {
			if m := t.entries.at(i); m.seq > c {
				want = append(want, plain{m.seq, t.name, false})
			}
		}
		if t.denied && src.denial != t.denials {
			want = append(want, plain{max(c, t.down), t.name, true})
		}
	}
	kind := map[bool]int{true: 1}
	slices.SortStableFunc(want, func(x, y plain) int { return cmp.Or(cmp.Compare(x.seq, y.seq), cmp.Compare(kind[x.gap], kind[y.gap])) })
	last, seq := map[string]plain{}, uint64(0)
	want = slices.DeleteFunc(want, func(p plain) bool {
		again := p.gap && last[p.name].gap || !p.gap && p.seq == seq
		if last[p.name] = p; !p.gap {
			seq = p.seq
		}
		return again || p.seq > b.bound
	})
	var got []plain
	for _, it := range b.Items {
		got = append(got, plain{it.seq, it.src.line.name, it.msg == nil})
	}
	if !slices.Equal(got, want) {
		w.fail("reading %v %v from %d to %d: got %v, want %v", v.channels, v.patterns, c, b.bound, got, want)
	}
}

// TestRandomHistories plays histories of publishes (of few different payloads
// or of all different ones), outages, joins and leaves of channels and
// patterns with commands in flight, kept patterns that come and go, denials,
// evictions by every limit and expiry, with clients cut after any event, and
// compares what they were sent with what was published: delivered once and in
// order, or inside a gap; no gap without a cause.
//
// A history is the same each time it is played, so that a seed that fails can be
// looked at: the first thousand are played twice. With -v stands a hash over all
// that happened, for who changes the structure of the code and nothing that it
// does. 3,000 histories, whatever their seqs, have the hash 3833b50b05d56338.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	all := histories(t, 3000)
	traces := make([]trace, all.end-all.first)
	play := func(t *testing.T, seed int64) trace {
		c := newChronicle(t, seed)
		c.play()
		return c.trace
	}
	playAll(t, "seeds", all, func(t *testing.T, seed int64) { traces[seed-all.first] = play(t, seed) })
	twice := seeds{all.first, min(all.end, all.first+1000)}
	playAll(t, "again", twice, func(t *testing.T, seed int64) {
		if once, again := traces[seed-all.first].text(), play(t, seed).text(); once != again {
			t.Errorf("seed %d plays differently each time; once:\n%s\nagain:\n%s", seed, once, again)
		}
	})
	if testing.Verbose() {
		logHash(t, traces)
	}
}

// longNumbers are the seqs in a trace: from where a hub counts means nothing.
var longNumbers = regexp.MustCompile(`\d{9,}`)

func logHash(t *testing.T, traces []trace) {
	t.Helper()
	sum, lines := fnv.New64a(), 0
	for _, trace := range traces {
		for _, line := range trace.lines() {
			fmt.Fprintln(sum, longNumbers.ReplaceAllString(line, "#"))
		}
		lines += len(trace)
	}
	t.Logf("%d lines, hash %x", lines, sum.Sum64())
}

// playAll plays a history of each seed, several at a time.
func playAll(t *testing.T, name string, seeds seeds, play func(t *testing.T, seed int64)) {
	t.Helper()
	const atOnce = 4
	t.Run(name, func(t *testing.T) {
		for lane := range int64(atOnce) {
			t.Run(fmt.Sprintf("%d modulo %d", lane, atOnce), func(t *testing.T) {
				t.Parallel()
				for seed := seeds.first + lane; seed < seeds.end; seed += atOnce {
					synctest.Test(t, func(t *testing.T) { play(t, seed) })
				}
			})
		}
	})
}

// seeds are those from first on and below end.
type seeds struct{ first, end int64 }

// histories are the seeds to play: REDIS_SSE_SEED alone if that is set, else
// as many as REDIS_SSE_HISTORIES says.
func histories(t *testing.T, standard int64) seeds {
	t.Helper()
	number := func(key string, standard int64) int64 {
		if os.Getenv(key) == "" {
			return standard
		}
		n, err := strconv.ParseInt(os.Getenv(key), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		return n
	}
	if only := number("REDIS_SSE_SEED", -1); only >= 0 {
		return seeds{only, only + 1}
	}
	if testing.Short() {
		standard /= 10
	}
	return seeds{0, number("REDIS_SSE_HISTORIES", standard)}
}

// countFrom has a new hub count its seqs from first on, so that two histories can
// be compared.
func (h *Hub) countFrom(first uint64) {
	h.first, h.next, h.epoch = first, first, 1
	h.head.Store(first)
}

// chronicle is one random history.
type chronicle struct {
	*world
	r       *rand.Rand
	viewers []*viewer
	kinds   int      // of payloads; 0: all differ
	tight   bool     // the budget may take something at any time
	keeps   bool     // patterns are kept now and then
	keeping []string // what the newest configuration keeps
}

func newChronicle(t *testing.T, seed int64) *chronicle {
	r := rand.New(rand.NewSource(seed))
	bytes := []int64{1 << 30, 70_000}[r.Intn(2)] // two of the large ones fit, and many small ones
	w := newWorld(t, Limits{Messages: 3 + r.Intn(5), Bytes: bytes, MaxAge: 40})
	w.doubt = r
	w.hub.countFrom(1 << 40)
	c := &chronicle{world: w, r: r, kinds: r.Intn(3), keeps: r.Intn(2) == 0, tight: r.Intn(3) == 0}
	if c.tight {
		w.hub.bound(func(b *Bounds) {
			b.Budget = Budget{Bytes: int64(2+r.Intn(4)) * 2 * bufferCost, Channels: 1 + r.Intn(3)}
		})
	}
	w.note("seed %d, kinds %d, tight %v", seed, c.kinds, c.tight)
	return c
}

func (c *chronicle) play() {
	for range 80 {
		time.Sleep(time.Millisecond)
		if c.tight {
			c.cause()
		}
		c.step(c.r.Intn(22))
		c.checkSubscriptions()
		c.checkInvariants()
	}
	c.redis.Up = true
	c.allow()
	c.settle()
	for _, v := range c.viewers {
		v.finish()
	}
	c.weigh()
}

func (c *chronicle) step(x int) {
	r := c.r
	switch {
	case x < 7:
		c.publishSome()
	case x < 10:
		c.read(1 + r.Intn(3))
	case x < 11:
		c.write()
	case x < 12:
		c.hub.raiseLowWater(c.hub.Clock.Monotonic())
	case x < 14:
		c.join()
	case x < 17 && len(c.viewers) > 0:
		v := c.viewers[r.Intn(len(c.viewers))]
		if v.stream == nil {
			v.open(r.Intn(4) == 0)
		} else {
			v.look(r.Intn(8))
		}
	case x == 17 && c.redis.Up:
		c.down()
	case x == 17:
		c.note("up")
		c.redis.Up = true
	case x == 18:
		c.note("linger ends")
		c.hub.dropIdle(0)
		for range r.Intn(2) {
			c.write()
		}
	case x == 19:
		c.note("messages expire")
		c.hub.expire(c.hub.bounds.Load().Limits.MaxAge)
		c.cause()
	case x == 20 && c.keeps:
		c.keep()
	case x == 21 && r.Intn(3) == 0:
		names := slices.Concat(modelChannels, modelPatterns)
		c.redis.Deny[names[r.Intn(len(names))]] = true
	case x == 21 && r.Intn(3) == 0:
		c.note("all is allowed")
		c.allow()
	}
}

func (c *chronicle) publishSome() {
	channel := modelChannels[c.r.Intn(3)]
	pad := c.r.Intn(2) * c.r.Intn(2) * 30_000 // large ones make reads stop before head
	if c.kinds == 0 {
		c.publish(channel, pad)
	} else {
		c.say(channel, fmt.Sprint(c.r.Intn(c.kinds))+spaces[:pad])
	}
	if l := c.hub.bounds.Load().Limits; len(c.log[channel]) > l.Messages || len(c.log[channel]) > 2 && l.Bytes < 1<<30 {
		c.causes[channel]++
	}
}

// join adds a viewer of one or two channels or patterns.
func (c *chronicle) join() {
	names := slices.Concat(modelChannels, modelPatterns)
	c.r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var channels, patterns []string
	for _, name := range names[:1+c.r.Intn(2)] {
		if slices.Contains(modelPatterns, name) {
			patterns = append(patterns, name)
		} else {
			channels = append(channels, name)
		}
	}
	if v := c.view(channels, patterns, startMode(c.r.Intn(4)/3)); v != nil {
		c.viewers = append(c.viewers, v)
	}
}

// keep loads a configuration, which takes the place of the one before. For a
// moment both are there.
func (c *chronicle) keep() {
	keep := modelPatterns[:c.r.Intn(3)]
	c.note("keep %v", keep)
	c.hub.Configure(*c.hub.bounds.Load(), slices.Compact(slices.Sorted(slices.Values(slices.Concat(c.keeping, keep)))))
	c.hub.Configure(*c.hub.bounds.Load(), slices.Sorted(slices.Values(keep)))
	c.keeping = keep
}
