package redissse

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// endsOf returns how often each reason has ended a stream of the handler since it was called.
func endsOf(t *testing.T, h *Handler) func() map[endReason]int {
	t.Helper()
	count := func() map[endReason]int {
		counts := map[endReason]int{}
		for reason, counter := range h.metrics.ends {
			counts[reason] = int(metricValue(t, counter))
		}
		return counts
	}
	before := count()
	return func() map[endReason]int {
		since := map[endReason]int{}
		for reason, n := range count() {
			if n > before[reason] {
				since[reason] = n - before[reason]
			}
		}
		return since
	}
}

func metricValue(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// wantEnd checks that exactly one stream has ended, for that reason.
func wantEnd(t *testing.T, ends func() map[endReason]int, want endReason) {
	t.Helper()
	if got := ends(); len(got) != 1 || got[want] != 1 {
		t.Errorf("ends are %v, want one of %s", got, want)
	}
}

func TestAStreamEndsInTheLastTenthOfItsAge(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, MaxStreamAge: caddy.Duration(time.Hour)})
		ends := endsOf(t, h)
		begin := time.Now()
		streams := serveMany(t, h, 100)
		w.settled()
		early := 0
		for _, s := range streams {
			<-s.ended
			age := s.end.Sub(begin)
			if age < 54*time.Minute || age > time.Hour {
				t.Errorf("ended after %s, want 54m to 1h", age)
			}
			if age < 57*time.Minute {
				early++
			}
			p, events := s.parsed()
			if last := events[len(events)-1]; last.Type != "cursor" || last.ID != p.LastEventID {
				t.Errorf("the last event is %+v, want a cursor", last)
			}
		}
		if early < 25 || early > 75 {
			t.Errorf("%d of 100 ended in the first half of the last tenth, want about half", early)
		}
		if got := ends(); got[endMaxAge] != 100 {
			t.Errorf("ends are %v, want 100 of %s", got, endMaxAge)
		}
	})
}

func TestADrainComesBeforeAnAgeThatIsFurtherOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, MaxStreamAge: caddy.Duration(time.Minute)})
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		begin := time.Now()
		h.drain.begin()
		<-s.ended
		if took := s.end.Sub(begin); took > defaultDrainReload {
			t.Errorf("ended after %s, want within %s", took, defaultDrainReload)
		}
		wantEnd(t, ends, endReload)
	})
}

func TestAnAgeThatIsNearerComesBeforeADrain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		window := &Drain{Reload: caddy.Duration(time.Hour)}
		h := w.handler(t, &Handler{Channels: []string{"a"}, MaxStreamAge: caddy.Duration(time.Second), Drain: window})
		begin := time.Now()
		streams := serveMany(t, h, 20)
		w.settled()
		h.drain.begin()
		for _, s := range streams {
			<-s.ended
			if age := s.end.Sub(begin); age > time.Second {
				t.Errorf("ended after %s, want at most its age of 1s", age)
			}
		}
	})
}

// Exit must not wait for a window that a reload has opened before.
func TestExitShortensTheDrainOfAReload(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		window := &Drain{Reload: caddy.Duration(time.Hour), Exit: caddy.Duration(time.Second)}
		h := w.handler(t, &Handler{Channels: []string{"a"}, Drain: window})
		streams := serveMany(t, h, 50)
		w.settled()
		h.drain.begin()
		time.Sleep(time.Second)
		begin := time.Now()
		w.hub.exit()
		late := serve(t, h)
		for _, s := range append(streams, late) {
			<-s.ended
			if took := s.end.Sub(begin); took > time.Second {
				t.Fatalf("ended %s after the exit began, want within its window", took)
			}
		}
	})
}

// The newest configuration's grace_period is the one that an exit keeps to.
func TestExitOfADrainingConfigurationIsWithinTheNewestGracePeriod(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		window := &Drain{Reload: caddy.Duration(time.Hour), Exit: caddy.Duration(time.Minute)}
		h := w.handler(t, &Handler{Channels: []string{"a"}, Drain: window})
		s := serve(t, h)
		w.settled()
		h.drain.begin()
		time.Sleep(time.Second)
		newest := *w.hub.settings.Load()
		newest.grace = 5 * time.Second
		w.hub.register(t, &newest, zap.NewNop())
		begin := time.Now()
		w.hub.exit()
		<-s.ended
		if took := s.end.Sub(begin); took > 4*time.Second {
			t.Errorf("ended %s after the exit began, want within 4/5 of the grace period", took)
		}
	})
}

// A configuration that has just been replaced may hear of its end only once Caddy exits.
func TestExitRightAfterAReloadIsWithinTheNewestGracePeriod(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, Drain: &Drain{Exit: caddy.Duration(time.Hour)}})
		s := serve(t, h)
		w.settled()
		newest := *w.hub.settings.Load()
		newest.grace = 5 * time.Second
		w.hub.register(t, &newest, zap.NewNop())
		begin := time.Now()
		h.drain.begun.announce(func() { h.drain.at, h.drain.reason = begin, endExit })
		<-s.ended
		if took := s.end.Sub(begin); took > 4*time.Second {
			t.Errorf("ended %s after the exit began, want within 4/5 of the grace period", took)
		}
	})
}

// One that waits for Redis while the drain begins opens in the middle of the window, and has only what is left of it.
func TestTheWindowCountsFromTheDrainsBeginning(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.redis.Up = false
		h := w.handler(t, &Handler{Channels: []string{"a"}, Drain: &Drain{Reload: caddy.Duration(3 * time.Second)}})
		streams := serveMany(t, h, 50)
		synctest.Wait()
		h.drain.begin()
		begin := time.Now()
		for _, s := range streams {
			<-s.ended
			if took := s.end.Sub(begin); took < defaultOpenTimeout || took > 3*time.Second {
				t.Errorf("ended %s after the drain began, want after its opening and within the window", took)
			}
		}
	})
}

// The other order: until its own server shuts down, a stream of the current configuration goes on (shutdown_delay).
func TestExitAloneEndsNoStream(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := serve(t, w.handler(t, &Handler{Channels: []string{"a"}}))
		w.settled()
		w.hub.exit()
		time.Sleep(time.Hour)
		w.publish("a")
		w.settled()
		if _, events := s.parsed(); events[len(events)-1].Type != "message" {
			t.Errorf("the last event is %+v, want the message", events[len(events)-1])
		}
		s.cancel()
		<-s.ended
	})
}

func TestWindowsAreWithinTheGracePeriod(t *testing.T) {
	for _, test := range []struct{ window, grace, want time.Duration }{
		{5 * time.Second, 0, 5 * time.Second},
		{5 * time.Second, 10 * time.Second, 5 * time.Second},
		{5 * time.Second, 2 * time.Second, 1600 * time.Millisecond},
		{0, 2 * time.Second, 0},
		{-1, 0, 0},
	} {
		if got := graceful(test.window, test.grace); got != test.want {
			t.Errorf("drain %s with grace_period %s takes %s, want %s", test.window, test.grace, got, test.want)
		}
	}
}

func TestADrainOfAReloadIsWithinItsGracePeriod(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		h.drain.grace = func() time.Duration { return time.Second }
		s := serve(t, h)
		w.settled()
		begin := time.Now()
		h.drain.begin()
		<-s.ended
		if took := s.end.Sub(begin); took > time.Second*4/5 {
			t.Errorf("ended %s after the drain began, want within 4/5 of the grace period", took)
		}
	})
}

// A client that takes each write just before it would count as stalled, and has much to take, must not hold up an ending.
func TestASlowClientCannotPutOffItsEnding(t *testing.T) {
	for name, publish := range map[string]func(w *world){
		"many messages": func(w *world) {
			for range 500 {
				w.publishLarge("a", 10<<10)
			}
		},
		"one large message": func(w *world) { w.publishLarge("a", 8<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.handler(t, &Handler{Channels: []string{"a"}, From: "start"})
				ends := endsOf(t, h)
				first := serve(t, h) // the channel is subscribed
				w.settled()
				publish(w)
				w.settled()
				first.cancel()
				<-first.ended

				s := &served{}
				s.pause = defaultStallTimeout * 9 / 10
				startServing(t, h, s)
				time.Sleep(time.Minute) // far from done
				begin := time.Now()
				h.drain.begin()
				<-s.ended
				if took := s.end.Sub(begin); took > defaultDrainReload+2*defaultStallTimeout {
					t.Errorf("ended %s after the drain began, want within its window and two stall timeouts", took)
				}
				if got := ends(); got[endReload] != 1 {
					t.Errorf("ends are %v, want one of %s", got, endReload)
				}
				_, events := s.parsed()
				if n := len(events); n > 400 {
					t.Errorf("all %d events arrived: nothing was put off", n)
				}
			})
		})
	}
}

// fill has the handler's channel a, with "from start", hold 5 MB for the next stream.
func (w *world) fill(h *Handler) {
	w.t.Helper()
	first := serve(w.t, h)
	w.settled()
	for range 500 {
		w.publishLarge("a", 10<<10)
	}
	w.settled()
	first.cancel()
	<-first.ended
}

// One that is only behind keeps its place: its last words are a cursor of what it has got.
func TestAClientThatIsBehindEndsProperly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}, From: "start"})
		w.fill(h)

		s := &served{}
		s.pause = time.Second // some batches go through within a stall timeout
		startServing(t, h, s)
		time.Sleep(10 * time.Second)
		h.drain.begin()
		<-s.ended
		p, events := s.parsed()
		last := events[len(events)-1]
		if len(events) > 400 || last.Type != "cursor" || last.ID != p.LastEventID || p.Retry == defaultRetry {
			t.Errorf("the last of %d events is %s %.60q with a retry of %s, want a cursor and a retry of its own",
				len(events), last.Type, last.Data, p.Retry)
		}
	})
}

func TestEndsAreCountedByTheirReason(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.handler(t, &Handler{Channels: []string{"a"}})
		ends := endsOf(t, h)
		s := serve(t, h)
		w.settled()
		if n := metricValue(t, h.metrics.streams); n != 1 {
			t.Errorf("%v open streams, want 1", n)
		}
		s.cancel()
		<-s.ended
		wantEnd(t, ends, endClient)
		if n := metricValue(t, h.metrics.streams); n != 0 {
			t.Errorf("%v open streams, want 0", n)
		}

		core, logs := observer.New(zap.WarnLevel)
		h.claim.log = zap.New(core)
		ends = endsOf(t, h)
		s = serve(t, h)
		w.settled()
		s.mu.Lock()
		s.stalled = true
		s.mu.Unlock()
		w.publish("a")
		w.settled()
		<-s.ended
		wantEnd(t, ends, endStalled)
		if told := logs.FilterMessage("clients that stall are disconnected").All(); len(told) != 1 || told[0].ContextMap()["route"] != "a" {
			t.Errorf("logged is %v, want one client that stalls", logs.All())
		}

		ends = endsOf(t, h)
		// As begin does while Caddy exits, which this process does not.
		h.drain.begun.announce(func() { h.drain.at, h.drain.reason = time.Now(), endExit })
		s = serve(t, h)
		w.settled()
		<-s.ended
		wantEnd(t, ends, endExit)
	})
}

func TestATimeoutOfTheServerLimitsTheAge(t *testing.T) {
	for _, test := range []struct{ age, timeout, want time.Duration }{
		{0, 0, 0},
		{time.Hour, 0, time.Hour},
		{0, time.Hour, 54 * time.Minute},
		{time.Minute, time.Hour, time.Minute},
		{time.Hour, time.Minute, 54 * time.Second},
		{0, 5 * time.Second, 4 * time.Second},
		{0, time.Second, 500 * time.Millisecond},
	} {
		var log bytes.Buffer
		logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}), zapcore.AddSync(&log), zap.WarnLevel))
		h := &Handler{Channels: []string{"a"}, MaxStreamAge: caddy.Duration(test.age)}
		if err := h.resolve(); err != nil {
			t.Fatal(err)
		}
		h.capAge(test.timeout, logger)
		if h.maxAge != test.want {
			t.Errorf("max_stream_age %s with a timeout of %s: %s, want %s", test.age, test.timeout, h.maxAge, test.want)
		}
		if warned := strings.Contains(log.String(), "write_timeout"); warned != (test.want != test.age) {
			t.Errorf("max_stream_age %s with a timeout of %s: the log is %q", test.age, test.timeout, log.String())
		}
	}
}

// Caddy counts its timeouts from the request's start, not from when the request has come to this handler.
func TestTheAgeCountsFromTheRequestsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{Channels: []string{"a"}, MaxStreamAge: caddy.Duration(time.Minute)}
		if err := h.resolve(); err != nil {
			t.Fatal(err)
		}
		r := reqCaddy(newStreamRequest(t.Context()), &tape{})
		began := time.Now()
		time.Sleep(20 * time.Second)
		if latest := h.latest(r).Sub(began); latest < 54*time.Second || latest > time.Minute {
			t.Errorf("ends %s after the request's start, want 54s to 1m", latest)
		}
		bare := newStreamRequest(t.Context())
		if latest := time.Until(h.latest(bare)); latest < 54*time.Second || latest > time.Minute {
			t.Errorf("ends in %s, want 54s to 1m", latest)
		}
	})
}
