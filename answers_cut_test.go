package redissse

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// cutRoutes serve answers, whose streams end before them: with the configuration, by age, by the admin API.
const cutRoutes = `
	log {
		output gateway_test
	}
	redis_sse /now/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		drain 0s 0s
	}
	redis_sse /aged/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		max_stream_age 1s
		drain 1h 0s
	}
	redis_sse /drains/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		drain 1h 0s
	}
	redis_sse /strict/* {http.request.uri.path.1} {
		from start
		end data [DONE]
		control comments
		gap_data {gap}
		drain 0s 0s
	}
`

// cutEntry matches the entry of a stream in the access log, Caddy's or that of a lean stream.
var cutEntry = regexp.MustCompile(`"msg":"handled (request|stream)".*"size":[1-9][0-9]*,"status":200`)

// cutLastWords wants a stream cut, its messages in it, and behind them a retry of its own and its last cursor. It reports
// whether that is so: over HTTP/3 a reset may be faster than what was sent before.
func cutLastWords(t *testing.T, proto string, s *ssetest.Stream, want ...string) bool {
	t.Helper()
	awaitCut(t, s)
	resumeMessages(t, s, want...)
	raw := s.Raw()
	i := max(0, bytes.LastIndex(raw, []byte("retry: ")))
	if proto == httpThree && i == 0 {
		return false
	}
	judgeLastBytes(t, raw)
	return true
}

// The SDKs of language models take a response that ends properly for all of an answer.
func TestAStreamThatIsNotFinishedIsCut(t *testing.T) {
	if proctest.Elsewhere(t) {
		return
	}
	overEachProtocol(t, func(t *testing.T, proto string) {
		server := redistest.Start(t)
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", cutRoutes)
		api := newAdminAPI(t)
		for name, test := range map[string]struct {
			path string
			cut  func()
		}{
			"reload":     {"/now/", func() { g.load(server.URL(), "", cutRoutes+"respond hello") }},
			"age":        {"/aged/", func() {}},
			"disconnect": {"/drains/", func() { api.post("/redis_sse/disconnect?all=1&over=0s") }},
			"stop":       {"/now/", g.stop},
		} {
			t.Run(name, func(t *testing.T) {
				g.load(server.URL(), "", cutRoutes)
				g := g.in(t)
				var streams []*ssetest.Stream
				for range 5 {
					streams = append(streams, g.opened(test.path+name))
				}
				server.Publish(name, "half of")
				for _, s := range streams {
					resumeMessages(t, s, "half of")
				}
				test.cut()
				said := 0
				for _, s := range streams {
					if cutLastWords(t, proto, s) {
						said++
					}
				}
				if said == 0 {
					t.Error("no stream had its last words")
				}
				if name == "stop" {
					g.load(server.URL(), "", cutRoutes)
					return
				}
				server.WaitNumSub(name, 1)
				back := g.comesBackTo("/drains/"+name, streams[0].LastEventID())
				server.Publish(name, "an answer")
				server.Publish(name, "[DONE]")
				resumeMessages(t, back, "an answer", "[DONE]")
				ended(t, back, "[DONE]")
			})
		}
		g.stop()
		log := gatewayLogs.text()
		if n := len(cutEntry.FindAllString(log, -1)); n < 20 {
			t.Errorf("the access log has %d entries of the 20 streams that were cut:\n%s", n, log)
		}
		if strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") || strings.Contains(log, `"level":"error"`) {
			t.Errorf("the log has more than accesses:\n%s", log)
		}
	})
}

// A stream whose end comes in the window has it, and is not cut.
func TestAStreamThatFinishesWhileItDrainsEndsProperly(t *testing.T) {
	overEachProtocol(t, func(t *testing.T, proto string) {
		server := redistest.Start(t)
		g := newGatewayOver(t, proto)
		g.load(server.URL(), "", cutRoutes)
		var streams []*ssetest.Stream
		for range 20 {
			streams = append(streams, g.opened("/drains/a"))
		}
		g.load(server.URL(), "", cutRoutes+"respond hello")
		server.Publish("a", "the rest")
		server.Publish("a", "[DONE]")
		for _, s := range streams {
			resumeMessages(t, s, "the rest", "[DONE]")
			ended(t, s, "[DONE]")
		}
	})
}

// With comments the last cursor is one, too: the client resumes from its last event.
func TestTheLastCursorOfAStreamThatIsCutIsAComment(t *testing.T) {
	server := redistest.Start(t)
	g := newGateway(t)
	g.load(server.URL(), "", cutRoutes)
	s := g.open("/strict/a")
	server.WaitNumSub("a", 1)
	server.Publish("a", "half of")
	resumeMessages(t, s, "half of")
	last := s.LastEventID()
	g.load(server.URL(), "", cutRoutes+"respond hello")
	awaitCut(t, s)
	if raw := s.Raw(); !wireLastComment.Match(raw) || s.LastEventID() != last {
		t.Errorf("the stream is %q", raw)
	}
}

// Nobody is cut in the first nine tenths of a reload's window: most answers end before.
func TestADrainLeavesStreamsToTheirEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, End: []Match{{Data: []string{"200"}}}})
		other := w.handler(t, &Handler{Channels: []string{"b"}, End: []Match{{Data: []string{"[DONE]"}}}})
		ends, otherEnds := endsOf(t, h), endsOf(t, other)
		finish, stay := serveMany(t, h, 50), serveMany(t, other, 200)
		w.settled()
		begin := time.Now()
		h.drain.begin()
		other.drain.begin()
		late := serve(t, other) // reaches the handler that drains
		w.settled()
		time.Sleep(defaultDrainReload*9/10 - time.Second)
		w.sent = 199
		w.publish("a")
		w.settled()
		for _, s := range finish {
			<-s.ended
			if s.cut || !bytes.HasSuffix(s.out.Bytes(), []byte("data: 200\n\n")) {
				t.Fatalf("a stream that finishes ends with %q, cut: %v", s.out.Bytes(), s.cut)
			}
		}
		if got := ends(); got[endFinished] != 50 || len(got) != 1 {
			t.Errorf("ends are %v, want 50 of %s", got, endFinished)
		}
		early := 0
		for _, s := range append(stay, late) {
			<-s.ended
			took := s.end.Sub(begin)
			if took < defaultDrainReload*9/10 || took > defaultDrainReload {
				t.Errorf("cut after %s, want it in the last tenth of %s", took, defaultDrainReload)
			}
			if took < defaultDrainReload*95/100 {
				early++
			}
			if !s.cut {
				t.Error("it ends properly without its end")
			}
			judgeLastBytes(t, s.out.Bytes())
		}
		if early < 50 || early > 150 {
			t.Errorf("%d of 201 are cut in the first half of the last tenth, want about half", early)
		}
		if got := otherEnds(); got[endReload] != 201 || len(got) != 1 {
			t.Errorf("ends are %v, want 201 of %s", got, endReload)
		}
	})
}

// An exit waits for its streams: they have its window as others have, and no more.
func TestAnExitCutsStreamsInItsWindow(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{
			Channels: []string{"a"}, End: []Match{{Data: []string{"[DONE]"}}}, Drain: &Drain{Reload: caddy.Duration(time.Hour), Exit: caddy.Duration(10 * time.Second)},
		})
		streams := serveMany(t, h, 100)
		w.settled()
		h.drain.begin()
		synctest.Wait()
		time.Sleep(time.Minute)
		begin := time.Now()
		w.hub.exit()
		early := 0
		for _, s := range streams {
			<-s.ended
			if took := s.end.Sub(begin); took > 10*time.Second {
				t.Errorf("cut after %s, want it within the window", took)
			} else if took < 5*time.Second {
				early++
			}
			if !s.cut {
				t.Error("it ends properly without its end")
			}
		}
		if early < 25 || early > 75 {
			t.Errorf("%d of 100 are cut in the first half of the window, want about half", early)
		}
	})
}

// A client that goes is not cut, and one that stalls is, as ever.
func TestWhoGoesIsNotCut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, End: []Match{{Data: []string{"[DONE]"}}}})
		gone, stalls := serve(t, h), serve(t, h)
		w.settled()
		gone.cancel()
		<-gone.ended
		if gone.cut {
			t.Error("a client that had gone is cut")
		}
		stalls.mu.Lock()
		stalls.stalled = true
		stalls.mu.Unlock()
		w.publish("a")
		w.settled()
		<-stalls.ended
		if !stalls.cut {
			t.Error("of a client that stalls the stream ends properly")
		}
	})
}

// A stream that has to end finds its end at last: that is the end, and nothing stands behind it.
func TestAnEndThatComesWithADrainIsTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, End: []Match{{Data: []string{"2"}}}, Drain: &Drain{Reload: -1}})
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		s.mu.Lock()
		s.pause = time.Second
		s.mu.Unlock()
		w.publish("a")
		w.settled() // it writes
		h.drain.begin()
		w.publish("a")
		w.publish("a")
		w.settled()
		<-s.ended
		if out := s.out.String(); s.cut || !strings.HasSuffix(out, "data: 2\n\n") || strings.Count(out, "event: cursor\n") != 1 {
			t.Errorf("cut: %v, and it ends with %q", s.cut, out)
		}
		wantEnd(t, ends, endFinished)
	})
}

// Nor does a heartbeat that is due meanwhile.
func TestNoHeartbeatStandsBehindAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, End: []Match{{Data: []string{"2"}}}, Heartbeat: caddy.Duration(time.Second)})
		s := serve(t, h)
		w.settled()
		s.mu.Lock()
		s.pause = 5 * time.Second
		s.mu.Unlock()
		w.publish("a")
		w.settled() // it writes, and a beat will be due by when it has
		w.publish("a")
		w.settled()
		<-s.ended
		if out := s.out.String(); s.cut || !strings.HasSuffix(out, "data: 2\n\n") {
			t.Errorf("cut: %v, and it ends with %q", s.cut, out)
		}
	})
}
