package redissse

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// churnViews are the streams of the tests below, by path: channels, then patterns. What they have in common Redis sends twice
// or more often.
var churnViews = []struct {
	path               string
	channels, patterns []string
}{
	{"/a", []string{"a"}, nil},
	{"/ab", []string{"ab"}, nil},
	{"/a-star", nil, []string{"a*"}},
	{"/a-one", nil, []string{"a?"}},
	{"/all", nil, []string{"*"}},
	{"/channel-in-pattern", []string{"a"}, []string{"a*"}},
	{"/overlapping", []string{"ab", "b"}, []string{"a?", "a*"}},
	{"/everything", []string{"a", "b"}, []string{"*", "a?"}},
}

var churnChannels = []string{"a", "b", "ab", "ac", "abc"}

func churnRoutes() (routes string) {
	for _, v := range churnViews {
		routes += fmt.Sprintf("redis_sse %s {\nevent channel\nopen_timeout 20s\ndrain 0s 0s\n", v.path)
		if len(v.channels) > 0 {
			routes += "channel " + strings.Join(v.channels, " ") + "\n"
		}
		if len(v.patterns) > 0 {
			routes += "pattern " + strings.Join(v.patterns, " ") + "\n"
		}
		routes += "}\n"
	}
	return routes
}

// churn is a gateway whose streams come and go. Nothing lingers.
type churn struct {
	*gateway
	script       *script
	stay, others []*follower
}

func startChurn(t *testing.T, stay ...string) *churn {
	t.Helper()
	server := redistest.Start(t)
	c := &churn{gateway: startGateway(t, server.URL(), "linger 0s\nreconnect_min 10ms\nreconnect_max 50ms", churnRoutes())}
	c.script = startScript(t, server, churnChannels...)
	for _, v := range churnViews {
		names := slices.Concat(v.channels, v.patterns)
		for range 2 {
			c.others = append(c.others, c.script.follower(t, v.path, names...))
		}
		if slices.Contains(stay, v.path) {
			f := c.script.follower(t, v.path, names...)
			f.open(c.gateway, false)
			c.stay = append(c.stay, f)
		}
	}
	return c
}

// eager gives up what nobody needs at once, not at the next tick, until the function that it returns is called.
func (c *churn) eager() (end func()) {
	h, stop, done := c.hub(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				h.memory.Tick()
			}
		}
	}()
	return func() { close(stop); <-done }
}

// turn has one stream come or go, and judges all that has come by then.
func (c *churn) turn() {
	c.t.Helper()
	switch f := c.others[rand.IntN(len(c.others))]; {
	case f.Stream == nil:
		f.open(c.gateway, rand.IntN(3) > 0)
	default:
		f.leave()
	}
	for _, f := range c.stay {
		f.take(f.Next()) // the traffic goes on
	}
	for _, f := range slices.Concat(c.stay, c.others) {
		f.look()
	}
}

// settle has everybody back, ends the traffic and returns when all have got all.
func (c *churn) settle() {
	c.t.Helper()
	all := slices.Concat(c.stay, c.others)
	for _, f := range all {
		if f.Stream == nil {
			f.open(c.gateway, true)
		}
	}
	c.script.end()
	for _, f := range all {
		c.wait(fmt.Sprintf("all messages of %s", f.path), f.done)
	}
}

// TestStreamsOfOverlappingPatternsComeAndGo: each message comes once and in order, also to those that come back, or a gap says
// that it may not.
func TestStreamsOfOverlappingPatternsComeAndGo(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	for _, stay := range [][]string{{"/a"}, {"/a-star"}, {"/all"}, {"/a-one", "/channel-in-pattern", "/everything"}} {
		t.Run(fmt.Sprint(stay), func(t *testing.T) {
			c := startChurn(t, stay...)
			c.run(func(int) {})
			c.judgeGaps(slices.Contains(stay, "/all"))
		})
	}
}

// TestKeptPatternsComeAndGoToo, which serve channels in spot of their own subscriptions.
func TestKeptPatternsComeAndGoToo(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	c := startChurn(t, "/a", "/overlapping", "/everything")
	h, token := c.hub(), 0
	c.run(func(n int) {
		if n%5 > 0 {
			return
		}
		s := *h.settings.Load()
		s.keep = [][]string{nil, {"a*"}, {"a"}, {"*", "a?"}}[rand.IntN(4)]
		h.register(token+1, &s, h.log())
		h.unregister(token)
		token++
	})
	c.judgeGaps(true)
}

// TestConnectionsEndAmongComingsAndGoings: what is lost then is lost in one gap of each channel and pattern.
func TestConnectionsEndAmongComingsAndGoings(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	c := startChurn(t, "/a", "/overlapping", "/everything")
	c.script.outages = true
	kills := 0
	c.run(func(n int) {
		if n%50 == 25 {
			c.script.server.KillPubSub()
			kills++
		}
	})
	c.judgeStay(kills)
	c.judgeGaps(false)
}

// run has streams come and go. meddle is told before each turn which it is.
func (c *churn) run(meddle func(n int)) {
	c.t.Helper()
	const turns = 200
	end := c.eager()
	for n := range turns {
		meddle(n)
		c.turn()
	}
	end()
	c.settle()
}

// judgeStay checks that those that stayed got at most one gap of each name for each outage.
func (c *churn) judgeStay(outages int) {
	c.t.Helper()
	for _, f := range c.stay {
		of := map[string]int{}
		for _, g := range f.gaps {
			of[g.Channel+g.Pattern]++
		}
		for name, n := range of {
			if n > outages {
				c.t.Errorf("%s stayed over %d outages and got %d gaps of %q: %+v", f.path, outages, n, name, f.gaps)
			}
		}
	}
}

// judgeGaps checks why those that came and went got gaps. With covered a stream of all channels was there all the time: nothing
// of a channel was missed, and only what is kept for a pattern begins with its first stream.
func (c *churn) judgeGaps(covered bool) {
	c.t.Helper()
	for _, f := range c.others {
		for _, g := range f.gaps {
			switch {
			case g.Reason != gapNotBuffered && g.Reason != gapDisconnected:
				c.t.Errorf("%s got the gap %+v", f.path, g)
			case covered && g.Channel != "":
				c.t.Errorf("%s got the gap %+v of a channel that a pattern delivered all the time", f.path, g)
			}
		}
	}
}

// TestTheScriptSeesWhatIsWrong is the negative control of the test above.
func TestTheScriptSeesWhatIsWrong(t *testing.T) {
	// Numbers 0 to 6; the markers are 0, 3 and 6.
	book := []bool{true, false, false, true, false, false, true}
	const filler, gap = -1, -2
	for name, test := range map[string]struct {
		got  []int
		good bool
	}{
		"all":                     {[]int{0, filler, filler, 3, filler, filler, 6}, true},
		"begun in a run":          {[]int{filler, filler, 6}, true},
		"a gap in a run":          {[]int{0, filler, gap, filler, 6}, true},
		"a filler twice":          {[]int{0, filler, filler, filler, 3}, false},
		"a filler lost":           {[]int{0, filler, 3}, false},
		"a filler lost at first":  {[]int{filler, 6}, false},
		"one too many at first":   {[]int{filler, filler, filler, 6}, false},
		"a marker twice":          {[]int{3, 3}, false},
		"a marker lost":           {[]int{0, filler, filler, filler, filler, 6}, false},
		"a run again after a gap": {[]int{0, filler, filler, gap, filler, filler, 3}, false},
		"back after a gap":        {[]int{0, filler, filler, 3, gap, 3}, false},
	} {
		p, err := spot{owed: 4}, error(nil)
		for _, n := range test.got {
			switch {
			case err != nil:
			case n == filler:
				err = p.filler(book)
			case n == gap:
				p.gap()
			default:
				err = p.marker(n, book)
			}
		}
		if (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
