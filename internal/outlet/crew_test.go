package outlet

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// duty is what a test has done.
type duty struct {
	do       func()
	panicked func(value any, stack []byte)
}

func (d *duty) Do()                              { d.do() }
func (d *duty) Panicked(value any, stack []byte) { d.panicked(value, stack) }

// looks is done by looking at a count, and knows whether two look at a time.
type looks struct {
	berth   *Berth
	told    atomic.Int64
	seen    atomic.Int64
	doing   atomic.Bool
	doubled atomic.Bool
}

func (c *looks) Do() {
	if c.doing.Swap(true) {
		c.doubled.Store(true)
	}
	c.seen.Store(c.told.Load())
	if rand.IntN(4) == 0 {
		runtime.Gosched()
	}
	c.doing.Store(false)
}

func (*looks) Panicked(value any, _ []byte) { panic(value) }

// Whoever is woken looks behind that, however many wake it at a time, and never twice at a time.
func TestACrewLosesNoWakeUp(t *testing.T) {
	const many, wakers, wakes = 100, 4, 20_000
	c := NewCrew()
	all := make([]*looks, many)
	for i := range all {
		all[i] = new(looks)
		all[i].berth = c.Join(all[i], fmt.Sprint(i%10))
	}
	var waking sync.WaitGroup
	for range wakers {
		waking.Go(func() {
			for range wakes {
				d := all[rand.IntN(many)]
				d.told.Add(1)
				d.berth.Wake()
			}
		})
	}
	waking.Wait()
	for i, d := range all {
		for d.seen.Load() != d.told.Load() { // the test's own limit ends it
			runtime.Gosched()
		}
		if d.doubled.Load() {
			t.Errorf("duty %d was done twice at a time", i)
		}
		d.berth.Leave()
	}
	if c.working != 0 || !c.rota.empty() {
		t.Errorf("%d goroutines are left, and work for them: %v", c.working, !c.rota.empty())
	}
}

// Clients that take nothing hold up nobody for long, whatever their number, and the crew is as small as before once they do.
func TestWhoWaitsHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stalled, live = 300, 50
		c := NewCrew()
		release := make(chan struct{})
		var berths []*Berth
		for range stalled {
			b := c.Join(&duty{do: func() { <-release }}, "crowded")
			b.Wake()
			berths = append(berths, b)
		}
		began := time.Now()
		var served sync.WaitGroup
		served.Add(live)
		var others []*Berth
		for i := range live {
			b := c.Join(&duty{do: served.Done}, fmt.Sprint(i))
			b.Wake()
			others = append(others, b)
		}
		berths = append(berths, others...)
		served.Wait()
		if took := time.Since(began); took > 10*patience {
			t.Errorf("those who wait for nobody were done after %v", took)
		}
		for i := range 5 { // while those who wait still do
			time.Sleep(time.Second)
			served.Add(live)
			began = time.Now()
			for _, b := range others {
				b.Wake()
			}
			served.Wait()
			if took := time.Since(began); i > 0 && took != 0 { // the first time it may need some who do not wait
				t.Errorf("then they were done after %v", took)
			}
		}
		synctest.Wait()
		c.mu.Lock()
		if c.working > stalled+c.most {
			t.Errorf("%d goroutines, for %d that wait", c.working, stalled)
		}
		c.mu.Unlock()
		close(release)
		synctest.Wait()
		c.mu.Lock()
		if c.working > c.most || c.idle != c.working || c.waiting != 0 {
			t.Errorf("%d goroutines, %d of them idle, %d wait for them, want %d at most", c.working, c.idle, c.waiting, c.most)
		}
		c.mu.Unlock()
		time.Sleep(time.Minute)
		c.mu.Lock()
		if c.watched {
			t.Error("nobody waits, and it is watched")
		}
		c.mu.Unlock()
		for _, b := range berths {
			b.Leave()
		}
	})
}

// A crowd of one lane has one turn in two when another lane has somebody.
func TestACrowdsLaneTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCrew()
		var mu sync.Mutex
		var order []string
		berth := func(key, name string) *Berth {
			return c.Join(&duty{do: func() {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			}}, key)
		}
		other := "b"
		for laneOf(c.seed, other) == laneOf(c.seed, "a") {
			other += "b"
		}
		var berths []*Berth
		for range 100 {
			berths = append(berths, berth("a", "crowd"))
		}
		berths = append(berths, berth(other, "single"))
		c.mu.Lock() // nobody is taken up before all are there
		for _, b := range berths {
			b.queued.Store(true)
			c.queue(b)
		}
		c.call()
		c.mu.Unlock()
		synctest.Wait()
		if at := slices.Index(order, "single"); at < 0 || at > 2 {
			t.Errorf("the single one was done behind %d others", at)
		}
		for _, b := range berths {
			b.Leave()
		}
	})
}

func TestADutyThatPanicsEndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCrew()
		var told any
		var done int
		bad := c.Join(&duty{do: func() { panic("oh") }, panicked: func(value any, stack []byte) {
			told = value
			if len(stack) == 0 {
				t.Error("there is no stack")
			}
		}}, "a")
		good := c.Join(&duty{do: func() { done++ }}, "a")
		bad.Wake()
		good.Wake()
		synctest.Wait()
		if told != "oh" || done != 1 {
			t.Errorf("told is %v, the other one was done %d times", told, done)
		}
		bad.Leave()
		bad.Wake()
		good.Leave()
	})
}

// A crew ends with its last berth, also one that is being woken, and begins anew.
func TestACrewEndsAndBeginsAnew(t *testing.T) {
	c := NewCrew()
	for range 200 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				done := make(chan struct{}, 1)
				b := c.Join(&duty{do: func() {
					select {
					case done <- struct{}{}:
					default:
					}
				}}, "a")
				b.Wake()
				<-done
				go b.Wake() // late, and in vain
				b.Leave()
			})
		}
		all.Wait()
		c.mu.Lock()
		if c.working != 0 || !c.over {
			t.Fatalf("%d goroutines are left", c.working)
		}
		c.mu.Unlock()
	}
}
