package redissse

import (
	"math/rand"
	"testing"
)

func TestAgingGivesTheOldestFirst(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var a aging
	listed := map[*buffer]int64{}
	for range 20_000 {
		switch r.Intn(5) {
		case 0, 1:
			b := new(buffer)
			listed[b] = int64(r.Intn(100))
			a.add(b, listed[b])
			a.add(b, 0) // does nothing: it is listed
		case 2:
			for b := range listed { // any
				a.remove(b)
				a.remove(b)
				delete(listed, b)
				break
			}
		default:
			e, ok := a.due(1 << 40)
			if ok != (len(listed) > 0) || ok && listed[e.buf] != e.received {
				t.Fatalf("%d buffers are listed, one is due: %v, %d", len(listed), ok, e.received)
			}
			for b, received := range listed {
				if received < e.received || b != e.buf && a.list[b.place-1].buf != b {
					t.Fatalf("%d comes before %d, of place %d", e.received, received, b.place)
				}
			}
			delete(listed, e.buf)
		}
	}
}

// At a full budget, with two copies and some streams: all there is to allocate is the message.
func TestAMessageIsOneAllocation(t *testing.T) {
	h := budgetHub("job:*", "*")
	names := budgetNames(100)
	for _, name := range names {
		for range 3 {
			if _, err := h.open([]string{name}, []string{"*"}, newWaiter()); err != nil {
				t.Fatal(err)
			}
		}
	}
	budgetSettle(h)
	i := 0
	receive := func() {
		for _, p := range []string{"job:*", "*"} {
			h.receive(p, names[i%len(names)], benchPayload)
		}
		i++
	}
	for range 1000 {
		receive()
	}
	h.fill()
	if n := testing.AllocsPerRun(10_000, receive); n > 1 {
		t.Errorf("a message takes %v allocations", n)
	}
}
