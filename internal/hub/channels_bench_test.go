package hub

import (
	"fmt"
	"testing"
	"time"
)

// What a hub does for each message, stream, tick and scrape must not cost more for many channels than for few.

func overChannels(b *testing.B, run func(b *testing.B, names []string)) {
	for _, n := range []int{1000, 100_000} {
		names := budgetNames(n)
		b.Run(fmt.Sprintf("channels=%d", n), func(b *testing.B) { run(b, names) })
	}
}

// benchWatched is a hub with a stream for each channel, and some messages in each.
func benchWatched(b *testing.B, names []string, keep ...string) *Hub {
	h := budgetHub(keep...)
	for _, name := range names {
		if _, err := h.Open(0, []string{name}, nil, NewWaiter()); err != nil {
			b.Fatal(err)
		}
	}
	budgetSettle(h)
	for range 4 {
		for _, name := range names {
			benchReceive(h, name, keep)
		}
	}
	return h
}

// benchReceive is one message with a copy for each pattern.
func benchReceive(h *Hub, name string, keep []string) {
	if len(keep) == 0 {
		h.Receive("", name, benchPayload)
	}
	for _, p := range keep {
		h.Receive(p, name, benchPayload)
	}
}

// fill leaves no room for another byte.
func (h *Hub) fill() {
	h.bound(func(b *Bounds) { b.Budget.Bytes = h.usage.bytes.Load() })
}

// BenchmarkReceiveFullBudget is a message for which the oldest of all goes.
func BenchmarkReceiveFullBudget(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) { benchFull(b, names) })
}

// BenchmarkReceiveFullBudgetTwoPatterns is the same with two copies of each.
func BenchmarkReceiveFullBudgetTwoPatterns(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) { benchFull(b, names, "job:*", "*") })
}

func benchFull(b *testing.B, names []string, keep ...string) {
	h := benchWatched(b, names, keep...)
	h.fill()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		benchReceive(h, names[i%len(names)], keep)
		i++
	}
	if held, most := h.usage.bytes.Load(), h.bounds.Load().Budget.Bytes; held > most {
		b.Fatalf("%d bytes are held, %d allowed", held, most)
	}
}

// BenchmarkReceiveNewChannel is a message of a kept pattern's channel for which the quietest one goes.
func BenchmarkReceiveNewChannel(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) {
		h := budgetHub("*")
		for _, name := range names[:len(names)/2] {
			h.Receive("*", name, benchPayload)
		}
		h.fill()
		b.ReportAllocs()
		i := len(names) / 2
		for b.Loop() {
			h.Receive("*", names[i%len(names)], benchPayload)
			i++
		}
	})
}

// BenchmarkOpenNewChannel is a stream that comes and goes, for whose channel the one that lingered longest has to go.
func BenchmarkOpenNewChannel(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) {
		h := budgetHub()
		h.bound(func(b *Bounds) { b.Budget.Channels = len(names) / 2 })
		budgetVisit(b, h, names[:len(names)/2]...)
		b.ReportAllocs()
		i := len(names) / 2
		for b.Loop() {
			budgetVisit(b, h, names[i%len(names)])
			i++
		}
	})
}

// BenchmarkOpenLingering is a stream that comes and goes on a channel that lingers.
func BenchmarkOpenLingering(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) {
		h := budgetHub()
		budgetVisit(b, h, names...)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			budgetVisit(b, h, names[i%len(names)])
			i++
		}
	})
}

// BenchmarkTick is a tick at which nothing is due, half of the channels lingering.
func BenchmarkTick(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) {
		h := benchWatched(b, names[:len(names)/2])
		budgetVisit(b, h, names[len(names)/2:]...)
		b.ReportAllocs()
		for b.Loop() {
			h.expire(1 << 40)
			h.retryDenied()
			h.dropIdle(time.Hour)
		}
	})
}

// BenchmarkScrape is what a scrape of the metrics asks of a hub.
func BenchmarkScrape(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) {
		h := benchWatched(b, names)
		b.ReportAllocs()
		for b.Loop() {
			h.Holds()
		}
	})
}

// BenchmarkSurvey is what the status asks of a hub; BenchmarkLook/survey has how long it holds the lock.
func BenchmarkSurvey(b *testing.B) {
	overChannels(b, func(b *testing.B, names []string) {
		h := benchWatched(b, names)
		b.ReportAllocs()
		for b.Loop() {
			h.Survey(func(Line) {})
		}
	})
}

// BenchmarkLook is what may look at every channel, since configurations and outages are few: ns/op is how long the hub's
// lock is held, and the reader or the streams that come or go wait.
func BenchmarkLook(b *testing.B) {
	skipLong(b)
	names := budgetNames(100_000)
	lost := func(h *Hub) { h.Lost(h.Complete()) }
	for _, look := range []struct {
		name       string
		keep       []string
		ready, run func(h *Hub)
	}{
		{"lost", nil, budgetSettle, lost},
		{"lost under a pattern", []string{"job:*"}, budgetSettle, lost},
		{"a pattern is confirmed after an outage", []string{"job:*"},
			func(h *Hub) { lost(h); h.take() }, benchConfirm},
		{"a pattern comes", nil, benchLeave, benchJoin},
		{"a pattern goes", nil, benchJoin, benchLeave},
		{"a kept pattern is given up", nil, benchKeep, benchUnkeep},
		{"survey", nil, func(*Hub) {}, func(h *Hub) { h.list() }},
	} {
		b.Run(look.name, func(b *testing.B) {
			h := benchWatched(b, names, look.keep...)
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				look.ready(h)
				b.StartTimer()
				look.run(h)
			}
		})
	}
}

func benchConfirm(h *Hub) {
	h.next++
	h.confirmedNow(h.patterns.get("job:*").sub, h.next, h.receipt())
}

func benchJoin(h *Hub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.patternLocked("job:*")
}

func benchLeave(h *Hub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.patterns.get("job:*"); p != nil {
		h.forgetLocked(p.sub, gapNotBuffered)
	}
}

func benchKeep(h *Hub) {
	h.mu.Lock()
	h.keepLocked([]string{"job:*"})
	h.mu.Unlock()
	h.Lost(h.Complete()) // from here on the pattern serves all channels
	budgetSettle(h)
}

func benchUnkeep(h *Hub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keepLocked(nil)
}

func skipLong(b *testing.B) {
	b.Helper()
	if testing.Short() {
		b.Skip("takes a quarter of a minute or more")
	}
}
