package redissse

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// benchToken is a payload of about that many bytes as SDKs have them, which ends nothing.
func benchToken(size int) string {
	return `{"type":"text-delta","id":"1","delta":"` + strings.Repeat("x", max(1, size-41)) + `"}`
}

var benchRules = []struct {
	name string
	wire hub.Wire
}{
	{"none", hub.Wire{}},
	{"end_data", hub.Wire{End: []hub.Match{{Data: []string{"[DONE]"}}}}},
	{"end_field", hub.Wire{End: []hub.Match{{Field: "type", Values: []string{"finish"}}}}},
	{"all", hub.Wire{
		Event: "field type", Data: "field delta", Merge: []string{"delta"},
		End: []hub.Match{{Field: "type", Values: []string{"finish"}}, {Event: []string{"done"}}}, Begin: []hub.Match{{Field: "type", Values: []string{"start"}}},
	}},
}

// BenchmarkDeliverAnswer is one message to so many streams, as BenchmarkDeliver, by what their format looks for in it: ns/op and
// allocs/op are for all of them.
func BenchmarkDeliverAnswer(b *testing.B) {
	for _, size := range []int{60, 1 << 10, 1 << 20} {
		for _, streams := range []int{1, 20, 1000} {
			if size > 1<<10 && streams > 1000 {
				continue // what each of them makes is its own, and far more than what a look costs
			}
			for _, rules := range benchRules {
				b.Run(fmt.Sprintf("bytes=%d/streams=%d/rules=%s", size, streams, rules.name), func(b *testing.B) {
					h, deliveries, wakes := benchHub(b, streams)
					f, err := hub.ParseFormat(rules.wire)
					if err != nil {
						b.Fatal(err)
					}
					for _, d := range deliveries {
						d.format = &f
					}
					payload := benchToken(size)
					b.ReportAllocs()
					for b.Loop() {
						h.memory.Receive("", "a", payload)
						for i, d := range deliveries {
							wakes[i].Await()
							if err := d.write(nil, false); err != nil {
								b.Fatal(err)
							}
						}
					}
				})
			}
		}
	}
}

// BenchmarkComesBackWithAnEnd is a request of a client that says that it has all of an answer, with an id that makes the gateway look
// for that: the answer is not to cost much more than a stream.
func BenchmarkComesBackWithAnEnd(b *testing.B) {
	for _, size := range []int{60, 1 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			h, _, _ := benchHub(b, 1)
			h.memory.Configure(roomy, nil)
			f, err := hub.ParseFormat(benchRules[2].wire)
			if err != nil {
				b.Fatal(err)
			}
			payload := benchToken(size)
			for range 40_000 {
				h.memory.Receive("", "a", payload)
			}
			at := hub.ResumeAt(place{Epoch: 1, Ended: true}.ID())
			b.ReportAllocs()
			for b.Loop() {
				h.memory.Finished("a", at, &f)
			}
		})
	}
}
