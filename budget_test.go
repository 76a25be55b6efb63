package redissse

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/zap"
)

// budgetHub is a hub with room for all that a test puts into it, without Redis.
func budgetHub(keep ...string) *hub {
	s := &settings{
		limits: limits{messages: 1 << 20, bytes: 1 << 40, message: 1 << 30, maxAge: 1 << 40},
		budget: roomyBudget, keep: keep,
	}
	h := newHub("budget", s, zap.NewNop())
	h.register("test", s, zap.NewNop())
	budgetSettle(h)
	return h
}

// budgetSettle has Redis confirm all that the hub writes.
func budgetSettle(h *hub) {
	for c := h.take(); c != nil; c = h.take() {
		if c.kind == subscribeCommand || c.kind == psubscribeCommand {
			for _, sub := range c.subs {
				h.confirmed(sub)
			}
		}
	}
}

// budgetVisit has a stream of the channels come and go, so that they linger.
func budgetVisit(t testing.TB, h *hub, channels ...string) {
	for _, channel := range channels {
		w := newWaiter()
		s, err := h.open([]string{channel}, nil, w)
		if err != nil {
			t.Fatal(err)
		}
		h.close(s, w)
	}
	budgetSettle(h)
}

// asReceived makes a string as go-redis makes one of a reply: with the line end behind it.
func asReceived(text string) string { return (text + "\r\n")[:len(text)] }

func budgetNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "job:00000000-" + strconv.Itoa(i)
	}
	return names
}

// heapHeld is what of the heap is in use: after a collection the objects that can be reached, each as large as its size
// class. (HeapInuse would add what happens to be free in their pages.)
func heapHeld() int64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// heapShape is a way to fill a hub with messages.
type heapShape struct {
	name     string
	keep     []string
	channels int // of a payload of 20 KB, a tenth of them
	messages int // a channel; of 20 KB, a fiftieth of them if there are many
	visited  bool
	format   *format // in which their bodies are cached
	outage   bool
}

var heapShapes = []heapShape{
	{name: "many messages", channels: 10, messages: 1 << 12, visited: true},
	{name: "many messages, with the most slack in their ring", channels: 10, messages: 1<<12 + 1, visited: true},
	{name: "many channels", channels: 20_000, messages: 1, visited: true},
	{name: "a pattern's channels", keep: []string{"job:*"}, channels: 20_000, messages: 1},
	{name: "a pattern's messages", keep: []string{"job:*"}, channels: 10, messages: 1<<12 + 1},
	{name: "two patterns over subscribed channels", keep: []string{"job:*", "*"}, channels: 20_000, messages: 1, visited: true},
	{name: "cached events", channels: 10, messages: 1 << 12, visited: true, format: &format{event: eventNone}},
	{name: "cached events of many channels", channels: 20_000, messages: 1, visited: true, format: &format{event: eventNone}},
	{name: "idle channels", channels: 20_000, visited: true},
	{name: "idle channels after an outage", channels: 20_000, visited: true, outage: true},
	{name: "many channels after an outage", channels: 20_000, visited: true, outage: true, messages: 1},
}

func (s *heapShape) fill(t *testing.T, h *hub, size int) {
	channels, messages := s.channels, s.messages
	if size >= 20_000 && messages > 1 {
		messages = messages / 50
	} else if size >= 20_000 {
		channels /= 10
	}
	names := budgetNames(channels)
	if s.visited {
		budgetVisit(t, h, names...)
	}
	for i := range messages {
		payload := fmt.Sprintf("%0*d", size, i)
		for _, name := range names {
			if len(s.keep) == 0 {
				h.receive("", name, asReceived(payload))
			}
			for _, p := range s.keep {
				h.receive(p, asReceived(name), asReceived(payload))
			}
		}
	}
	if s.outage {
		h.lost()
		budgetSettle(h)
	}
	for _, name := range names {
		b := h.buffers[name]
		for i := range b.entries.len() {
			if s.format != nil {
				b.body(b.entries.at(i), s.format, h.settings.Load().limits)
			}
		}
	}
}

// heapError is how far counted bytes may be from the truth, either way.
const heapError = 1.5

func TestCountedBytesAreRealHeap(t *testing.T) {
	for _, shape := range heapShapes {
		for _, size := range []int{20, 200, 20_000} {
			t.Run(fmt.Sprintf("%s of %d bytes", shape.name, size), func(t *testing.T) {
				before := heapHeld()
				h := budgetHub(shape.keep...)
				shape.fill(t, h, size)
				real, counted := heapHeld()-before, h.usage.bytes.Load()
				channels, messages := len(h.buffers), h.usage.messages.Load()
				ratio := float64(real) / float64(counted)
				t.Logf("%d channels, %d messages: heap %d, counted %d, ratio %.2f; %.0f a channel, %.0f a message", channels, messages, real, counted, ratio,
					float64(real)/float64(channels), float64(real)/float64(max(1,messages)))
				if ratio > heapError || ratio < 1/heapError {
					t.Errorf("%d bytes are counted for %d bytes of heap, ratio %.2f", counted, real, ratio)
				}
				runtime.KeepAlive(h)
			})
		}
	}
}
