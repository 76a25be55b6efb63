//go:build browser && linux

package browsertest

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// private is the channel of who has the cookie.
const private = "private"

// cursorEnd ends the first event of a stream.
const cursorEnd = "data: {}\n\n"

// abroad is the origin of g.friend's pages under another host's name, which makes it another site: no cookie goes there.
func (g *gateway) abroad() string { return strings.Replace(g.friend, "127.0.0.1", "localhost", 1) }

// shared lets pages of g.friend in, but not those of g.stranger.
func shared(g *gateway) (global, site string) {
	global, site = limited(g)
	origins := "cors_origins " + g.friend + " " + g.abroad() + "\n"
	site += "log\n" +
		"redis_sse /streams/mine {cookie.reader} {\n" + origins + quick + "}\n" +
		"redis_sse /streams/news news {\n" + origins + quick + "}\n" +
		"redis_sse /streams/abroad abroad {\n" + origins + quick + "}\n" +
		"redis_sse_publish /publish/friends news {\nmax_size 64\n" + origins + "}\n" +
		"redis_sse_publish /publish/own news\n"
	return global, site
}

func TestPageOfAnotherOriginReadsStreams(t *testing.T) {
	inEachWith(t, []string{httpOne}, shared, func(t *testing.T, b browser, g *gateway) {
		answers, p := g.ask(b, g.friend, ask{Path: "/streams/mine", Init: options{"credentials": "include"}, Until: cursorEnd})
		p.wantMethods("GET")
		id := firstID(t, answers[0])
		if sent := p.visits()[0].header.Get("Cookie"); !strings.Contains(sent, cookie) {
			t.Errorf("the browser sent the cookies %q", sent)
		}
		for _, m := range messages(1, 2) {
			g.redis.Publish(private, m)
		}

		answers, p = g.ask(b, g.friend,
			ask{Path: "/streams/mine", Until: "data: message-2\n\n", Init: options{
				"credentials": "include", "headers": map[string]string{"Authorization": "Bearer x", "Last-Event-ID": id},
			}},
			ask{Path: "/streams/abroad", Until: cursorEnd, Init: options{
				"credentials": "include", "method": "POST", "body": "{}", "headers": map[string]string{"Content-Type": "application/json"},
			}},
			ask{Path: "/streams/mine", Init: options{"credentials": "omit"}},
		)
		p.wantMethods("OPTIONS", "GET", "OPTIONS", "POST", "GET")
		p.wantLogged(g, "OPTIONS", "/streams/mine", 204)
		if v := p.visits()[1]; v.lastEventID != id || v.header.Get("Authorization") != "Bearer x" {
			t.Errorf("the browser sent %q", v.header)
		}
		if body := answers[0].Body; !strings.Contains(body, "data: message-1\n\n") || strings.Contains(body, "event: gap") {
			t.Errorf("the page got %+v, want what came after its id", answers[0])
		}
		firstID(t, answers[1])
		if a := answers[2]; a.Status != 400 || a.Type != "cors" {
			t.Errorf("without the cookie the page got %+v, want a 400 it can read", a)
		}

		answers, p = g.ask(b, g.abroad(), ask{Path: "/streams/abroad", Until: cursorEnd, Init: options{
			"credentials": "include", "headers": map[string]string{"Authorization": "Bearer x"},
		}})
		p.wantMethods("OPTIONS", "GET")
		firstID(t, answers[0])
	})
}

func TestEventSourceOfAnotherOriginResumesExactly(t *testing.T) {
	inEachWith(t, []string{httpOne}, shared, func(_ *testing.T, b browser, g *gateway) {
		p := g.tab(b, g.friend+"/", url.Values{"site": {g.site(g.proxy.Addr())}, "channel": {"mine"}})
		p.awaitType("cursor", 1)
		g.redis.Publish(private, "message-1")
		p.awaitMessage("message-1")
		release := g.collector.hold() // cut would stop Firefox, see below
		g.proxy.Reset()
		p.awaitVisits(2)
		g.redis.Publish(private, "message-2")
		release()
		p.awaitMessage("message-2")
		p.passes(messages(1, 2), nil)
		p.cameBack(g, 2)
	})
}

// Firefox takes a connection to another origin that fails for a refusal by it. Pages have to begin anew.
func TestGatewayOutOfReachStopsFirefoxOfAnotherOrigin(t *testing.T) {
	inEachWith(t, bothProtos, shared, func(t *testing.T, b browser, g *gateway) {
		p := g.tab(b, g.friend+"/", url.Values{"site": {g.site(g.addr)}, "channel": {"news"}})
		p.awaitType("cursor", 1)
		g.process.Kill()
		p.awaitType("error", 2) // the end of the stream, and an attempt in vain
		if e := p.events(); (e[len(e)-1].State == closed) != (b.Name() == "firefox") {
			t.Errorf("the EventSource got %+v", e)
		}
		g.start()
		if b.Name() != "firefox" {
			p.awaitType("cursor", 2)
		}
	})
}

func TestPageOfAStrangerReadsNothing(t *testing.T) {
	inEachWith(t, []string{httpOne}, shared, func(t *testing.T, b browser, g *gateway) {
		answers, p := g.ask(b, g.stranger,
			ask{Path: "/streams/mine", Init: options{"credentials": "include"}, Until: cursorEnd},
			ask{Path: "/streams/mine", Init: options{"headers": map[string]string{"Last-Event-ID": "x"}}, Until: cursorEnd},
			ask{Path: "/streams/mine", Init: options{"credentials": "omit"}},
		)
		p.wantMethods("GET", "OPTIONS", "GET")
		wantNothing(t, answers)

		source := g.tab(b, g.stranger+"/", url.Values{"site": {g.site(g.proxy.Addr())}, "channel": {"mine"}})
		source.awaitType("error", 1)
		source.wantMethods("GET")
		if events := source.events(); events[len(events)-1].State != closed || count(events, "open")+count(events, "cursor") > 0 {
			t.Errorf("the EventSource got %+v", events)
		}
	})
}

// A page has to learn why it gets nothing, and for how long.
func TestRefusalCanBeRead(t *testing.T) {
	inEachWith(t, []string{httpOne}, shared, func(t *testing.T, b browser, g *gateway) {
		var asks []ask
		for _, l := range limits {
			g.rival(l.rival)
			asks = append(asks, ask{Path: "/streams/" + l.path})
		}
		for _, origin := range []string{g.site(g.addr), g.friend} {
			answers, p := g.ask(b, origin, asks...)
			p.wantMethods("GET", "GET", "GET", "GET")
			for i, status := range []int{503, 429, 503, 503} {
				g.wantRetryAfter(answers[i], status, 10, 30)
			}
			// Other origins may not read this one.
			if vary := answers[0].Headers["vary"]; origin != g.friend && !strings.Contains(vary, "Origin") {
				t.Errorf("Vary is %q", vary)
			}
		}
		answers, _ := g.ask(b, g.stranger, asks...)
		wantNothing(t, answers)
	})
}

// options are fetch's.
type options = map[string]any

// firstID checks that a page of another origin got a stream, and returns the id of its first event.
func firstID(t *testing.T, a answer) string {
	t.Helper()
	_, rest, _ := strings.Cut(a.Body, "id: ")
	id, _, _ := strings.Cut(rest, "\n")
	if a.Status != 200 || a.Type != "cors" || !strings.HasSuffix(a.Body, cursorEnd) || id == "" {
		t.Fatalf("the page got %+v, want a stream", a)
	}
	return id
}

// wantNothing checks that each fetch failed.
func wantNothing(t *testing.T, answers []answer) {
	t.Helper()
	if slices.ContainsFunc(answers, func(a answer) bool { return a.Error == "" }) {
		t.Errorf("the page got %+v", answers)
	}
}
