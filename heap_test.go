package redissse

import (
	"fmt"
	"runtime"
	"testing"

	"go.uber.org/zap"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
)

// heapHeld is what of the heap is in use: after a collection the objects that can be reached, each as large as its size
// class. (HeapInuse would add what happens to be free in their pages.)
func heapHeld() int64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// heapError is how far counted bytes may be from the truth, either way.
const heapError = 1.5

// What go-redis reads for a message and is not kept of it must not stay in memory with it.
func TestCountedBytesAreRealHeapOfWhatRedisSends(t *testing.T) {
	const messages = 5000
	server := redistest.Start(t)
	for _, size := range []int{20, 200, 20_000} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			config := Hub{Redis: server.URL(), Keep: []string{"job:*"}, Buffer: &Buffer{ChannelSize: 1 << 30, TotalSize: 2 << 30}}
			s, err := config.resolve()
			if err != nil {
				t.Fatal(err)
			}
			client := server.Client()
			h := newHub("budget", s, zap.NewNop())
			defer func() { _ = h.Destruct() }()
			h.register("test", s, zap.NewNop())
			h.start()
			await(t, "the pattern", func() bool { return server.Do("PUBSUB", "NUMPAT").(int64) == 1 })
			before := heapHeld()
			n := messages * 20 / max(20, size/50)
			pipe := client.Pipeline()
			for i := range n {
				pipe.Publish(t.Context(), fmt.Sprintf("job:%d", i%100), fmt.Sprintf("%0*d", size, i))
				if pipe.Len() == 100 || i == n-1 {
					if _, err := pipe.Exec(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			await(t, "all messages", func() bool { return h.memory.Holds().Messages == int64(n) })
			counted := h.memory.Holds().Bytes
			real := heapHeld() - before
			if ratio := float64(real) / float64(counted); ratio > heapError || ratio < 1/heapError {
				t.Errorf("%d bytes are counted for %d bytes of heap, ratio %.2f", counted, real, ratio)
			}
		})
	}
}

func TestTotalSizeByDefaultIsAQuarterOfTheMemoryLimit(t *testing.T) {
	for limit, want := range map[int64]int64{
		1<<63 - 1: 256 << 20, 1 << 30: 256 << 20, 1<<30 - 4: 256<<20 - 1, 400 << 20: 100 << 20, 1000: 64 << 10,
	} {
		if got := standardTotalSize(limit); got != want {
			t.Errorf("with GOMEMLIMIT=%d: %d, want %d", limit, got, want)
		}
	}
}
