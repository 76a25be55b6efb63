package hub

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// budgetHub is a hub with room for all that a test puts into it, without Redis.
func budgetHub(keep ...string) *Hub {
	h := New(Bounds{
		Limits: Limits{Messages: 1 << 20, Bytes: 1 << 40, Message: 1 << 30, MaxAge: 1 << 40},
		Budget: roomyBudget,
	}, func(int) {})
	h.Configure(*h.bounds.Load(), keep)
	budgetSettle(h)
	return h
}

// budgetSettle has Redis confirm all that the hub writes.
func budgetSettle(h *Hub) {
	for c := h.take(); c != nil; c = h.take() {
		if c.kind == subscribeCommand || c.kind == psubscribeCommand {
			for _, sub := range c.subs {
				h.confirmed(sub)
			}
		}
	}
}

// budgetVisit has a stream of the channels come and go, so that they linger.
func budgetVisit(t testing.TB, h *Hub, channels ...string) {
	for _, channel := range channels {
		w := NewWaiter()
		s, err := h.Open(0, []string{channel}, nil, w)
		if err != nil {
			t.Fatal(err)
		}
		h.Close(s)
	}
	budgetSettle(h)
}

// asReceived makes a string as go-redis makes one of a reply: with the line end behind it.
func asReceived(text string) string { return (text + "\r\n")[:len(text)] }

var benchPayload = strings.Repeat("x", 200)

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

// heapShape is a way to fill a hub.
type heapShape struct {
	name     string
	keep     []string // patterns that deliver, instead of the channels' own subscriptions
	names    string   // what the channels' names begin with
	before   string   // what payloads begin with, on top of their size
	channels int      // with payloads of 20 KB a tenth of them, if there are many
	messages int      // a channel; with payloads of 20 KB a twentieth of them, if there are many
	visited  bool     // the channels' subscriptions linger
	outages  bool     // one after each message
	format   *Format  // in which bodies are cached
}

const (
	heapChannels = 5000
	heapMessages = 1 << 10 // fill a ring
)

var heapShapes = []heapShape{
	{name: "many messages", channels: 10, messages: heapMessages, visited: true},
	{name: "many messages in a ring that has just grown", channels: 10, messages: heapMessages + 1, visited: true},
	{name: "many messages with an outage after each", channels: 10, messages: heapMessages + 1, visited: true, outages: true},
	{name: "many messages of a pattern", keep: []string{"job:*"}, channels: 10, messages: heapMessages + 1},
	{name: "cached events", before: "\n", channels: 10, messages: heapMessages, visited: true, format: &Format{event: eventNone}},
	{name: "names of events", channels: 10, messages: heapMessages, visited: true, format: &Format{event: eventChannel}},
	{name: "many channels", channels: heapChannels, messages: 1, visited: true},
	{name: "many channels of a pattern", keep: []string{"job:*"}, channels: heapChannels, messages: 1},
	{name: "many channels with long names", keep: []string{"*"}, names: strings.Repeat("x", 1000), channels: heapChannels, messages: 1},
	{name: "many channels and two patterns", keep: []string{"job:*", "*"}, channels: heapChannels, messages: 1, visited: true},
	{name: "many channels after an outage", channels: heapChannels, messages: 1, visited: true, outages: true},
	{name: "cached events of many channels", before: "\n", channels: heapChannels, messages: 1, visited: true, format: &Format{event: eventNone}},
	{name: "idle channels", channels: heapChannels, visited: true},
}

func (s *heapShape) fill(t *testing.T, h *Hub, size int) {
	channels, messages := s.channels, s.messages
	if size >= 20_000 && messages > 0 {
		channels, messages = min(channels, heapChannels/10), min(messages, heapMessages/20)
	}
	names := budgetNames(channels)
	for i := range names {
		names[i] = asReceived(s.names + names[i])
	}
	if s.visited {
		budgetVisit(t, h, names...)
	}
	for i := range messages {
		payload := s.before + fmt.Sprintf("%0*d", size, i)
		for _, name := range names {
			if len(s.keep) == 0 {
				h.Receive("", name, asReceived(payload))
			}
			for _, p := range s.keep {
				h.Receive(p, name, asReceived(payload))
			}
		}
		if s.outages {
			h.Lost(h.Complete())
			budgetSettle(h)
		}
	}
	if s.format == nil {
		return
	}
	for b := range h.buffers.each() {
		for i := range b.entries.len() {
			b.frame(b.entries.at(i), s.format, h.bounds.Load().Limits)
		}
	}
}

// heapError is how far counted bytes may be from the truth, either way.
const heapError = 1.5

// The heap is that of users where the race detector is off: "make test" runs this package so, too. With it, one size will do.
func TestCountedBytesAreRealHeap(t *testing.T) {
	sizes := []int{20, 200, 20_000}
	if checking {
		sizes = sizes[:1]
	}
	for _, shape := range heapShapes {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s, %d bytes", shape.name, size), func(t *testing.T) {
				before := heapHeld()
				h := budgetHub(shape.keep...)
				shape.fill(t, h, size)
				judgeHeap(t, h, before)
			})
		}
	}
}

// judgeHeap compares what the hub counts with what the heap has more than before.
func judgeHeap(t *testing.T, h *Hub, before int64) {
	t.Helper()
	real, counted := heapHeld()-before, h.usage.bytes.Load()
	h.mu.Lock()
	channels, messages := h.buffers.len(), h.usage.messages.Load()
	h.mu.Unlock()
	ratio := float64(real) / float64(counted)
	t.Logf("%d channels, %d messages: %.0f bytes of heap a channel, ratio %.2f", channels, messages, float64(real)/float64(channels), ratio)
	if ratio > heapError || ratio < 1/heapError {
		t.Errorf("%d bytes are counted for %d bytes of heap, ratio %.2f", counted, real, ratio)
	}
}
