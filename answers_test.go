package redissse

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// answerRoutes serve answers, one a channel or several: /<how they end>/<channel>.
const answerRoutes = `
	redis_sse /data/* {http.request.uri.path.1} {
		from start
		end data [DONE] "all done"
		open_timeout 1m
		drain 0s 0s
	}
	redis_sse /event/* {http.request.uri.path.1} {
		from start
		event field type
		end event stop
		end event failed cancelled
		drain 0s 0s
	}
	redis_sse /field/* {http.request.uri.path.1} {
		from start
		end field choices.0.finish_reason
		drain 0s 0s
	}
	redis_sse /value/* {http.request.uri.path.1} {
		from start
		end field done true 1 yes
		drain 0s 0s
	}
	redis_sse /plain/* {http.request.uri.path.1} {
		from start
		drain 0s 0s
	}
	redis_sse /unfinished/* {http.request.uri.path.1} {
		from unfinished
		end data [DONE]
		empty 204
		control comments
		gap_data {gap}
		drain 0s 0s
	}
	redis_sse /asked/* {http.request.uri.path.1} {
		client_from
		end data [DONE]
		drain 0s 0s
	}
	redis_sse /cors/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		cors_origins https://app.example.com
		drain 0s 0s
	}
	redis_sse /alone/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		max_streams 1
		drain 0s 0s
	}
	redis_sse /other/* {http.request.uri.path.1} {
		hub other
		from start
		end data [DONE]
		drain 0s 0s
	}
	metrics /metrics
`

// answering is a gateway with answerRoutes that keeps all channels from its beginning, and a second hub at the same Redis, which
// is to the first what another gateway is.
type answering struct {
	*gateway
	server *redistest.Server
}

func startAnswering(t *testing.T, proto string) *answering {
	t.Helper()
	a := &answering{newGatewayOver(t, proto), redistest.Start(t)}
	a.loadAnswers(a.server.URL())
	a.wait("the patterns", func() bool { return a.server.PubSubClients() == 2 && a.server.Do("PUBSUB", "NUMPAT").(int64) == 1 })
	return a
}

func (a *answering) loadAnswers(redis string) {
	a.t.Helper()
	const hub = "redis_sse %s {\nredis %s\nkeep *\nreconnect_min 100ms\nreconnect_max 500ms\n}\n"
	a.loadConfig(fmt.Sprintf(hub+hub, "", redis, "other", redis), answerRoutes)
}

// publish has Redis take payloads one after the other, and returns when both hubs have them.
func (a *answering) publish(channel string, payloads ...string) {
	a.t.Helper()
	var before []int64
	for _, name := range []string{defaultHub, "other"} {
		h, _ := a.hubCalled(name)
		before = append(before, heldMessages(h))
	}
	for _, payload := range payloads {
		a.server.Publish(channel, payload)
	}
	for i, name := range []string{defaultHub, "other"} {
		h, _ := a.hubCalled(name)
		a.wait("the messages to be buffered", func() bool { return heldMessages(h) == before[i]+int64(len(payloads)) })
	}
}

// ended checks that a stream has ended with the message, and nothing behind it, and returns the id with which a client comes back.
func ended(t *testing.T, s *ssetest.Stream, with string) (id string) {
	t.Helper()
	awaitEnd(t, s)
	if raw := s.Raw(); !bytes.HasSuffix(raw, []byte("data: "+with+"\n\n")) || bytes.Count(raw, []byte("retry: ")) != 1 {
		t.Errorf("the stream is %q, want it to end with %q, and no retry behind its beginning", raw, with)
	}
	id = s.LastEventID()
	if p, ok := placeOf(id); !ok || !p.Ended {
		t.Errorf("the last id is %q, %v, want one of an end", id, p)
	}
	return id
}

// answersNothing checks that a request is answered with 204, and with what.
func (g *gateway) answersNothing(path, id string, opts ...ssetest.Option) http.Header {
	g.t.Helper()
	r := ssetest.Do(g.t, g.client, g.URL(path), append(opts, ssetest.WithLastEventID(id))...)
	body, err := io.ReadAll(io.LimitReader(r.Body, 1000))
	if err != nil || r.StatusCode != http.StatusNoContent || r.Header.Get("Cache-Control") != "no-store" || len(body) > 0 {
		g.t.Errorf("%s after %q: %s, %v, %q, %v, want 204", path, id, r.Status, r.Header, body, err)
	}
	return r.Header
}

// comesBackTo checks that a client that comes back with id gets exactly these messages next.
func (g *gateway) comesBackTo(path, id string, want ...string) *ssetest.Stream {
	g.t.Helper()
	s := g.opened(path, ssetest.WithLastEventID(id))
	resumeMessages(g.t, s, want...)
	return s
}

func TestAStreamEndsWithItsAnswer(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		a := startAnswering(t, proto)
		for i, test := range []struct {
			how   string
			goes  []string // each of which ends nothing
			end   string
			named string
		}{
			{"data", []string{"a", "[DONE]\n", "[done]", `"[DONE]"`, `{"data":"[DONE]"}`, ""}, "[DONE]", ""},
			{"data", []string{"a"}, "all done", ""},
			{"event", []string{`{"type":"go"}`, "stop", `{"type":["stop"]}`, `{"type":"STOP"}`, `{"a":{"type":"stop"}}`}, `{"type":"stop"}`, "stop"},
			{"event", []string{`{"type":"start"}`}, `{"type":"cancelled","a":1}`, "cancelled"},
			{"field", []string{"a", `{"choices":[]}`, `{"choices":{"0":1}}`, `{"choices":[{"finish":1}]}`, `{"choices":[{"finish_reason":1}]`, "0"}, `{"choices":[{"finish_reason":null}]}`, ""},
			{"field", []string{`[]`}, `{"choices":[{"finish_reason":{}}]}`, ""},
			{"value", []string{`{"done":false}`, `{"done":[true]}`, `{"done":null}`, `{"done":"1.0"}`, `{"done":true,"done":false}`, `{"done":"true`}, `{"done":true}`, ""},
			{"value", []string{`{"done":1.0}`}, `{"done":1}`, ""},
			{"value", []string{`{"done":"no"}`}, `{"done":"y\u0065s"}`, ""},
		} {
			t.Run(fmt.Sprint(test.how, " ", test.end), func(t *testing.T) {
				before := a.in(t).scrape()
				channel := fmt.Sprint("answer", i)
				path := "/" + test.how + "/" + channel
				live := a.in(t).opened(path)
				all := append(slices.Clone(test.goes), test.end)
				(&answering{a.in(t), a.server}).publish(channel, append(all, "behind", test.end)...)
				replayed := a.in(t).opened(path)
				for name, s := range map[string]*ssetest.Stream{"live": live, "replayed": replayed} {
					ended(t, s, test.end)
					if strings.Contains(string(s.Raw()), "behind") {
						t.Errorf("%s: %q", name, s.Raw())
					}
					for range test.goes {
						s.Next()
					}
					want := ssetest.Event{ID: s.LastEventID(), Type: test.named, Data: test.end}
					if want.Type == "" {
						want.Type = "message"
					}
					if e := s.Next(); e != want {
						t.Errorf("%s: the last event is %+q, want %+q", name, e, want)
					}
					if live.LastEventID() != s.LastEventID() {
						t.Errorf("the ids of the end are %q and %q", live.LastEventID(), s.LastEventID())
					}
				}
				const ends = `streams_total{end="finished",hub="default",route="{http.request.uri.path.1}"}`
				a.in(t).wait("the ends to be counted", func() bool { return a.in(t).scrape().since(before)[ends] == 2 })
			})
		}
	})
}

func TestWhoHasAllOfAnAnswerIsToldThatThereIsNoMore(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		a := startAnswering(t, proto)
		before := a.scrape()
		tokens := []string{"1", "2", "3", "4", "5"}
		a.publish("long", append(tokens, "[DONE]")...)
		a.publish("short", "1", "[DONE]") // its messages have no anchor
		longEnd, shortEnd := ended(t, a.open("/data/long"), "[DONE]"), ended(t, a.open("/data/short"), "[DONE]")
		if p, _ := placeOf(longEnd); p.Anchor == 0 {
			t.Errorf("the id %q has no anchor: it is not the case that was meant", longEnd)
		}
		if p, _ := placeOf(shortEnd); p.Anchor != 0 {
			t.Errorf("the id %q has an anchor: it is not the case that was meant", shortEnd)
		}
		both := func(redis string) {
			t.Helper()
			for _, path := range []string{"/data/", "/other/", "/alone/", "/unfinished/", "/asked/"} {
				a.answersNothing(path+"long", longEnd)
				a.answersNothing(path+"short", shortEnd)
			}
			a.answersNothing("/data/long?last_event_id="+longEnd, "")
			a.answersNothing("/data/long", longEnd, ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader("a question")))
			allowed := a.answersNothing("/cors/long", longEnd, ssetest.WithHeader("Origin", "https://app.example.com"))
			if got := allowed.Get("Access-Control-Allow-Origin"); got != "https://app.example.com" {
				t.Errorf("%s: another origin is allowed as %q", redis, got)
			}
			head := ssetest.Do(t, a.client, a.URL("/data/long"), ssetest.WithLastEventID(longEnd), ssetest.WithMethod(http.MethodHead))
			if head.StatusCode != http.StatusNoContent { // as GET: an EventSource does not tell why it was closed, and pages ask so
				t.Errorf("%s: HEAD is %s, %v", redis, head.Status, head.Header)
			}
		}
		both("with redis")
		added := a.scrape().since(before)
		count := 0.0
		for name, n := range added {
			if strings.HasPrefix(name, "no_content_total{") && strings.Contains(name, `cause="ended"`) {
				count += n
			}
		}
		if count != 14 {
			t.Errorf("%v are counted, want 14", count)
		}

		a.server.Freeze() // /data would wait for a minute
		both("frozen")
		a.server.Thaw()
		a.server.Kill()
		both("down")
		a.stop()
		a.loadAnswers(a.server.URL())
		both("restarted")
	})
}

// A channel may bring the next answer. Who has the end of one gets that, from either hub, whatever places its id.
func TestWhatCameBehindAnEndIsStreamed(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	a := startAnswering(t, httpOne)
	a.publish("long", "the", "first", "three") // which have no anchor
	young := time.Now()
	a.wait("the hubs to vouch for the time in which anchors are looked for", func() bool { return time.Since(young) > 6*time.Second })
	a.publish("long", "1", "2", "3", "4", "[DONE]")
	a.publish("short", "1", "[DONE]")
	long, short := ended(t, a.open("/data/long"), "[DONE]"), ended(t, a.open("/data/short"), "[DONE]")
	a.publish("long", "next 1", "next 2")
	a.publish("short", "next 1")
	a.comesBackTo("/data/long", long, "next 1", "next 2")
	a.comesBackTo("/data/short", short, "next 1")
	a.comesBackTo("/other/long", long, "next 1", "next 2")      // by the anchor
	a.comesBackTo("/other/short", short, "1", "[DONE]").Close() // by time: at least once
	// What comes while nobody looks is there, too.
	a.publish("long", "[DONE]")
	second := ended(t, a.comesBackTo("/data/long", long, "next 1", "next 2", "[DONE]"), "[DONE]")
	a.answersNothing("/data/long", second)
	a.answersNothing("/other/long", second)
	a.comesBackTo("/other/long", long, "next 1", "next 2", "[DONE]")
}

// Ids come from anybody.
func TestAnIDOfAnEndIsReadStrictly(t *testing.T) {
	a := startAnswering(t, httpOne)
	a.publish("x", "1", "2", "3", "4", "[DONE]", "next")
	end := ended(t, a.open("/data/x"), "[DONE]")
	p, _ := placeOf(end)
	p.Ended = false
	plain := p.ID()
	a.comesBackTo("/plain/x", end, "next") // where nothing ends, the id says where, and no more
	a.comesBackTo("/data/x", plain, "next")
	for _, id := range []string{end + "-e", end[1:], end[:27], "e", strings.ToLower(end), "I" + end[1:], "9" + end[1:], strings.Repeat("9", 60) + "-e"} {
		s := a.opened("/data/x", ssetest.WithLastEventID(id))
		resumeMustGap(t, s, "x", gapUnknownID)
		resumeMessages(t, s, "1", "2", "3", "4", "[DONE]")
	}
	for name, forged := range map[string]place{
		"a later place":          {MS: p.MS, Seq: p.Seq + 1<<40, Epoch: p.Epoch, Anchor: p.Anchor},
		"another life":           {MS: p.MS, Seq: p.Seq, Epoch: p.Epoch ^ 1, Anchor: p.Anchor},
		"another life, no place": {MS: p.MS, Seq: p.Seq, Epoch: p.Epoch ^ 1},
		"the first second":       {},
		"far ahead":              {MS: 1<<44 - 1, Seq: p.Seq, Epoch: 1, Anchor: 1},
	} {
		forged.Ended = true
		r := ssetest.Do(t, a.client, a.URL("/data/x"), ssetest.WithLastEventID(forged.ID()))
		if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusNoContent {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
}

// A client that is done makes room at once, and one that has all of an answer needs none.
func TestAStreamThatHasEndedTakesNoPlace(t *testing.T) {
	a := startAnswering(t, httpOne)
	a.publish("x", "[DONE]")
	for range 3 {
		ended(t, a.open("/alone/x"), "[DONE]")
		a.wait("the place to be free", func() bool { return a.hub().streams.Load() == 0 })
	}
	end := ended(t, a.open("/alone/x"), "[DONE]")
	waits := a.opened("/alone/y")
	a.answersNothing("/alone/x", end)
	a.server.Publish("y", "still there")
	resumeMessages(t, waits, "still there")
	// Who is refused has no answer either: a stream that ends properly would be one.
	refused := a.open("/alone/x")
	awaitCut(t, refused)
	if raw := string(refused.Raw()); !regexp.MustCompile(`^retry: [12][0-9]{4}\n: too many streams[^\n]*\n$`).MatchString(raw) {
		t.Errorf("who is refused gets %q", raw)
	}
	a.refusedStatus("/alone/x", http.StatusServiceUnavailable)
}

// refusedStatus checks how a client is refused that is no EventSource.
func (g *gateway) refusedStatus(path string, want int) {
	g.t.Helper()
	if r := ssetest.Do(g.t, g.client, g.URL(path), ssetest.WithHeader("Accept", "*/*")); r.StatusCode != want || r.Header.Get("Retry-After") == "" {
		g.t.Errorf("%s: %s, %v", path, r.Status, r.Header)
	}
}

// awaitCut returns when the stream has ended, which must not have been properly.
func awaitCut(t *testing.T, s *ssetest.Stream) {
	t.Helper()
	select {
	case <-s.Ended():
	case <-time.After(gatewayWait):
		t.Fatalf("the stream goes on for %v", gatewayWait)
	}
	if err := s.Err(); err == nil || err == context.Canceled {
		t.Errorf("the stream ended with %v, want it cut", err)
	}
}

// The way of the AI SDKs: a POST that the app answers, and whose answer is the stream.
func TestAnAppsAnswerBecomesAStreamThatEnds(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Events-Channel", "answer:42")
		w.WriteHeader(http.StatusNoContent)
	}))
	defer app.Close()
	server := redistest.Start(t)
	overEachProtocol(t, func(t *testing.T, proto string) {
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", `
			reverse_proxy `+strings.TrimPrefix(app.URL, "http://")+` {
				@stream header X-Events-Channel *
				handle_response @stream {
					redis_sse {rp.header.X-Events-Channel} {
						from start
						end data [DONE]
						drain 0s 0s
					}
				}
			}
		`)
		ask := []ssetest.Option{ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader(`{"prompt":"hi"}`))}
		s := g.opened("/chat", ask...)
		for _, token := range []string{"a", "b", "[DONE]"} {
			server.Publish("answer:42", token)
		}
		resumeMessages(t, s, "a", "b", "[DONE]")
		end := ended(t, s, "[DONE]")
		g.answersNothing("/chat", end, ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader(`{"prompt":"hi"}`)))
		g.answersNothing("/chat", end)
		again := g.opened("/chat", ssetest.WithMethod(http.MethodPost), ssetest.WithBody(strings.NewReader(`{"prompt":"hi"}`)))
		resumeMessages(t, again, "a", "b", "[DONE]")
		ended(t, again, "[DONE]")
		g.stop()
	})
}

// An id of another gateway may make this one look for the end that it is of, and ids come from anybody.
func TestTheSearchForAnEndIsBounded(t *testing.T) {
	f, err := hub.ParseFormat(hub.Wire{End: []hub.Match{{Field: "type", Values: []string{"finish"}}}})
	if err != nil {
		t.Fatal(err)
	}
	from := hub.ResumeAt(place{Epoch: 1, Ended: true}.ID()) // before all there is
	for _, test := range []struct {
		messages, size int
		found          bool
	}{{100, 1000, true}, {1000, 60, true}, {1000, 1000, false}, {40_000, 60, false}, {1, 10 << 20, false}} {
		h, _, _ := benchHub(t, 1)
		h.memory.Configure(roomy, nil)
		for range test.messages {
			h.memory.Receive("", "a", benchToken(test.size))
		}
		h.memory.Receive("", "a", `{"type":"finish"}`)
		if got := h.memory.Finished("a", from, &f); got != test.found {
			t.Errorf("behind %d messages of %d bytes: %v, want %v", test.messages, test.size, got, test.found)
		}
	}
}
