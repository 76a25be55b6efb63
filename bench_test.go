package redissse

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

func benchHub(b *testing.B, streams int) (*hub, []*delivery, []*waiter) {
	h := newHub("bench", &settings{limits: limits{messages: 1000, bytes: 1 << 30, message: 1 << 30, maxAge: 1 << 40}, budget: roomyBudget}, zap.NewNop())
	f, err := parseFormat("", "", "")
	if err != nil {
		b.Fatal(err)
	}
	var deliveries []*delivery
	var wakes []*waiter
	for range max(1, streams) {
		w := newWaiter()
		s, err := h.open([]string{"a"}, nil, w)
		if err != nil {
			b.Fatal(err)
		}
		if len(deliveries) == 0 {
			h.confirmed(h.buffers.get("a").sub)
		}
		s.begin(start{}, 0)
		out := &sink{w: discard{}, control: http.NewResponseController(discard{}), watched: true, begun: true}
		deliveries = append(deliveries, &delivery{
			hub: h, wake: w, stream: s, format: &f, sink: out,
			ending: newEnding(newDrain(), h, w, time.Time{}), metrics: newRouteMetrics("bench", "a"),
		})
		wakes = append(wakes, w)
	}
	return h, deliveries, wakes
}

type discard struct{}

func (discard) Header() http.Header         { return nil }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (discard) FlushError() error           { return nil }

var benchPayload = strings.Repeat("x", 200)

// BenchmarkAppend is what the reader does per message, with nobody waiting.
func BenchmarkAppend(b *testing.B) {
	h, _, _ := benchHub(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		h.receive("", "a", benchPayload)
	}
}

// BenchmarkAppendWake is the same with n streams that look again each time.
func BenchmarkAppendWake(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, _, wakes := benchHub(b, n)
			b.ReportAllocs()
			for b.Loop() {
				h.receive("", "a", benchPayload)
				for _, w := range wakes {
					w.await()
				}
			}
		})
	}
}

// BenchmarkDeliver is one message to 1,000 streams, without their goroutines
// and connections: ns/op and allocs/op are for all 1,000.
func BenchmarkDeliver(b *testing.B) {
	h, deliveries, wakes := benchHub(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		h.receive("", "a", benchPayload)
		for i, d := range deliveries {
			wakes[i].await()
			if err := d.write(nil, false); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkWake is one message to n streams in their goroutines, parked as a
// request's is, up to the last flush; only the connections are missing.
func BenchmarkWake(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, deliveries, wakes := benchHub(b, n)
			var all sync.WaitGroup // who still has to flush
			var ended sync.WaitGroup
			all.Add(n)
			for _, d := range deliveries {
				d.sink.w = flushes{all: &all}
				d.sink.control = http.NewResponseController(d.sink.w)
				ended.Go(func() { d.run(&Handler{heartbeat: time.Hour, retry: time.Second}) })
			}
			all.Wait()
			b.ReportAllocs()
			for b.Loop() {
				all.Add(n)
				h.receive("", "a", benchPayload)
				all.Wait()
			}
			for _, w := range wakes {
				w.signal(signalGone)
			}
			ended.Wait()
		})
	}
}

// flushes tells of each flush.
type flushes struct {
	discard
	all *sync.WaitGroup
}

func (f flushes) FlushError() error { f.all.Done(); return nil }

// BenchmarkRead is what one stream does to find one message.
func BenchmarkRead(b *testing.B) {
	h, deliveries, wakes := benchHub(b, 1)
	s := deliveries[0].stream
	var found batch
	b.ReportAllocs()
	for b.Loop() {
		h.receive("", "a", benchPayload)
		wakes[0].await()
		s.read(&found)
		s.wrote(&found)
	}
}

// BenchmarkReplay is a stream that comes back to a full buffer: ns/op is for
// its 1,000 messages, encoded before.
func BenchmarkReplay(b *testing.B) {
	h, deliveries, _ := benchHub(b, 1)
	d := deliveries[0]
	for range 1000 {
		h.receive("", "a", benchPayload)
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := h.open([]string{"a"}, nil, d.wake)
		if err != nil {
			b.Fatal(err)
		}
		s.begin(start{mode: startAll}, 0)
		d.stream = s
		if err := d.write(nil, true); err != nil {
			b.Fatal(err)
		}
		h.close(s, d.wake)
	}
}
