package redissse

import (
	"container/heap"
	"sync"
)

// aging lists the buffers that hold messages by when their oldest one is due,
// so that expiry costs what expires and not a scan of all channels. An entry's
// time may be older than the truth (count and bytes evict without telling):
// the buffer is then looked at early and listed again.
type aging struct {
	mu   sync.Mutex
	list agingHeap
}

type agingEntry struct {
	received int64 // monotonic milliseconds
	buf      *buffer
}

func (a *aging) add(b *buffer, received int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	heap.Push(&a.list, agingEntry{received, b})
}

// expire gives up all messages received before cutoff.
func (a *aging) expire(cutoff int64) {
	for {
		e, ok := a.due(cutoff)
		if !ok {
			return
		}
		if oldest, again := e.buf.expire(cutoff); again {
			a.add(e.buf, oldest)
		}
	}
}

func (a *aging) due(cutoff int64) (agingEntry, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) == 0 || a.list[0].received >= cutoff {
		return agingEntry{}, false
	}
	return heap.Pop(&a.list).(agingEntry), true
}

type agingHeap []agingEntry

func (h agingHeap) Len() int           { return len(h) }
func (h agingHeap) Less(i, j int) bool { return h[i].received < h[j].received }
func (h agingHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *agingHeap) Push(x any)        { *h = append(*h, x.(agingEntry)) }
func (h *agingHeap) Pop() any {
	old := *h
	last := len(old) - 1
	e := old[last]
	old[last] = agingEntry{}
	*h = old[:last]
	return e
}
