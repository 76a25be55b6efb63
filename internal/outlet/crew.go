package outlet

import (
	"hash/maphash"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Duty is what is to be done again and again for one client, and may wait for it.
type Duty interface {
	// Do does what there is to do. A goroutine of the crew calls it after each [Berth.Wake],
	// never two at a time.
	Do()

	// Panicked is called if Do has panicked, with the value and the stack.
	Panicked(value any, stack []byte)
}

const (
	// hands is how many goroutines of a crew work for each processor of Go. Whoever writes to a connection
	// of HTTP/2 waits for that connection's own goroutine; with 1, 4 and 16 a delivery takes as
	// much CPU, and with 4 a few clients that stall cost nobody any patience.
	hands = 4

	// patience is for how long nobody of a crew takes up anything before it is enlarged: all wait for
	// clients that take nothing. It is what a burst of such clients costs others, a few times.
	patience = 10 * time.Millisecond
)

// Crew does duties with few goroutines, which take turns as an outlet does. It has more of
// them while clients make them wait: one for each such client at most. They start with the
// first berth and end with the last. Safe for concurrent use.
type Crew struct {
	seed maphash.Seed

	life   sync.Mutex // of the crew: it does not begin while it ends
	berths int
	ended  sync.WaitGroup

	mu      sync.Mutex
	rota    rota[*Berth]
	waiting int  // berths in rota
	over    bool // there is no berth
	most    int  // goroutines, and idle ones beside those that clients make wait
	working int  // goroutines
	idle    int  // of them, who wait for work and have not been told of any
	work    *sync.Cond
	taken   uint64 // how many berths have been taken up
	seen    uint64 // what that is when the watch looks again, unless somebody goes on
	watch   *time.Timer
	watched bool
}

// NewCrew returns a crew without berths.
func NewCrew() *Crew {
	c := &Crew{seed: maphash.MakeSeed(), over: true}
	c.work = sync.NewCond(&c.mu)
	c.watch = time.AfterFunc(far, c.look)
	c.watch.Stop()
	return c
}

// Berth is a duty's place in a crew.
type Berth struct {
	place[*Berth]
	crew   *Crew
	duty   Duty
	queued atomic.Bool // it is in its lane, or to be put there once it has been done

	// Of crew.mu.
	busy  bool // it is being done
	again bool // it has been woken meanwhile
	left  bool
}

func (b *Berth) spot() *place[*Berth] { return &b.place }

// Join gives a duty a berth. Duties with equal keys are in one lane. It is done once somebody wakes it.
func (c *Crew) Join(d Duty, key string) *Berth {
	c.life.Lock()
	defer c.life.Unlock()
	c.berths++
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over, c.most = false, hands*runtime.GOMAXPROCS(0)
	return &Berth{crew: c, duty: d, place: place[*Berth]{lane: laneOf(c.seed, key)}}
}

// Leave gives the berth up: Do is not called again, and where it was being called it goes on. The duty must not call
// it, but whoever joined, once.
func (b *Berth) Leave() {
	c := b.crew
	c.life.Lock()
	defer c.life.Unlock()
	c.berths--
	c.leave(b, c.berths == 0)
	if c.berths == 0 {
		c.ended.Wait()
	}
}

func (c *Crew) leave(b *Berth, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.left = true
	if last {
		c.over, c.idle = true, 0
		c.watch.Stop()
		c.watched = false
		c.work.Broadcast()
	}
}

// Wake has the duty done in its turn, once for all calls until then. It never blocks and
// is for any goroutine. After [Berth.Leave] it does nothing.
//
// No call is lost: whoever does the duty says so, by queued, before the duty looks at what there is to do.
func (b *Berth) Wake() {
	if !b.queued.Swap(true) {
		b.crew.push(b)
	}
}

func (c *Crew) push(b *Berth) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case b.left:
	case b.busy:
		b.again = true
	default:
		c.queue(b)
		c.call()
	}
}

// queue gives b its turn. The caller holds mu.
func (c *Crew) queue(b *Berth) {
	c.rota.push(b)
	c.waiting++
}

// call has somebody come for what is in the rota. The caller holds mu.
func (c *Crew) call() {
	switch {
	case c.idle > 0:
		c.idle--
		c.work.Signal()
	case c.working < c.most:
		c.enlarge()
	case !c.watched:
		c.watched, c.seen = true, c.taken
		c.watch.Reset(patience)
	}
}

// enlarge adds a goroutine. The caller holds mu.
func (c *Crew) enlarge() {
	c.working++
	c.ended.Go(c.run)
}

// look doubles the crew, as far as there is somebody to be served, if nobody of it has taken up anything since it last looked.
func (c *Crew) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = !c.over && c.waiting > 0
	if !c.watched {
		return
	}
	more := 0
	if c.taken == c.seen {
		more = min(c.working, c.waiting)
	}
	for range more {
		c.enlarge()
	}
	c.seen = c.taken + uint64(more) // if these wait, too, it is no more by then
	c.watch.Reset(patience)
}

// run is a goroutine of the crew.
func (c *Crew) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.working-- }()
	var turn []*Berth
	for c.await() {
		turn = c.rota.take(turn[:0], 1) // each takes a while
		c.waiting--
		c.taken++
		c.serve(turn[0])
		clear(turn)
	}
}

// await waits until there is somebody to be served. It reports false if there will not be, or there are enough who wait.
// The caller holds mu.
func (c *Crew) await() bool {
	for c.rota.empty() {
		if c.over || c.idle >= c.most {
			return false
		}
		c.idle++
		c.work.Wait()
	}
	return true
}

// serve does one duty. The caller holds mu, which it is without meanwhile.
func (c *Crew) serve(b *Berth) {
	if b.left {
		return
	}
	b.busy = true
	c.mu.Unlock()
	b.queued.Store(false)
	b.do()
	c.mu.Lock()
	b.busy = false
	if b.again && !b.left {
		c.queue(b) // whoever has done it goes on with what there is
	}
	b.again = false
}

func (b *Berth) do() {
	defer func() {
		if value := recover(); value != nil {
			b.duty.Panicked(value, debug.Stack())
		}
	}()
	b.duty.Do()
}
