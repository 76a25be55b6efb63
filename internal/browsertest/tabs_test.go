//go:build browser && linux

package browsertest

import (
	"slices"
	"testing"
)

// sureTabs is how many tabs get a stream over HTTP/1.1 in every browser: each takes one of the connections to the site.
const sureTabs = 6

// mostTabs is how many may get one. Firefox opens three connections more for pages that somebody waits for, and uses them for
// streams afterwards; how many of them, is chance.
var mostTabs = map[string]int{"chromium": 6, "firefox": 9}

func TestTabsOverHTTPOneTakeTheConnections(t *testing.T) {
	inEach(t, []string{httpOne}, func(t *testing.T, b browser, g *gateway) {
		most := mostTabs[b.Name()]
		pages := g.openTabs(b, sureTabs)
		var late []*page
		for range most - sureTabs + 1 {
			late = append(late, g.open(b))
		}
		// These rounds take far longer than a tab needs to open its stream, so none opens one later.
		for _, m := range messages(1, 30) {
			g.publish(m)
			for _, p := range pages {
				p.awaitMessage(m)
			}
		}
		streams := sureTabs
		for _, p := range late {
			streams += len(p.visits())
			t.Logf("late: %d events, %d of them hello, %d open", len(p.events()), count(p.events(), "hello"), count(p.events(), "open"))
			if n := count(p.events(), "error"); n > 0 {
				t.Errorf("%s: %d errors, want a tab that just waits", p.name, n)
			}
		}
		if streams > most {
			t.Errorf("%d streams, want at most %d", streams, most)
		}

		for _, p := range pages {
			p.passes(messages(1, 30), nil)
			p.cameBack(g, 1)
			p.close()
		}
		for _, p := range late {
			p.awaitType("cursor", 1)
		}
		g.publish("last")
		for _, p := range late {
			p.awaitMessage("last")
		}
	})
}

func TestTenTabsOverHTTPTwo(t *testing.T) {
	inEach(t, []string{httpTwo}, func(t *testing.T, b browser, g *gateway) {
		pages := g.openTabs(b, 10)
		g.publish(messages(1, 10)...)
		var conns []string
		for _, p := range pages {
			p.awaitMessage("message-10")
			p.passes(messages(1, 10), nil)
			p.cameBack(g, 1)
			conns = append(conns, p.visits()[0].conn)
		}
		slices.Sort(conns)
		if used := slices.Compact(conns); len(used) > 1 {
			t.Errorf("the streams share %d connections: %q", len(used), used)
		}
	})
}

// openTabs opens n tabs and returns when each has its stream.
func (g *gateway) openTabs(b browser, n int) (pages []*page) {
	g.t.Helper()
	for range n {
		pages = append(pages, g.open(b))
	}
	for _, p := range pages {
		p.awaitType("cursor", 1)
	}
	return pages
}
