package hub

import (
	"math/rand"
	"testing"
	"testing/synctest"
	"time"
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
			if _, err := h.Open(0, []string{name}, []string{"*"}, NewWaiter()); err != nil {
				t.Fatal(err)
			}
		}
	}
	budgetSettle(h)
	i := 0
	receive := func() {
		for _, p := range []string{"job:*", "*"} {
			h.Receive(p, names[i%len(names)], benchPayload)
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

func TestLingerAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Limits{Messages: 10, Bytes: 1 << 20, MaxAge: time.Minute.Milliseconds()})
		const linger = 5 * time.Minute
		w.hub.bound(func(b *Bounds) { b.Linger = linger })
		ticker := time.NewTicker(250 * time.Millisecond)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				case <-ticker.C:
					w.hub.Tick()
				}
			}
		}()
		defer func() { close(stop); <-stopped }()
		v := w.view([]string{"a"}, nil, startLive)
		c := v.last
		w.publish("a", 0)
		w.settle()
		time.Sleep(59 * time.Second)
		w.publish("a", 0)
		w.settle()
		expect(t, w.opened(c, "a"), "1", "2")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		kept := w.opened(c, "a")
		expect(t, kept, "gap:a:expired", "2")
		time.Sleep(time.Hour) // with a stream, the subscription stays
		synctest.Wait()
		if !kept.Settled() {
			t.Fatal("unsubscribed under an open stream")
		}
		for range 4 { // v and the three that were opened
			w.leave("a")
		}
		time.Sleep(linger - time.Second)
		synctest.Wait()
		if w.write() {
			t.Fatal("unsubscribed before linger had passed")
		}
		w.publish("a", 0)
		w.settle()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !w.write() || w.redis.Has("subscribe", "a") || w.hub.buffers.len() != 0 {
			t.Error("not unsubscribed after linger")
		}
		if n := kept.sources[0].sub.buf.entries.len(); n != 0 {
			t.Errorf("%d messages stay in memory until they would have expired", n)
		}
	})
}

// leave has one of a channel's streams go.
func (w *world) leave(channel string) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if sub := w.hub.buffers.get(channel).sub; sub.streams > 0 {
		w.hub.leaveLocked(sub)
	}
}
