package redissse

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
	"github.com/redis-sse/caddy-redis-sse/internal/hub/hubtest"
	"github.com/redis-sse/caddy-redis-sse/internal/resp"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// held is what a hub says that it holds of a channel or pattern.
type held struct {
	there, live, lingers    bool
	streams, messages, gaps int
	bytes                   int64
}

var heldLine = regexp.MustCompile(`(?m)^(?:channel|pattern) ("(?:[^"\\]|\\.)*"): (\d+) streams, (live|not live)(, lingers)?, (\d+) messages, (\d+) gaps, (\d+) bytes$`)

// holdings are those of all channels and patterns, by name.
func (h *redisHub) holdings() map[string]held {
	all := map[string]held{}
	for _, m := range heldLine.FindAllStringSubmatch(h.memory.Describe(), -1) {
		name, err := strconv.Unquote(m[1])
		if err != nil {
			panic(err) // it was quoted by Describe
		}
		number := func(i int) int { n, _ := strconv.Atoi(m[i]); return n }
		all[name] = held{true, m[3] == "live", m[4] != "", number(2), number(5), number(6), int64(number(7))}
	}
	return all
}

func (h *redisHub) held(name string) held { return h.holdings()[name] }

// heldMessages is how many messages a hub holds.
func heldMessages(h *redisHub) int64 { return h.memory.Holds().Messages }

// roomy are bounds that nothing in a test meets.
var roomy = hub.Bounds{
	Limits: hub.Limits{Messages: 1 << 20, Bytes: 1 << 40, Message: 1 << 40, MaxAge: 1 << 40},
	Budget: hub.Budget{Bytes: 1 << 40, Channels: 1 << 20},
}

// world is a hub whose Redis is played by the test. What the subscriber does is
// done here: nothing connects.
type world struct {
	t     *testing.T
	hub   *redisHub
	gen   *generation
	redis *hubtest.Redis
	sent  int
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, hub: newHub("played", &settings{Bounds: roomy}, zap.NewNop()), redis: hubtest.New("[ab]", "*")}
	w.gen, _ = newGeneration(t.Context(), &w.hub.subscriber)
	w.tellTime()
	return w
}

// tellTime has Redis tell its time, which is this machine's.
func (w *world) tellTime() {
	w.t.Helper()
	now := time.Now()
	if err := w.hub.memory.Clock.Measure(w.t.Context(), func(context.Context) (time.Time, error) { return now, nil }); err != nil {
		w.t.Fatal(err)
	}
}

// publish has Redis deliver the number of the message to whoever is subscribed.
func (w *world) publish(channel string) { w.publishLarge(channel, 0) }

// publishLarge does so with that many spaces behind the number.
func (w *world) publishLarge(channel string, spaces int) {
	w.sent++
	w.redis.Deliver(hubtest.Message{Channel: channel, Payload: fmt.Sprint(w.sent) + strings.Repeat(" ", spaces)})
}

// write has the writer write one command, if there is one.
func (w *world) write() bool {
	kind, names := w.gen.replies.Next()
	if len(names) == 0 {
		return false
	}
	w.redis.Execute(kind, names)
	return true
}

// pong has Redis answer a PING.
func (w *world) pong() {
	w.t.Helper()
	if err := w.gen.answered(resp.Reply{Payload: w.gen.replies.Ping()}); err != nil {
		w.t.Fatal(err)
	}
}

// settle has the writer write, and the reader read, all there is.
func (w *world) settle() {
	w.t.Helper()
	for w.redis.Up && w.write() || len(w.redis.Wire) > 0 {
		for r := w.redis.Next(); r != nil; r = w.redis.Next() {
			if err := w.readOne(r); err != nil {
				w.t.Fatalf("reading: %v", err)
			}
		}
	}
}

func (w *world) readOne(reply any) error {
	switch r := reply.(type) {
	case hubtest.Message:
		w.hub.memory.Receive(r.Pattern, r.Channel, r.Payload)
		return nil
	case hubtest.Confirmed:
		return w.gen.confirmed(resp.Reply{Kind: r.Kind, Channel: r.Name})
	}
	return fmt.Errorf("unexpected %T", reply)
}

// place is what an event id says, as the tests read it.
type place = ssetest.Place

func placeOf(id string) (place, bool) { return ssetest.PlaceOf(id) }

// told is the data of a gap event.
type told struct {
	Channel string  `json:"channel"`
	Pattern string  `json:"pattern"`
	Reason  string  `json:"reason"`
	After   *string `json:"after"`
	Missed  *uint64 `json:"missed"`
}

// The reasons of gaps, as docs/reference.md has them.
const (
	gapDisconnected = "redis_disconnected"
	gapEvicted      = "evicted"
	gapExpired      = "expired"
	gapSlowClient   = "slow_client"
	gapNotBuffered  = "not_buffered"
	gapTooLarge     = "too_large"
	gapRefused      = "refused"
	gapUnknownID    = "unknown_id"
)

func jobNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "job:00000000-" + strconv.Itoa(i)
	}
	return names
}
