package redissse

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

const (
	steadyChannels = 100_000
	steadyRate     = 20_000 // messages a second
	steadyFor      = 20 * time.Second
)

// BenchmarkHundredThousandChannels is a hub at its defaults under 20,000 messages a second over 100,000 channels that a
// stream has open, total_size full. For profiles: make bench TESTFLAGS='-bench HundredThousand -cpuprofile cpu.out -memprofile heap.out'.
func BenchmarkHundredThousandChannels(b *testing.B) {
	skipLong(b)
	server := redistest.Start(b)
	config := Hub{Redis: server.URL(), Buffer: &Buffer{TotalSize: defaultTotalSize}}
	s, err := config.resolve()
	if err != nil {
		b.Fatal(err)
	}
	before := heapHeld()
	h := newHub("bench", s, zap.NewNop())
	b.Cleanup(func() { _ = h.Destruct() })
	h.register("bench", s, zap.NewNop())
	h.start()
	names := jobNames(steadyChannels)
	w := hub.NewWaiter()
	for _, name := range names {
		if _, err := h.memory.Open(0, []string{name}, nil, w); err != nil {
			b.Fatal(err)
		}
	}
	for resubscribeInfo(server, "pubsub_channels") < steadyChannels {
		time.Sleep(10 * time.Millisecond)
	}
	counted, heap, resident := countedBytes(h), heapHeld()-before, residentBytes(b)

	// 1,500 bytes are 300 MB by the time half of the run is over.
	publishing := newFirehose(b, server, names, strings.Repeat("x", 1500))
	began := h.memory.Complete()
	b.ResetTimer()
	for range b.N {
		for began := time.Now(); time.Since(began) < steadyFor; {
			publishing.burst(int(steadyRate * time.Since(began).Seconds()))
			time.Sleep(5 * time.Millisecond)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(counted)/steadyChannels, "counted-B/idle-channel")
	b.ReportMetric(float64(heap)/steadyChannels, "heap-B/idle-channel")
	b.ReportMetric(float64(resident)/steadyChannels, "RSS-B/idle-channel")
	received := int(h.memory.Complete().Seq - began.Seq)
	b.ReportMetric(float64(received)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(countedBytes(h))/1e6, "counted-MB")
	b.ReportMetric(float64(residentBytes(b))/1e6, "RSS-MB")
	b.ReportMetric(float64(heapHeld()-before)/1e6, "heap-MB")
	if held := countedBytes(h); held > s.Budget.Bytes {
		b.Fatalf("%d bytes are held", held)
	}
}

func countedBytes(h *redisHub) int64 { return h.memory.Holds().Bytes }

func residentBytes(b *testing.B) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no procfs: ", err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, err := strconv.ParseInt(kilobytes, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}

// firehose publishes without a Redis client, which would stand in the profile.
type firehose struct {
	b       *testing.B
	conn    net.Conn
	names   []string
	payload string
	sent    int
}

func newFirehose(b *testing.B, server *redistest.Server, names []string, payload string) *firehose {
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	return &firehose{b: b, conn: conn, names: names, payload: payload}
}

// burst publishes until total messages have been published since the last one that was asked for began.
func (f *firehose) burst(total int) {
	var out bytes.Buffer
	for ; f.sent < total; f.sent++ {
		name := f.names[f.sent*7919%len(f.names)]
		fmt.Fprintf(&out, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(name), name, len(f.payload), f.payload)
	}
	if _, err := f.conn.Write(out.Bytes()); err != nil {
		f.b.Fatal(err)
	}
}
