package hub

import "sync"

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
		a.list.push(agingEntry{received, b})
	}
}

// remove takes a buffer out that has been discarded: the list would keep it in
// memory for max_age.
func (a *aging) remove(b *buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.place > 0 {
		a.list.take(b.place - 1)
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
	return a.list.take(0), true
}

// agingHeap is a binary heap, the oldest first, that keeps each buffer's place
// in it, counted from 1. (container/heap would allocate for each entry that
// comes and goes: at a full budget, twice a message.)
type agingHeap []agingEntry

func (h *agingHeap) push(e agingEntry) {
	*h = append(*h, e)
	h.rise(len(*h) - 1)
}

// take removes and returns the i-th entry.
func (h *agingHeap) take(i int) agingEntry {
	old := *h
	e, last := old[i], len(old)-1
	moved := old[last]
	old[last] = agingEntry{}
	*h = old[:last]
	e.buf.place = 0
	if i < last {
		(*h)[i] = moved
		h.sink(i)
		h.rise(i)
	}
	return e
}

// rise moves the i-th entry up to where none above it is newer.
func (h agingHeap) rise(i int) {
	e := h[i]
	for i > 0 && e.received < h[(i-1)/2].received {
		h.put(i, h[(i-1)/2])
		i = (i - 1) / 2
	}
	h.put(i, e)
}

// sink moves the i-th entry down to where none below it is older.
func (h agingHeap) sink(i int) {
	e := h[i]
	for child := 2*i + 1; child < len(h); child = 2*i + 1 {
		if child+1 < len(h) && h[child+1].received < h[child].received {
			child++
		}
		if h[child].received >= e.received {
			break
		}
		h.put(i, h[child])
		i = child
	}
	h.put(i, e)
}

func (h agingHeap) put(i int, e agingEntry) {
	h[i] = e
	e.buf.place = i + 1
}
