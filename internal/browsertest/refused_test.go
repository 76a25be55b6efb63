//go:build browser && linux

package browsertest

import (
	"bufio"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// leastRefusal is how long a client that was refused has to stay away at least.
const leastRefusal = 10 * time.Second

// limit is one way to have room for a single stream.
type limit struct {
	path    string // of the stream, below /streams/
	channel string
	rival   string // the path of another stream that takes the room
	hub     string
	route   string
	far     bool     // its page is of another origin
	gaps    []string // of a stream that was refused
}

var limits = []limit{
	{path: "total", channel: "total", rival: "total", hub: "default", route: "total"},
	{path: "client", channel: "client", rival: "client", hub: "default", route: "client"},
	{path: "far", channel: "far", rival: "far", hub: "default", route: "far", far: true},
	// The room is its channel's, which has to go.
	{path: "small/news", channel: "news", rival: "small/other", hub: "small", route: "{http.request.uri.path.2}",
		gaps: []string{"not_buffered"}},
}

// limited has a route for each of the limits.
func limited(g *gateway) (global, site string) {
	global = fmt.Sprintf("redis_sse small {\nredis %s\nreconnect_min 100ms\nbuffer {\nmax_channels 1\n}\n}", g.redis.URL())
	for _, route := range []string{
		"/streams/total total {\nmax_streams 1\n",
		"/streams/client client {\nmax_streams_per {client_ip} 1\n",
		"/streams/far far {\nmax_streams 1\n",
		"/streams/late late {\nmax_streams 1\n",
		"/streams/small/* {path.2} {\nhub small\n",
	} {
		site += "redis_sse " + route + "cors_origins " + g.friend + "\n" + quick + "}\n"
	}
	site += "redis_sse /streams/slow slow {\nmax_streams 1\n" + strings.Replace(quick, "drain 500ms", "drain 1h", 1) + "}\n"
	return global, site
}

// seat is a page whose stream takes all the room of a limit.
type seat struct {
	*page
	limit
	g      *gateway
	others float64 // refusals that were not the page's
}

func TestRefusedStreamComesBackByItself(t *testing.T) {
	inEachWith(t, []string{httpOne}, limited, func(_ *testing.T, b browser, g *gateway) {
		all := g.refuse(b)
		for _, rival := range all.rivals {
			rival.Close()
		}
		all.streamAgain()
	})
}

func TestRefusedStreamComesBackToAnotherConfiguration(t *testing.T) {
	inEachWith(t, []string{httpTwo}, limited, func(_ *testing.T, b browser, g *gateway) {
		all := g.refuse(b)
		g.reload("2") // which ends the rivals' streams, too
		all.streamAgain()
	})
}

// Streams that an earlier configuration drains take no room in the next one, and find theirs when they come back.
func TestDrainedStreamIsNotRefused(t *testing.T) {
	inEachWith(t, bothProtos, limited, func(t *testing.T, b browser, g *gateway) {
		seats := g.seats(b)
		g.rival("slow")
		g.reload("2")
		g.rival("slow") // beside the first, which drains for up to an hour
		for _, s := range seats {
			s.publish(4, 6)
		}
		for _, s := range seats {
			s.awaitType("cursor", 2)
			s.publish(7, 9)
			s.awaitMessage("message-9")
			s.passes(messages(1, 9), nil)
			s.cameBack(g, 2)
			s.neverClosed()
			if n := s.refusals(); n != 0 {
				t.Errorf("%s: refused %v times", s.path, n)
			}
		}
	})
}

// seats opens a page for each limit, and returns when each has three messages.
func (g *gateway) seats(b browser) (all []*seat) {
	g.t.Helper()
	for _, l := range limits {
		at, query := g.site(g.proxy.Addr()), url.Values{"channel": {l.path}}
		if l.far {
			query.Set("site", at)
			at = g.friend
		}
		all = append(all, &seat{g.tab(b, at+"/", query), l, g, 0})
	}
	for _, s := range all {
		s.awaitType("cursor", 1)
		s.publish(1, 3)
		s.awaitMessage("message-3")
	}
	return all
}

// refused are pages that there is no room for.
type refused struct {
	seats  []*seat
	late   *page // which has never had a stream
	rivals []*ssetest.Stream
}

// refuse has rivals take the room of each page, whose browser comes back to it in vain, and then three messages go by.
func (g *gateway) refuse(b browser) refused {
	g.t.Helper()
	rivals := []*ssetest.Stream{g.rival("late")}
	late := g.openAt(b, g.proxy.Addr(), "late")
	late.awaitRefusal(1)
	seats := g.seats(b)
	release := g.collector.hold()
	g.proxy.Reset()
	for _, s := range seats {
		s.awaitVisits(2)
		rivals = append(rivals, s.takeRoom())
	}
	release()
	for _, s := range seats {
		s.awaitRefusal(2)
		if n := s.refusals() - s.others; n < 1 {
			g.t.Errorf("%s: refused %v times", s.path, n)
		}
		s.publish(4, 6)
	}
	return refused{seats, late, rivals}
}

// streamAgain checks that all pages do.
func (r refused) streamAgain() {
	for _, s := range r.seats {
		s.g.t.Helper()
		s.streamsAgain()
	}
	r.late.awaitType("cursor", 1)
	r.seats[0].g.redis.Publish("late", "message-1")
	r.late.awaitMessage("message-1")
	r.late.passes(messages(1, 1), nil)
	r.late.neverClosed()
}

// takeRoom has a rival open its stream as soon as there is room: the gateway has to notice first that the page's is gone.
func (s *seat) takeRoom() (rival *ssetest.Stream) {
	s.g.t.Helper()
	proctest.Poll(s.g.t, s.path+" to have room", func() bool {
		rival = ssetest.Open(s.g.t, s.g.client, s.g.site(s.g.addr)+"/streams/"+s.rival)
		_, ok := rival.TryNext(proctest.Patience)
		return ok
	})
	s.others = s.refusals()
	return rival
}

// rival opens a stream that takes a page's room.
func (g *gateway) rival(path string) *ssetest.Stream {
	g.t.Helper()
	s := ssetest.Open(g.t, g.client, g.site(g.addr)+"/streams/"+path)
	s.SkipCursor()
	return s
}

// awaitRefusal returns when the page's nth stream has ended.
func (p *page) awaitRefusal(n int) {
	p.t.Helper()
	p.await("its refusal", func(events []event) bool {
		return count(events, "open") == n && events[len(events)-1].Type == "error"
	})
}

// streamsAgain checks that a page that was refused gets what is published once there is room, and what was published before
// or a gap.
func (s *seat) streamsAgain() {
	s.t.Helper()
	if len(s.gaps) > 0 {
		s.awaitType("gap", 1)
	} else {
		s.awaitMessage("message-6")
	}
	s.publish(7, 9)
	s.awaitMessage("message-9")
	s.passes(messages(1, 9), s.gaps)
	s.neverClosed()

	s.cameBack(s.g, 2+int(s.refusals()-s.others))
	for i, v := range s.visits()[1:] {
		if i > 0 && v.at.Sub(s.visits()[i].at) < leastRefusal {
			s.t.Errorf("%s: the page came back earlier than it was told to\n%s", s.path, told(s.events(), s.visits()))
		}
	}
}

func (s *seat) publish(from, to int) {
	s.t.Helper()
	for _, m := range messages(from, to) {
		s.g.redis.Publish(s.channel, m)
	}
}

// refusals is how many streams were refused for want of the page's room.
func (s *seat) refusals() float64 {
	s.t.Helper()
	return s.g.metric(fmt.Sprintf(`streams_total{end="refused",hub=%q,route=%q}`, s.hub, s.route))
}

func (p *page) neverClosed() {
	p.t.Helper()
	if slices.ContainsFunc(p.events(), func(e event) bool { return e.State == closed }) {
		p.t.Errorf("%s: the EventSource has given up\n%s", p.name, told(p.events(), p.visits()))
	}
}

// metric returns what Caddy tells of a series of this module.
func (g *gateway) metric(series string) float64 {
	g.t.Helper()
	response, err := g.client.Get("http://" + g.admin + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "caddy_redis_sse_"+series+" ")
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			g.t.Fatal(err)
		}
		return value
	}
	g.t.Fatalf("there is no metric %s", series)
	return 0
}
