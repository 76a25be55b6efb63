package hub

// ring is a growable FIFO with random access: push at the back, pop at the
// front, both O(1) amortized, without moving what stays. The zero value is
// empty and ready. Not safe for concurrent use.
type ring[T any] struct {
	slots []T // length is zero or a power of two, so that an index wraps with a mask
	first int // slot of the oldest item
	n     int
}

// A ring grows from one slot: of 100,000 channels most hold one message or, after
// an outage, one gap entry, which are large. It shrinks to ringKept slots, so that
// one that is filled and emptied by turns does not allocate each time.
const ringKept = 4

func (r *ring[T]) len() int { return r.n }

// at returns the i-th oldest item; it panics unless 0 <= i < len.
func (r *ring[T]) at(i int) T { return *r.ptr(i) }

func (r *ring[T]) ptr(i int) *T {
	if uint(i) >= uint(r.n) {
		panic("ring index out of range")
	}
	return &r.slots[(r.first+i)&(len(r.slots)-1)]
}

func (r *ring[T]) push(v T) {
	if r.n == len(r.slots) {
		r.resize(max(1, 2*r.n))
	}
	r.slots[(r.first+r.n)&(len(r.slots)-1)] = v
	r.n++
}

// pop removes and returns the oldest item; it panics on an empty ring.
func (r *ring[T]) pop() T {
	p := r.ptr(0)
	v := *p
	var zero T
	*p = zero // lets the collector have what the item pointed to
	r.first = (r.first + 1) & (len(r.slots) - 1)
	r.n--
	// A burst must not pin its memory for ever. Shrinking at a quarter leaves
	// room to grow again without thrashing.
	if len(r.slots) > ringKept && r.n <= len(r.slots)/4 {
		r.resize(len(r.slots) / 2)
	}
	return v
}

func (r *ring[T]) resize(size int) {
	slots := make([]T, size)
	for i := range r.n {
		slots[i] = r.at(i)
	}
	r.slots, r.first = slots, 0
}

// search returns the smallest i for which after(item i) holds, len if none
// does. The items must be ordered so that after is false first, then true.
func (r *ring[T]) search(after func(T) bool) int {
	lo, hi := 0, r.n
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if after(r.at(mid)) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}
