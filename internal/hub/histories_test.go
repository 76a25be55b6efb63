package hub

import (
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
)

// TestRandomHistories plays histories of publishes (of few different payloads
// or of all different ones), outages, joins and leaves of channels and
// patterns with commands in flight, kept patterns that come and go, denials,
// evictions by every limit and expiry, with clients cut after any event, and
// compares what they were sent with what was published: delivered once and in
// order, or inside a gap; no gap without a cause.
//
// A history is the same each time it is played, so that a seed that fails can be
// looked at: the first thousand are played twice (with the race detector on, a
// hundred). With -v the test logs a hash over all that happened, for who changes
// the structure of the code and nothing that it does. 3,000 histories, whatever
// their seqs, have the hash 3833b50b05d56338.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	all := histories(t, 3000)
	traces := make([]trace, all.end-all.first)
	play := func(t *testing.T, seed int64, checked bool) trace {
		c := newChronicle(t, seed, false)
		c.checked = checked
		c.play()
		return c.trace
	}
	playAll(t, "seeds", all, func(t *testing.T, seed int64) { traces[seed-all.first] = play(t, seed, true) })
	again := int64(1000)
	if checking {
		again = 100 // "make test" runs this package without the race detector, too
	}
	twice := seeds{all.first, min(all.end, all.first+again)}
	playAll(t, "again", twice, func(t *testing.T, seed int64) {
		if once, again := traces[seed-all.first].text(), play(t, seed, false).text(); once != again {
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

// fewerIfChecked is a fifth of so many histories with the race detector on: "make test" runs this package without it, too.
func fewerIfChecked(standard int64) int64 {
	if checking {
		return standard / 5
	}
	return standard
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

// newChronicle makes the history of a seed. In a boundless one no bytes are counted against a limit.
func newChronicle(t *testing.T, seed int64, boundless bool) *chronicle {
	r := rand.New(rand.NewSource(seed))
	bytes := []int64{1 << 30, 70_000}[r.Intn(2)] // two of the large ones fit, and many small ones
	w := newWorld(t, Limits{Messages: 3 + r.Intn(5), Bytes: bytes, MaxAge: 40})
	w.doubt = r
	w.hub.countFrom(1 << 40)
	if seed%2 == 1 { // half of all read in steps so small that things go between two of a replay
		w.hub.batch = 3
	}
	c := &chronicle{world: w, r: r, kinds: r.Intn(3), keeps: r.Intn(2) == 0, tight: r.Intn(3) == 0}
	if c.tight = c.tight && !boundless; boundless {
		w.hub.bound(func(b *Bounds) { b.Limits.Bytes = 1 << 30 })
	}
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
		if c.checked {
			c.checkSubscriptions()
			c.checkInvariants()
		}
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
