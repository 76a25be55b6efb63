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

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

func benchHub(b testing.TB, streams int) (*redisHub, []*delivery, []*hub.Waiter) {
	h := newHub("bench", &settings{Bounds: hub.Bounds{
		Limits: hub.Limits{Messages: 1000, Bytes: 1 << 30, Message: 1 << 30, MaxAge: 1 << 40}, Budget: roomy.Budget,
	}}, zap.NewNop())
	f, err := hub.ParseFormat(hub.Wire{})
	if err != nil {
		b.Fatal(err)
	}
	var deliveries []*delivery
	var wakes []*hub.Waiter
	for range max(1, streams) {
		w := hub.NewWaiter()
		s, err := h.memory.Open(0, []string{"a"}, nil, w)
		if err != nil {
			b.Fatal(err)
		}
		if len(deliveries) == 0 {
			replies := h.memory.NewReplies()
			kind, names := replies.Next()
			if _, err := replies.Confirmed(kind, names[0]); err != nil {
				b.Fatal(err)
			}
		}
		s.Begin(hub.Start{}, 0)
		out := &responseSink{w: discard{}, control: http.NewResponseController(discard{})}
		deliveries = append(deliveries, &delivery{
			terms: &terms{turns: replayTurns, metrics: newRouteMetrics("bench", "a")},
			hub:   h, format: &f, wake: w, stream: s, sink: out, begun: true, ending: newEnding(newDrain(), h, w, time.Time{}),
		})
		wakes = append(wakes, w)
	}
	return h, deliveries, wakes
}

var benchPayload = strings.Repeat("x", 200)

type discard struct{}

func (discard) Header() http.Header         { return nil }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (discard) FlushError() error           { return nil }

// BenchmarkAppend is what the reader does per message, with nobody waiting.
func BenchmarkAppend(b *testing.B) {
	h, _, _ := benchHub(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		h.memory.Receive("", "a", benchPayload)
	}
}

// BenchmarkAppendWake is the same with n streams that look again each time.
func BenchmarkAppendWake(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, _, wakes := benchHub(b, n)
			b.ReportAllocs()
			for b.Loop() {
				h.memory.Receive("", "a", benchPayload)
				for _, w := range wakes {
					w.Await()
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
		h.memory.Receive("", "a", benchPayload)
		for i, d := range deliveries {
			wakes[i].Await()
			if err := d.write(nil, false); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// benchWakes has all who are woken write a message, again and again, and end.
func benchWakes(b *testing.B, h *redisHub, all *sync.WaitGroup, wakes []*hub.Waiter) {
	b.ReportAllocs()
	for b.Loop() {
		all.Add(len(wakes))
		h.memory.Receive("", "a", benchPayload)
		all.Wait()
	}
	for _, w := range wakes {
		w.Signal(signalGone)
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
			for _, d := range deliveries {
				d.sink = &responseSink{w: flushes{all: &all}, control: http.NewResponseController(flushes{all: &all})}
				d.heartbeat, d.retry = time.Hour, time.Second
				ended.Go(func() { d.run() })
			}
			benchWakes(b, h, &all, wakes)
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
	var found hub.Batch
	b.ReportAllocs()
	for b.Loop() {
		h.memory.Receive("", "a", benchPayload)
		wakes[0].Await()
		s.Read(&found)
		s.Wrote(&found)
	}
}

// BenchmarkReplay is a stream that comes back to a full buffer: ns/op is for
// its 1,000 messages, encoded before.
func BenchmarkReplay(b *testing.B) {
	h, deliveries, _ := benchHub(b, 1)
	d := deliveries[0]
	for range 1000 {
		h.memory.Receive("", "a", benchPayload)
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := h.memory.Open(0, []string{"a"}, nil, d.wake)
		if err != nil {
			b.Fatal(err)
		}
		s.Begin(hub.FromStart(), 0)
		d.stream = s
		if err := d.write(nil, true); err != nil {
			b.Fatal(err)
		}
		h.memory.Close(s)
	}
}
