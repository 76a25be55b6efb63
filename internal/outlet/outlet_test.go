package outlet

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// task is one that a test plays with.
type task struct {
	t       *testing.T
	seat    *Seat
	serving atomic.Bool
	asked   atomic.Int64 // how often it was woken
	seen    atomic.Int64 // how much of that the newest Serve has seen
	served  atomic.Int64
	serve   func(now time.Time) time.Time // nil: nothing
	failed  any
}

func (k *task) Serve(now time.Time) (next time.Time) {
	if k.serving.Swap(true) {
		k.t.Error("a task is served twice at a time")
	}
	defer k.serving.Store(false)
	k.seen.Store(k.asked.Load())
	k.served.Add(1)
	if k.serve != nil {
		return k.serve(now)
	}
	return time.Time{}
}

func (k *task) Panicked(value any, stack []byte) {
	if k.failed = value; len(stack) == 0 {
		k.t.Error("a panic without a stack")
	}
	k.seat.End(func() {})
}

func (k *task) wake() {
	k.asked.Add(1)
	k.seat.Wake()
}

func join(t *testing.T, p *Pool, key string, serve func(now time.Time) time.Time) *task {
	k := &task{t: t, serve: serve}
	k.seat = p.Join(k, key)
	return k
}

// leave ends tasks, which have not ended, and waits for the pool's end.
func leave(t *testing.T, p *Pool, tasks ...*task) {
	t.Helper()
	for _, k := range tasks {
		k.serve = func(time.Time) time.Time { k.seat.End(func() {}); return time.Time{} }
		k.wake()
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func noneLate(t *testing.T) *Pool {
	return NewPool(func(waited time.Duration) { t.Errorf("an outlet is late by %v", waited) })
}

// Whoever is woken is served after it, and whoever is due is served then, whatever else goes on.
func TestRandomWakesAndTimes(t *testing.T) {
	for seed := range int64(20) {
		synctest.Test(t, func(t *testing.T) {
			p := noneLate(t)
			var tasks []*task
			due := make([]time.Time, 200)
			for i := range due {
				random := rand.New(rand.NewSource(seed<<16 + int64(i)))
				tasks = append(tasks, join(t, p, fmt.Sprint(i%7), func(now time.Time) time.Time {
					if due[i].Before(now.Add(-2*soonest)) && !due[i].IsZero() {
						t.Errorf("a task is served %v after it was due", now.Sub(due[i]))
					}
					if due[i] = (time.Time{}); random.Intn(3) == 0 {
						return time.Time{}
					}
					ahead := time.Duration(random.Intn(1000)-100) * time.Millisecond
					due[i] = now.Add(max(0, ahead))
					return now.Add(ahead)
				}))
			}
			var all sync.WaitGroup
			for w := range 4 {
				random := rand.New(rand.NewSource(seed<<16 + 1000 + int64(w)))
				all.Go(func() {
					for range 500 {
						tasks[random.Intn(len(tasks))].wake()
						if random.Intn(20) == 0 {
							time.Sleep(time.Duration(random.Intn(300)) * time.Millisecond)
						}
					}
				})
			}
			all.Wait()
			synctest.Wait()
			for i, k := range tasks {
				if k.seen.Load() != k.asked.Load() {
					t.Errorf("task %d was woken %d times, of which its newest turn knows %d", i, k.asked.Load(), k.seen.Load())
				}
			}
			leave(t, p, tasks...)
		})
	}
}

func TestACrowdHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := noneLate(t)
		hold, held := make(chan struct{}), make(chan struct{})
		var before, between atomic.Int64
		key := keyOfAnother(p, "crowd")
		var tasks []*task
		var first *task
		for range 2000 { // on all outlets
			k := join(t, p, "crowd", func(time.Time) time.Time { before.Add(1); return time.Time{} })
			if first == nil {
				first = k
			}
			if k.seat.outlet == first.seat.outlet {
				tasks = append(tasks, k)
			} else {
				leaveOne(k)
			}
		}
		var one *task
		for one == nil || one.seat.outlet != first.seat.outlet {
			if one != nil {
				leaveOne(one)
			}
			one = join(t, p, key, nil)
		}
		one.serve = func(time.Time) time.Time { between.Store(before.Load()); return time.Time{} }
		first.serve = func(time.Time) time.Time { close(held); <-hold; first.serve = nil; return time.Time{} }
		first.wake()
		<-held
		for _, k := range tasks[1:] {
			k.wake()
		}
		one.wake()
		close(hold)
		synctest.Wait()
		if n := between.Load(); n > quantum || before.Load() < int64(len(tasks)-1) {
			t.Errorf("%d of a crowd of %d were served before the one of another lane", n, before.Load())
		}
		leave(t, p, append(tasks, one)...)
	})
}

func leaveOne(k *task) {
	k.serve = func(time.Time) time.Time { k.seat.End(func() {}); return time.Time{} }
	k.wake()
}

// keyOfAnother returns a key whose tasks are in another lane.
func keyOfAnother(p *Pool, than string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint(i); p.lane(key) != p.lane(than) && p.lane(key) != probeLane {
			return key
		}
	}
}

// One that asks for a time that is over, for ever, leaves the outlet to others.
func TestATimeThatIsOverIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := noneLate(t)
		began := time.Now()
		var greedy []*task
		for range 20 {
			greedy = append(greedy, join(t, p, "greedy", func(time.Time) time.Time { return began }))
		}
		other := join(t, p, "greedy", nil)
		for _, k := range greedy {
			k.wake()
		}
		time.Sleep(100 * time.Millisecond)
		other.wake()
		synctest.Wait()
		if other.served.Load() != 1 {
			t.Errorf("another one was served %d times, want once", other.served.Load())
		}
		for _, k := range greedy {
			if n := k.served.Load(); n < 50 || n > 102 {
				t.Errorf("in 100 ms it was served %d times, want about once a millisecond", n)
			}
		}
		leave(t, p, append(greedy, other)...)
	})
}

func TestAPanicEndsOneTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := noneLate(t)
		bad := join(t, p, "a", func(time.Time) time.Time { panic("oh") })
		var good []*task
		for range 4 {
			good = append(good, join(t, p, "a", nil))
		}
		bad.wake()
		for _, k := range good {
			k.wake()
		}
		synctest.Wait()
		if bad.failed != "oh" || !bad.seat.Left() {
			t.Errorf("the panic told of is %v, left %v", bad.failed, bad.seat.Left())
		}
		bad.wake()
		synctest.Wait()
		if n := bad.served.Load(); n != 1 {
			t.Errorf("it was served %d times, want once", n)
		}
		for _, k := range good {
			if k.served.Load() != 1 {
				t.Errorf("another one was served %d times, want once", k.served.Load())
			}
		}
		leave(t, p, good...)
	})
}

// What comes after a seat may take its time; nobody waits for that but the pool's end.
func TestTheEndOfASeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := noneLate(t)
		if err := p.Wait(t.Context()); err != nil {
			t.Errorf("waiting for a pool without seats: %v", err)
		}
		for range 2 { // it starts anew
			hold := make(chan struct{})
			a, b := join(t, p, "a", nil), join(t, p, "b", nil)
			a.serve = func(now time.Time) time.Time {
				a.seat.End(func() { <-hold })
				return now.Add(time.Second) // has no meaning
			}
			a.wake()
			leaveOne(b)
			time.Sleep(10 * time.Second)
			a.wake()
			synctest.Wait()
			if a.served.Load() != 1 || b.served.Load() != 1 {
				t.Errorf("served %d and %d times, want once", a.served.Load(), b.served.Load())
			}
			soon, stop := context.WithTimeout(t.Context(), time.Second)
			if err := p.Wait(soon); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting ends with %v while something runs for a seat", err)
			}
			stop()
			close(hold)
			leave(t, p)
		}
	})
}

// An outlet whose task waits does not come round, and somebody hears of it.
func TestALateOutletIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late []time.Duration
		p := NewPool(func(waited time.Duration) { late = append(late, waited) })
		hold := make(chan struct{})
		bad := join(t, p, "a", nil)
		bad.serve = func(time.Time) time.Time { <-hold; bad.serve = nil; return time.Time{} }
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if p.Lag() > 0 || len(late) > 0 {
			t.Errorf("an idle one has a lag of %v, late %v", p.Lag(), late)
		}
		bad.wake()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if len(late) < 2 || late[0] < LateAfter || late[len(late)-1] <= late[0] {
			t.Errorf("told late by %v", late)
		}
		if lag := p.Lag(); lag < 3*time.Second {
			t.Errorf("a lag of %v", lag)
		}
		close(hold)
		n := len(late)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if p.Lag() != 0 || len(late) > n {
			t.Errorf("once it goes on, a lag of %v, late %v", p.Lag(), late[n:])
		}
		leave(t, p, bad)
		if p.Lag() != 0 {
			t.Errorf("without outlets, a lag of %v", p.Lag())
		}
	})
}

// BenchmarkWake is a turn of 1,000 tasks, with a time each.
func BenchmarkWake(b *testing.B) {
	p := NewPool(func(time.Duration) {})
	var left sync.WaitGroup
	var seats []*Seat
	for range 1000 {
		k := counted{&left, time.Now().Add(time.Hour)}
		seats = append(seats, p.Join(k, "a"))
	}
	b.ReportAllocs()
	for b.Loop() {
		left.Add(len(seats))
		for _, s := range seats {
			s.Wake()
		}
		left.Wait()
	}
}

type counted struct {
	left *sync.WaitGroup
	next time.Time
}

func (k counted) Serve(time.Time) time.Time { k.left.Done(); return k.next }
func (k counted) Panicked(any, []byte)      {}
