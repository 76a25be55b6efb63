package redissse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// disconnect has streams of the played hub end.
func (w *world) disconnect(of streamsOf, over time.Duration, want int) {
	w.t.Helper()
	if n, err := w.hub.disconnect(of, over); n != want || err != nil {
		w.t.Errorf("%d streams are disconnected, %v, want %d", n, err, want)
	}
}

func TestADisconnectSpreadsTheStreamsOfItsChannelOverItsWindow(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a", "shared"}})
		ends := endsOf(t, h)
		streams := serveMany(t, h, 100)
		other := serve(t, w.handler(t, &Handler{Channels: []string{"b", "shared"}}))
		byPattern := serve(t, w.handler(t, &Handler{Patterns: []string{"*"}}))
		w.settled()
		begin := time.Now()
		w.disconnect(streamsOf{name: "a"}, time.Minute, 100)
		early := 0
		for _, s := range streams {
			<-s.ended
			took := s.end.Sub(begin)
			if took > time.Minute {
				t.Errorf("a stream ends %v after it was asked for, want within the window", took)
			}
			if took < 30*time.Second {
				early++
			}
			judgeLastBytes(t, s.out.Bytes())
		}
		if early < 25 || early > 75 {
			t.Errorf("%d of 100 end in the first half of the window, want about half", early)
		}
		if got := ends(); got[endAsked] != 100 {
			t.Errorf("ends are %v, want 100 of %s", got, endAsked)
		}
		time.Sleep(time.Minute)
		w.disconnect(streamsOf{name: "*", pattern: true}, 0, 1)
		<-byPattern.ended
		select {
		case <-other.ended:
			t.Error("a stream of another channel has ended, too")
		default:
		}
		w.disconnect(streamsOf{}, 0, 1)
		<-other.ended
		w.disconnect(streamsOf{name: "nobody's"}, 0, 0)
	})
}

// Who comes back meanwhile has been asked by whoever says who may.
func TestADisconnectLeavesWhoComesLater(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		before := serve(t, h)
		w.settled()
		w.disconnect(streamsOf{name: "a"}, time.Minute, 1)
		time.Sleep(time.Second)
		after := serve(t, h)
		<-before.ended
		time.Sleep(time.Hour)
		w.publish("a")
		w.settled()
		if data := after.data(); len(data) != 1 {
			t.Errorf("the stream that came later has %q, want the message", data)
		}
		after.cancel()
		<-after.ended
	})
}

// A request that was let in before may have no stream yet to be signalled.
func TestADisconnectReachesAStreamThatOpensMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.redis.Up = false // the stream waits for its confirmation
		h := w.handler(t, &Handler{Channels: []string{"a"}, MaxStreamAge: caddy.Duration(time.Minute)})
		ends := endsOf(t, h)
		came := time.Now()
		w.disconnect(streamsOf{name: "a"}, time.Second, 0)
		ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{"start_time": came})
		s := tape{header: http.Header{}}
		if err := h.ServeHTTP(&s, newStreamRequest(ctx), nil); err != nil {
			t.Error(err)
		}
		if took := time.Since(came); took > defaultOpenTimeout+time.Second {
			t.Errorf("it ends after %v", took)
		}
		wantEnd(t, ends, endAsked)
	})
}

// A stream that writes does not see its signals.
func TestASlowClientCannotPutOffItsDisconnect(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, From: "start"})
		ends := endsOf(t, h)
		w.fill(h)
		s := &served{}
		s.pause = defaultStallTimeout * 9 / 10
		startServing(t, h, s)
		time.Sleep(time.Minute)
		if is := w.behind(h); is != 1 {
			t.Errorf("%d streams are behind, want this one", is)
		}
		begin := time.Now()
		w.disconnect(streamsOf{name: "a"}, defaultDisconnect, 1)
		<-s.ended
		if took := s.end.Sub(begin); took > defaultDisconnect+2*defaultStallTimeout {
			t.Errorf("it ends %v later, want within the window and two stall timeouts", took)
		}
		if got := ends(); got[endAsked] != 1 {
			t.Errorf("ends are %v", got)
		}
		if is := w.behind(h); is != 0 {
			t.Errorf("%d streams are behind, want none once it has ended", is)
		}
	})
}

// behind is how many streams of the handler the status has as behind.
func (w *world) behind(h *Handler) int64 { return countAll()[w.hub.name].routes[h.route].Behind }

// A second call is heard by a stream whose end is far off, and one that is longer changes nothing.
func TestOfSeveralDisconnectsTheSoonestCounts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a", "b"}})
		s := serve(t, h)
		w.settled()
		begin := time.Now()
		w.disconnect(streamsOf{name: "a"}, time.Hour, 1)
		synctest.Wait()
		w.disconnect(streamsOf{name: "b"}, time.Second, 1)
		synctest.Wait()
		w.disconnect(streamsOf{}, time.Hour, 1)
		<-s.ended
		if took := s.end.Sub(begin); took > time.Second {
			t.Errorf("it ends after %v", took)
		}
	})
}

func TestDisconnectsAreForgottenAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disconnects
		for i := range maxDisconnects {
			if err := d.begin(streamsOf{name: fmt.Sprint(i)}, window{time.Now(), time.Second}); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.begin(streamsOf{}, window{time.Now(), 0}); !errors.Is(err, errTooManyDisconnects) {
			t.Errorf("one more is %v", err)
		}
		if err := d.begin(streamsOf{name: "1"}, window{time.Now(), time.Hour}); err != nil {
			t.Errorf("the same again is %v", err)
		}
		time.Sleep(time.Second + disconnectLate)
		if d.forget(time.Now()); len(d.windows) != maxDisconnects {
			t.Errorf("%d are left while they are needed", len(d.windows))
		}
		time.Sleep(time.Nanosecond)
		if d.forget(time.Now()); len(d.windows) != 1 {
			t.Errorf("%d are left, want the one of an hour", len(d.windows))
		}
		time.Sleep(2 * time.Hour)
		if d.forget(time.Now()); d.windows != nil {
			t.Errorf("%d are left", len(d.windows))
		}
	})
}

func TestTheAdminAPIDisconnectsAndClientsMissNothing(t *testing.T) {
	server := redistest.Start(t)
	g := startGateway(t, server.URL(), patientHub, `
		redis_sse /s/* {path.1} {
			drain 0s 0s
		}
		redis_sse /both a b {
			drain 0s 0s
		}
	`)
	api := newAdminAPI(t)
	a, b, both := g.opened("/s/a"), g.opened("/s/b"), g.opened("/both")
	if got := api.post("/redis_sse/disconnect?channel=a&over=0s"); got != `{"streams":2,"over_seconds":0}` {
		t.Errorf("it answers %s", got)
	}
	judgeLastWords(t, a)
	judgeLastWords(t, both)
	server.Publish("a", "meanwhile")
	back := g.opened("/s/a", ssetest.WithLastEventID(a.LastEventID()))
	back.Messages(1)
	server.Publish("b", "hello")
	b.Messages(1)
	g.opened("/both")
	if got := api.post("/redis_sse/disconnect?all=1&over=0s&hub=default"); got != `{"streams":3,"over_seconds":0}` {
		t.Errorf("it answers %s", got)
	}
	awaitEnd(t, b)
	g.wait("nobody to be there", func() bool { return api.post("/redis_sse/disconnect?all=1") == `{"streams":0,"over_seconds":10}` })
	for query, want := range map[string]string{
		"":                       `400 {"error":"the query has 0 of channel, pattern, all: want one"}`,
		"?all=1&channel=a":       `400 {"error":"the query has 2 of channel, pattern, all: want one"}`,
		"?all=yes":               `400 {"error":"all is \"yes\", want 1, or leave it out"}`,
		"?channel=":              `400 {"error":"channel is empty"}`,
		"?all=1&over=2h":         `400 {"error":"over is \"2h\", want a duration from 0s to 1h, such as 10s"}`,
		"?all=1&over=-1s":        `400 {"error":"over is \"-1s\", want a duration from 0s to 1h, such as 10s"}`,
		"?all=1&over=soon":       `400 {"error":"over is \"soon\", want a duration from 0s to 1h, such as 10s"}`,
		"?all=1&hub=other":       `404 {"error":"hub is \"other\", and there is none of that name"}`,
		"?all=1&hub=":            `404 {"error":"hub is \"\", and there is none of that name"}`,
		"?all=1&all=1":           `400 {"error":"all is given 2 times, \"1\" first: want it once"}`,
		"?all=1&within=10s":      `400 {"error":"\"within\" is \"10s\", but there is no such key: there are all, channel, pattern, hub, over"}`,
		"?all=%zz":               `400 {"error":"the query cannot be read: invalid URL escape \"%zz\""}`,
		"?channel=__redis_sse:x": `400 {"error":"channel \"__redis_sse:x\": names that begin with \"__redis_sse:\" are reserved"}`,
	} {
		if got := api.ask(http.MethodPost, "/redis_sse/disconnect"+query).String(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if got := api.ask(http.MethodGet, "/redis_sse/disconnect?all=1"); got.code != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST" {
		t.Errorf("GET is %v", got)
	}
}
