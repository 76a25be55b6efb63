package redissse

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// The tests here use a hub without Caddy, of which there is only one in a process: those that must wait for real time can do so
// together.

// probed is a running hub with a stream of each of its channels.
type probed struct {
	*redisHub
	t    *testing.T
	logs *observer.ObservedLogs
}

// await polls what cannot wake the test, until it is true.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	awaitFor(t, what, gatewayWait, done)
}

func awaitFor(t *testing.T, what string, most time.Duration, done func() bool) {
	t.Helper()
	for end := time.Now().Add(most); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waiting for %s: not after %v", what, most)
		}
	}
}

// startProbed starts a hub that reconnects quickly. It returns when Redis has confirmed the channels.
func startProbed(t *testing.T, url string, every time.Duration, channels ...string) *probed {
	t.Helper()
	s, err := (&Hub{
		Redis: url, ProbeInterval: caddy.Duration(every),
		ReconnectMin: caddy.Duration(10 * time.Millisecond), ReconnectMax: caddy.Duration(100 * time.Millisecond),
	}).resolve()
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	h := &probed{newHub(t.Name()+nonce(), s, zap.New(core)), t, logs} // metrics of its own, also if the test runs twice
	t.Cleanup(func() {
		if err := h.Destruct(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, e := range logs.All() {
				t.Log(e.Message, e.ContextMap())
			}
		}
	})
	if _, err := h.memory.Open(0, channels, nil, hub.NewWaiter()); err != nil {
		t.Fatal(err)
	}
	h.start()
	for _, channel := range channels {
		h.awaitLive(channel)
	}
	return h
}

// awaitLive returns when Redis has confirmed the channel.
func (h *probed) awaitLive(channel string) {
	h.t.Helper()
	await(h.t, "the confirmation of "+channel, func() bool { return h.held(channel).live })
}

// awaitMessage returns when the channel's newest message is payload.
func (h *probed) awaitMessage(channel, payload string) {
	h.t.Helper()
	await(h.t, "a message", func() bool { return h.newest(channel) == payload })
}

// events are what the hub has of a channel, as a client that comes for all of it gets it.
func (h *probed) events(channel string) (events []ssetest.Event) {
	h.t.Helper()
	w := hub.NewWaiter()
	s, err := h.memory.Open(0, []string{channel}, nil, w)
	if err != nil {
		h.t.Fatal(err)
	}
	defer h.memory.Close(s)
	f, err := hub.ParseFormat(hub.Wire{})
	if err != nil {
		h.t.Fatal(err)
	}
	s.Begin(hub.FromStart(), h.memory.Clock.Now())
	p := ssetest.NewParser()
	for more := true; more; {
		var b hub.Batch
		var enc hub.Encoder
		s.Read(&b)
		for i := range b.Items {
			h.memory.Encode(&enc, &b.Items[i], &f)
			out, _ := enc.Append(nil, math.MaxInt)
			events = append(events, p.Push(out)...)
		}
		s.Wrote(&b)
		more = b.More
	}
	return events
}

func (h *probed) newest(channel string) (payload string) {
	for _, e := range h.events(channel) {
		if e.Type == "message" {
			payload = e.Data
		}
	}
	return payload
}

func (h *probed) gaps(channel string) int { return h.held(channel).gaps }

// gapAfter is where the channel's newest gap says that it was complete.
func (h *probed) gapAfter(channel string) (after place) {
	h.t.Helper()
	for _, e := range h.events(channel) {
		if e.Type != "gap" {
			continue
		}
		g, err := decodeGap(e.Data)
		if err != nil || g.After == nil {
			h.t.Fatalf("the gap %s has no after: %v", e.Data, err)
		}
		after, _ = placeOf(*g.After)
	}
	return after
}

// measured reads a metric of the hub.
func measured(t *testing.T, m any) *dto.Metric {
	t.Helper()
	var value dto.Metric
	if err := m.(prometheus.Metric).Write(&value); err != nil {
		t.Fatal(err)
	}
	return &value
}

// lost are the reasons for which live connections were replaced.
func (h *probed) lost() (reasons []lossReason) {
	for _, reason := range lossReasons {
		for range int(measured(h.t, h.metrics.reconnections[reason]).GetCounter().GetValue()) {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// wantLost compares the reasons. The last of them may be counted soon.
func (h *probed) wantLost(want ...lossReason) {
	h.t.Helper()
	await(h.t, fmt.Sprint("the losses ", want), func() bool { return len(h.lost()) >= len(want) })
	if got := h.lost(); !slices.Equal(got, want) {
		h.t.Errorf("connections were replaced for %q, want %q", got, want)
	}
}

func (h *probed) proved() bool {
	g := h.subscriber.generation.Load()
	return g != nil && g.probing.isProved()
}

// awaitProved returns when n probes have come back, the newest included.
func (h *probed) awaitProved(n uint64) {
	h.t.Helper()
	await(h.t, fmt.Sprint(n, " probes"), func() bool {
		return h.proved() && measured(h.t, h.metrics.probe).GetHistogram().GetSampleCount() >= n
	})
}

// rounds runs n rounds of probing in the current generation.
func (h *probed) rounds(n int) {
	h.t.Helper()
	for range n {
		g := h.subscriber.generation.Load()
		if g == nil {
			h.t.Fatal("the generation has ended")
		}
		g.probe(h.t.Context())
	}
}

// causes are what the log says of outages.
func (h *probed) causes() (causes []string) {
	for _, e := range h.logs.FilterMessage("no redis connection").All() {
		causes = append(causes, fmt.Sprint(e.ContextMap()["error"]))
	}
	return causes
}

func (h *probed) refusals() (commands []string) {
	for _, e := range h.logs.FilterMessage("redis refuses a command").All() {
		commands = append(commands, fmt.Sprint(e.ContextMap()["command"]))
	}
	slices.Sort(commands)
	return commands
}

// subscribedChannels are the channels that Redis has subscriptions of, without those that hubs use among themselves.
func subscribedChannels(server *redistest.Server) (channels []string) {
	for _, channel := range server.Do("PUBSUB", "CHANNELS").([]any) {
		if name := channel.(string); !isOurs(name) {
			channels = append(channels, name)
		}
	}
	return channels
}
