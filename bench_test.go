package redissse

import (
	"fmt"
	"io"
	"net/http"
	"strings"
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
			h.confirmed(h.buffers["a"].sub)
		}
		s.begin(start{}, 0)
		out := &sink{w: discard{}, control: http.NewResponseController(discard{}), watched: true, begun: true}
		deliveries = append(deliveries, &delivery{
			hub: h, stream: s, format: &f, sink: out,
			ending: newEnding(newDrain(), h, time.Time{}), metrics: newRouteMetrics("bench", "a"),
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
					<-w.c
					w.clear()
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
			<-wakes[i].c
			wakes[i].clear()
			if err := d.write(nil, false); err != nil {
				b.Fatal(err)
			}
		}
	}
}
