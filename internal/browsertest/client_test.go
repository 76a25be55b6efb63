//go:build browser && linux

package browsertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// listenBy opens the page that listens by client/redis-sse.js in a tab.
func (g *gateway) listenBy(b browser, at, stream string, more ...string) *page {
	g.t.Helper()
	query := url.Values{"channel": {stream}}
	for _, key := range more {
		query.Set(key, "1")
	}
	return g.tab(b, at+"/client.html", query)
}

// openClient is listenBy for the stream that most tests are about, through the proxy, once it is open.
func (g *gateway) openClient(b browser, more ...string) *page {
	g.t.Helper()
	p := g.listenBy(b, g.site(g.proxy.Addr()), channel, more...)
	p.awaitType("fresh", 1)
	return p
}

// had checks how often the page has had what it tells by a callback.
func (p *page) had(kind string, n int) {
	p.t.Helper()
	if have := count(p.events(), kind); have != n {
		p.t.Errorf("%s: %d of %q, want %d\n%s", p.name, have, kind, n, told(p.events(), p.visits()))
	}
}

// cursors checks that of the requests for the stream only the first has none.
func (p *page) cursors(times int) {
	p.t.Helper()
	visits := p.visits()
	for i, v := range visits {
		if (v.lastEventID == "") != (i == 0) {
			p.t.Errorf("%s: request %d came with cursor %q", p.name, i+1, v.lastEventID)
		}
	}
	if len(visits) != times {
		p.t.Errorf("%s: asked for its stream %d times, want %d\n%s", p.name, len(visits), times, told(p.events(), visits))
	}
}

// data is that of all events of a type.
func (p *page) data(kind string) (all []string) {
	for _, e := range p.events() {
		if e.Type == kind {
			all = append(all, e.Data)
		}
	}
	return all
}

func TestClientResumesExactly(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.openClient(b)
		g.publish(messages(1, 5)...)
		p.awaitMessage("message-5")
		g.cut(p, func() { g.publish(messages(6, 10)...) })
		p.awaitMessage("message-10")
		g.cut(p, func() { g.publish(messages(11, 15)...) })
		p.awaitMessage("message-15")

		p.passes(messages(1, 15), nil)
		p.cursors(3)
		p.had("fresh", 1)
		p.had("failed", 0)
	})
}

func TestClientTellsGaps(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.openClient(b)
		g.publish("message-1")
		p.awaitMessage("message-1")
		g.redis.Kill()
		g.redis.Restart()
		g.redis.WaitNumSub(channel, 1)
		p.awaitType("gap", 1)
		g.publish("message-2")
		p.awaitMessage("message-2")

		p.passes(messages(1, 2), []string{"redis_disconnected"})
		p.cursors(1)
	})
}

func TestClientLosesNothingByAReload(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.openClient(b)
		publisher := g.startPublisher()
		p.awaitMessage("message-20")
		g.reload("2")
		p.awaitType("open", 2)
		published := publisher.stop()
		p.awaitMessage(published[len(published)-1])

		p.passes(published, nil)
		p.cursors(2)
		if lost := p.data("error"); !slices.Equal(lost, []string{"undefined"}) {
			t.Errorf("the page was told of %q, want of one stream that ended", lost)
		}
	})
}

// A page that keeps the cursor goes on behind the last message that it had.
func TestClientGoesOnInAPageThatIsLoadedAgain(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.openClient(b, "store")
		release := g.collector.hold()
		g.publish("message-1", "reload")
		p.awaitVisits(2)
		g.publish("message-2", "message-3")
		release()
		p.awaitMessage("message-3")

		p.passes([]string{"message-1", "reload", "message-2", "message-3"}, nil)
		p.cursors(2)
		p.had("hello", 2)
		p.had("fresh", 1)
	})
}

// One that does not keep it fetches its state.
func TestClientIsFreshInAPageThatIsLoadedAgain(t *testing.T) {
	inEach(t, []string{httpOne}, func(_ *testing.T, b browser, g *gateway) {
		p := g.openClient(b)
		g.publish("reload")
		p.awaitType("fresh", 2)
		p.had("hello", 2)
	})
}

// It has no stream while its page is in the back/forward cache. (The events are made up: the Chromium that is driven has that cache
// turned off, and Firefox keeps no page in it that has a stream.)
func TestClientGoesOnWhenItsVisitorComesBack(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.openClient(b)
		g.publish("message-1", "away")
		proctest.Poll(t, "its stream to end", func() bool { return g.metric(`streams{hub="default",route="{http.request.uri.path.1}"}`) == 0 })
		g.publish("message-2")
		close(g.collector.back)
		p.awaitMessage("message-2")

		p.passes([]string{"message-1", "away", "message-2"}, nil)
		p.cursors(2)
		p.had("fresh", 1)
		p.had("error", 0)
	})
}

// A proxy's 502 ends an EventSource for ever, and no client of ours.
func TestClientComesBackFromStatuses(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		p := g.openClient(b)
		for i, status := range []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusNotFound} {
			before := count(p.events(), "error")
			g.collector.denies.Store(int32(status))
			g.proxy.Reset()
			p.awaitType("error", before+3) // the loss, and two answers
			g.publish(messages(i+1, i+1)...)
			g.collector.denies.Store(0)
			p.awaitMessage(messages(i+1, i+1)[0])
			if told := p.data("error")[before+1]; told != strconv.Itoa(status) {
				t.Errorf("the page was told of a %s, want %d", told, status)
			}
		}
		p.passes(messages(1, 3), nil)
		p.cursors(len(p.visits()))
		p.had("fresh", 1)
	})
}

func TestClientStopsWhereItIsDenied(t *testing.T) {
	inEach(t, bothProtos, func(t *testing.T, b browser, g *gateway) {
		var stopped []*page
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusFound} {
			p := g.openClient(b)
			g.collector.denies.Store(int32(status))
			g.proxy.Reset()
			p.awaitType("denied", 1)
			g.collector.denies.Store(0)
			told := strconv.Itoa(status)
			if status == http.StatusFound {
				told = "0" // a browser tells no more of a redirect
			}
			if got := p.data("denied"); got[0] != told {
				t.Errorf("the page was told of a %s, want %s", got[0], told)
			}
			stopped = append(stopped, p)
		}
		g.outwait(b)
		for _, p := range stopped {
			p.cursors(2)
			p.had("denied", 1)
		}
	})
}

// outwait takes far longer than a client waits before it comes back: another page is opened, and comes back from a loss.
func (g *gateway) outwait(b browser) {
	g.t.Helper()
	other := g.openClient(b)
	g.cut(other, func() {})
	other.awaitType("open", 2)
}

// answers has a stream that ends with its answer.
func answers(*gateway) (global, site string) {
	return "", "redis_sse /streams/answer answer {\nend data [DONE]\n" + quick + "}\n"
}

func TestClientEndsWithTheAnswer(t *testing.T) {
	inEachWith(t, bothProtos, answers, func(_ *testing.T, b browser, g *gateway) {
		p := g.listenBy(b, g.site(g.proxy.Addr()), "answer", "store")
		p.awaitType("fresh", 1)
		for _, m := range []string{"message-1", "message-2", "[DONE]"} {
			g.redis.Publish("answer", m)
		}
		p.awaitType("end", 1)
		p.passes([]string{"message-1", "message-2", "[DONE]"}, nil)
		p.cursors(2)

		g.redis.Publish("answer", "another answer")
		g.outwait(b)
		p.cursors(2)
		p.had("end", 1)
		p.had("open", 1)
	})
}

// filtered names its events after their channels.
func filtered(*gateway) (global, site string) {
	return "", "redis_sse /streams/typed typed:a typed:b message {\nevent channel\n" + quick + "}\n"
}

func TestClientHasAHandlerForEachType(t *testing.T) {
	inEachWith(t, []string{httpOne}, filtered, func(t *testing.T, b browser, g *gateway) {
		p := g.tab(b, g.site(g.proxy.Addr())+"/client.html", url.Values{"channel": {"typed"}, "json": {"1"}, "on": {"typed:a"}})
		p.awaitType("fresh", 1)
		for _, name := range []string{"typed:a", "typed:b", "message"} {
			g.redis.Publish(name, `{"done":0.5}`)
		}
		p.awaitType("message", 1)
		for kind, name := range map[string]string{"typed:a": "typed:a", "other": "typed:b", "message": "message"} {
			var got struct {
				Payload struct{ Done float64 }
				Type    string
			}
			data := p.data(kind)
			if err := json.Unmarshal([]byte(data[0]), &got); err != nil || len(data) != 1 || got.Type != name || got.Payload.Done != 0.5 {
				t.Errorf("%s got %q (%v), want the payload of %s", kind, data, err, name)
			}
		}
	})
}

// It does so with its visitor's cookies and without a preflight.
func TestClientOfAnotherOrigin(t *testing.T) {
	inEachWith(t, []string{httpOne}, shared, func(_ *testing.T, b browser, g *gateway) {
		p := g.tab(b, g.friend+"/client.html", url.Values{"site": {g.site(g.proxy.Addr())}, "channel": {"mine"}})
		p.awaitType("fresh", 1)
		g.redis.Publish(private, "message-1")
		p.awaitMessage("message-1")
		g.cut(p, func() { g.redis.Publish(private, "message-2") }) // which ends an EventSource there in Firefox
		p.awaitMessage("message-2")
		p.passes(messages(1, 2), nil)
		p.cursors(2)
		p.wantMethods("GET", "GET")
	})
}

// errCut is how a stream breaks where a test has it break.
var errCut = errors.New("cut by the test")

// cutBody is a stream that breaks in the middle of the event that has a text, once.
type cutBody struct {
	io.ReadCloser
	before []byte
	broken *atomic.Bool
}

func (c *cutBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if at := bytes.Index(p[:n], c.before); at >= 0 && c.broken.CompareAndSwap(false, true) {
		return at + len(c.before), errCut
	}
	return n, err
}

// An event whose end has not come has not been there, although its id has.
func TestClientReadsNoHalfEvent(t *testing.T) {
	inEach(t, []string{httpOne}, func(t *testing.T, b browser, g *gateway) {
		target, err := url.Parse(g.site(g.addr))
		if err != nil {
			t.Fatal(err)
		}
		var broken atomic.Bool
		front := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
			FlushInterval: -1,
			ModifyResponse: func(r *http.Response) error {
				r.Body = &cutBody{ReadCloser: r.Body, before: []byte("data: message-2"), broken: &broken}
				return nil
			},
		})
		t.Cleanup(front.Close)
		p := g.listenBy(b, front.URL, channel)
		p.awaitType("fresh", 1)
		g.publish("message-1")
		p.awaitMessage("message-1")
		g.publish("message-2 goes on here")
		p.awaitMessage("message-2 goes on here")
		g.publish("message-3")
		p.awaitMessage("message-3")
		if !broken.Load() {
			t.Error("the stream was not cut")
		}
		p.passes([]string{"message-1", "message-2 goes on here", "message-3"}, nil)
		p.cursors(2)
		p.close()
	})
}
