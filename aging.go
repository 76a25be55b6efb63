package redissse

import (
	"container/heap"
	"sync"
)

// aging lists the buffers that hold messages by when their oldest one came, so
// that expiry and the memory budget cost what goes and not a scan of all
// channels. An entry's time may be older than the truth (count and bytes evict
// without telling): the buffer is then looked at early and listed again.
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
	if b.place == 0 {
		heap.Push(&a.list, agingEntry{received, b})
	}
}

// remove takes a buffer out that has been discarded: the list would keep it in
// memory for max_age.
func (a *aging) remove(b *buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.place > 0 {
		heap.Remove(&a.list, b.place-1)
	}
}

// expire gives up all messages received before cutoff. It returns the buffers
// that have none left.
func (a *aging) expire(cutoff int64) (empty []*buffer) {
	for {
		e, ok := a.due(cutoff)
		if !ok {
			return empty
		}
		if oldest, again := e.buf.expire(cutoff); again {
			a.add(e.buf, oldest)
			continue
		}
		empty = append(empty, e.buf)
	}
}

// evictOldest gives up the oldest message of all. It reports false if there is
// none, and returns the buffer if it has none left.
func (a *aging) evictOldest() (emptied *buffer, ok bool) {
	for {
		e, ok := a.due(1<<63 - 1)
		if !ok {
			return nil, false
		}
		dropped, oldest, again := e.buf.dropOldest(e.received)
		if again {
			a.add(e.buf, oldest)
		}
		switch {
		case dropped && again:
			return nil, true
		case dropped:
			return e.buf, true
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

// agingHeap keeps each buffer's place in it, counted from 1.
type agingHeap []agingEntry

func (h agingHeap) Len() int           { return len(h) }
func (h agingHeap) Less(i, j int) bool { return h[i].received < h[j].received }
func (h agingHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].buf.place, h[j].buf.place = i+1, j+1
}

func (h *agingHeap) Push(x any) {
	e := x.(agingEntry)
	*h = append(*h, e)
	e.buf.place = len(*h)
}

func (h *agingHeap) Pop() any {
	old := *h
	last := len(old) - 1
	e := old[last]
	e.buf.place = 0
	old[last] = agingEntry{}
	*h = old[:last]
	return e
}
