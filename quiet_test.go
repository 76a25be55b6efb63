package redissse

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/hub/hubtest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const (
	quietFor  = 2 * time.Minute
	quietData = `{"type":"error","errorText":"the answer has stopped"}`
)

// quietHandler serves channel a until "end", or until nothing has come for quietFor.
func (w *world) quietHandler(t *testing.T, data string) *Handler {
	t.Helper()
	return w.handler(t, &Handler{
		Channels: []string{"a"}, End: []Match{{Data: []string{"end"}}}, Quiet: &Quiet{After: caddy.Duration(quietFor), Data: data},
	})
}

// later lets time pass, and Redis and the streams do what is due then.
func (w *world) later(d time.Duration) {
	time.Sleep(d)
	w.settled()
}

// lose has the connection to Redis break.
func (w *world) lose() {
	w.redis.Up = false
	w.redis.Connect() // to nothing yet
	w.hub.memory.Lost(w.hub.memory.Complete())
}

// back has Redis be there again, and confirm.
func (w *world) back() {
	w.redis.Up = true
	w.gen, _ = newGeneration(w.t.Context(), &w.hub.subscriber)
	w.settled()
}

func hasGap(events []ssetest.Event) bool {
	return slices.ContainsFunc(events, func(e ssetest.Event) bool { return e.Type == "gap" })
}

func (s *served) isOver() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// wantQuiet checks that a stream has ended because nothing came, so long after a time.
func (s *served) wantQuiet(t *testing.T, ends func() map[endReason]int, since time.Time, after time.Duration) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(10 * after):
		s.cancel()
		<-s.ended
	}
	if took := s.end.Sub(since); took < after || took > after+5*time.Millisecond { // the clock of receipts has milliseconds
		t.Errorf("ended after %v, want %v", took, after)
	}
	wantEnd(t, ends, endQuiet)
}

func TestAnAnswerThatStopsIsEndedInTheWordsOfItsProtocol(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.quietHandler(t, quietData)
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		w.later(quietFor - time.Second)
		w.publish("a")
		w.settled()
		last := time.Now()
		w.later(quietFor - 10*time.Millisecond)
		if s.isOver() {
			t.Fatal("ended although a message came")
		}
		s.wantQuiet(t, ends, last, quietFor)
		if s.cut {
			t.Error("cut, although the client has been told")
		}
		p, events := s.parsed()
		told := events[len(events)-1]
		var message string
		for _, e := range events {
			if e.Type == "message" && e.Data == "1" {
				message = e.ID
			}
		}
		if told.Type != "message" || told.Data != quietData || strings.Count(s.out.String(), quietData) != 1 {
			t.Errorf("the last event is %+q", told)
		}
		if !strings.HasSuffix(s.out.String(), "\ndata: "+quietData+"\n\n") || !strings.Contains(s.out.String(), "\nretry: ") {
			t.Errorf("it ends with %q", s.out.String()[max(0, s.out.Len()-200):])
		}
		if a, _ := placeOf(p.LastEventID); message == "" || a.Seq == 0 {
			t.Errorf("the client comes back with %q, its message had %q", p.LastEventID, message)
		}
		if p.Retry < defaultRetry/2 || p.Retry > 3*defaultRetry/2 {
			t.Errorf("the last retry is %v", p.Retry)
		}
		if n := w.hub.held("a").streams; n != 0 {
			t.Errorf("%d streams are still counted", n)
		}
	})
}

// An SDK that tells events apart by their names takes one without for none, and the proper end for that of the answer.
func TestTheWordsAreWhatAMessageWouldBe(t *testing.T) {
	for name, test := range map[string]struct {
		event, from, data string
		kind, told        string
	}{
		"a name":      {"field type", "payload", `{"type":"error","a":1}`, "error", `{"type":"error","a":1}`},
		"an envelope": {"field event", "field data", `{"event":"error","data":{"a":1}}`, "error", `{"a":1}`},
		"the channel": {"channel", "payload", "over", "a", "over"},
		"no name":     {"field type", "field data", "over", "message", "over"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				s := serve(t, w.handler(t, &Handler{
					Channels: []string{"a"}, End: []Match{{Data: []string{"end"}}}, From: "start", Control: "comments", GapData: "none",
					Event: test.event, Data: test.from, Quiet: &Quiet{After: caddy.Duration(quietFor), Data: test.data},
				}))
				w.settled()
				w.later(quietFor + time.Second)
				<-s.ended
				_, events := s.parsed()
				if last := events[len(events)-1]; last.Type != test.kind || last.Data != test.told {
					t.Errorf("got %+q, want %s, %s", last, test.kind, test.told)
				}
			})
		})
	}
}

func TestAnAnswerThatStopsIsCutWhereThereAreNoWordsForIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.quietHandler(t, "")
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		s.wantQuiet(t, ends, time.Now(), quietFor)
		p, events := s.parsed()
		if last := events[len(events)-1]; !s.cut || last.Type != "cursor" || last.ID != p.LastEventID {
			t.Errorf("cut: %v, the last event is %+q", s.cut, last)
		}
	})
}

// TestTheWordsMayHaveLines and bytes that are not UTF-8.
func TestTheWordsMayHaveLines(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := serve(t, w.quietHandler(t, "one\ntwo\r\nthree\xff"))
		w.settled()
		w.later(quietFor + time.Second)
		<-s.ended
		if _, events := s.parsed(); events[len(events)-1].Data != "one\ntwo\nthree\uFFFD" {
			t.Errorf("got %+q", events[len(events)-1])
		}
	})
}

func TestAHeartbeatIsNoMessage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.quietHandler(t, quietData)
		h.heartbeat = quietFor / 100
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		s.wantQuiet(t, ends, time.Now(), quietFor)
		if _, events := s.parsed(); len(events) < 100 {
			t.Errorf("got %d events: the heart did not beat", len(events))
		}
	})
}

func TestAnAnswerThatEndsIsNotQuiet(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.quietHandler(t, quietData)
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		w.later(quietFor - 1)
		w.redis.Deliver(hubtest.Message{Channel: "a", Payload: "end"})
		w.settled()
		<-s.ended
		wantEnd(t, ends, endFinished)
		if strings.Contains(s.out.String(), "stopped") || s.cut {
			t.Errorf("it got %q, cut: %v", s.out.String(), s.cut)
		}
	})
}

// TestAClientThatComesBackWaitsAgain although what it gets is old.
func TestAClientThatComesBackWaitsAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.quietHandler(t, quietData)
		h.wire.from = hub.FromStart()
		keeper := serve(t, h)
		w.settled()
		w.publish("a")
		w.settled()
		w.later(quietFor + time.Second)
		<-keeper.ended
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		began := time.Now()
		if _, events := s.parsed(); len(events) != 2 || events[1].Data != "1" {
			t.Errorf("got %+q", events)
		}
		s.wantQuiet(t, ends, began, quietFor)
	})
}

func TestTimeWithoutRedisDoesNotCount(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.quietHandler(t, quietData)
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		w.later(quietFor - time.Second)
		w.lose()
		w.later(10*quietFor + quietFor/3)
		if s.isOver() {
			t.Fatal("ended while Redis was away")
		}
		w.back()
		back := time.Now()
		s.wantQuiet(t, ends, back, quietFor)
		if _, events := s.parsed(); !hasGap(events) {
			t.Error("the outage was not told")
		}
	})
}

// TestAStreamThatOpensWithoutRedisIsQuietFromItsConfirmationOn also where nothing is told of that, because of begin.
func TestAStreamThatOpensWithoutRedisIsQuietFromItsConfirmationOn(t *testing.T) {
	for name, begin := range map[string][]Match{"told": nil, "not told": {{Data: []string{"begin"}}}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.redis.Up = false
				h := w.handler(t, &Handler{
					Channels: []string{"a"}, From: "start", Begin: begin,
					End: []Match{{Data: []string{"end"}}}, Quiet: &Quiet{After: caddy.Duration(quietFor), Data: quietData},
				})
				ends := endsOf(t, h)
				s := serve(t, h)
				w.later(2*quietFor + quietFor/2)
				if s.isOver() {
					t.Fatal("ended before Redis was there")
				}
				w.redis.Up = true
				w.settled()
				there := time.Now()
				if _, events := s.parsed(); hasGap(events) != (begin == nil) {
					t.Errorf("got %+q", events)
				}
				s.wantQuiet(t, ends, there, quietFor)
			})
		})
	}
}

// TestAMessageThatIsTooLargeIsASignOfLife: somebody has published it. If it was the end, quiet ends the stream.
func TestAMessageThatIsTooLargeIsASignOfLife(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		bounds := roomy
		bounds.Limits.Message = 10
		w.hub.memory.Configure(bounds, nil)
		h := w.quietHandler(t, quietData)
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		w.later(quietFor - time.Second)
		w.publishLarge("a", 100)
		w.settled()
		gap := time.Now()
		s.wantQuiet(t, ends, gap, quietFor)
		if _, events := s.parsed(); !hasGap(events) {
			t.Errorf("got %+q, want a gap", events)
		}
	})
}

// TestAStreamThatIsAskedToEndIsNotQuiet: it ends before it has been quiet for too long.
func TestAStreamThatIsAskedToEndIsNotQuiet(t *testing.T) {
	for want, ask := range map[endReason]func(*world, *Handler){
		endAsked: func(w *world, _ *Handler) {
			if _, err := w.hub.disconnect(streamsOf{name: "a"}, 0); err != nil {
				panic(err)
			}
		},
		endReload: func(_ *world, h *Handler) { h.drain.begin() },
	} {
		t.Run(string(want), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.quietHandler(t, quietData)
				ends := endsOf(t, h)
				s := serve(t, h)
				w.settled()
				w.later(quietFor / 2)
				ask(w, h)
				w.later(defaultDrainReload)
				<-s.ended
				wantEnd(t, ends, want)
				if !s.cut || strings.Contains(s.out.String(), "stopped") {
					t.Errorf("cut: %v, it got %q", s.cut, s.out.String())
				}
				w.later(2 * quietFor) // its timer has gone, too
				wantEnd(t, ends, want)
			})
		})
	}
}

// TestAQuietStreamEndsInTheDrainOfAReload, which leaves it alone for long enough.
func TestAQuietStreamEndsInTheDrainOfAReload(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.quietHandler(t, quietData)
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		began := time.Now()
		w.later(quietFor - defaultDrainReload/2)
		h.drain.begin()
		s.wantQuiet(t, ends, began, quietFor)
	})
}

// TestAPauseOfTheProcessIsNoQuiet: what came meanwhile has yet to be read.
func TestAPauseOfTheProcessIsNoQuiet(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		stood := &w.hub.subscriber.pauses
		h := w.quietHandler(t, quietData)
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		began := time.Now()
		tick := func(n int) {
			for range n {
				stood.tick(stood.now())
				time.Sleep(tickInterval)
			}
		}
		tick(100)
		time.Sleep(quietFor - 10*time.Second) // nobody ticks
		ran := time.Now()
		for !s.isOver() {
			tick(1)
			synctest.Wait()
		}
		if n := s.end.Sub(ran); n < quietFor-30*time.Second || s.end.Sub(began) < 2*quietFor-45*time.Second {
			t.Errorf("ended %v after the pause", n)
		}
		wantEnd(t, ends, endQuiet)
	})
}

func TestWhatQuietCannotBeIsAnError(t *testing.T) {
	for want, q := range map[string]*Quiet{
		"quiet needs end":                     {After: caddy.Duration(quietFor)},
		"quiet is 1ns, want 1s to 1h":         {},
		"quiet is 999.999999ms, want":         {After: caddy.Duration(time.Second - 1)},
		"quiet is 1h0m0.000000001s, want":     {After: caddy.Duration(time.Hour + 1)},
		"nothing is replaced in it":           {After: caddy.Duration(quietFor), Data: `{"gap":{gap}}`},
		"quiet has data that is empty":        {After: caddy.Duration(quietFor), Data: " \n"},
		"quiet has data of 16385 bytes, at m": {After: caddy.Duration(quietFor), Data: strings.Repeat("x", maxQuietData+1)},
	} {
		h := &Handler{Channels: []string{"a"}, Quiet: q}
		if want != "quiet needs end" {
			h.End = []Match{{Data: []string{"end"}}}
		}
		if err := h.resolve(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
