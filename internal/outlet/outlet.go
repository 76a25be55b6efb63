package outlet

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Task is what is to be done again and again for one client.
type Task interface {
	// Serve does what there is to do, and waits for nothing. The outlet's goroutine calls it
	// after each [Seat.Wake], never twice at a time. It returns when it is to be called even
	// if nobody wakes it, the zero time for never; a time that is over is a millisecond ahead.
	Serve(now time.Time) (next time.Time)

	// Panicked is called if Serve has panicked, with the value and the stack. It has to call
	// [Seat.End], unless Serve had.
	Panicked(value any, stack []byte)
}

const (
	// quantum is how many tasks of a lane are served in a row: with all lanes busy, and some 15
	// microseconds a task, each has its turn every 15 ms.
	quantum = 16

	// soonest is how far ahead a task's next time is at least. One that asked for a time
	// that is over, again and again, would leave an outlet nothing but itself.
	soonest = time.Millisecond

	// breathe is after how many turns, some half a millisecond of work, the goroutine lets others run, and the network in.
	breathe = 4

	// far is a time that does not come while something waits for it.
	far = time.Hour
)

// outlet serves tasks from one goroutine.
type outlet struct {
	mu     sync.Mutex
	rota   rota[*Seat]
	asleep bool // the goroutine waits for wake or its timer
	ended  bool

	wake chan struct{} // of capacity 1
	done chan struct{} // closed when the goroutine has ended

	// Of the goroutine alone.
	turn  []*Seat
	times times
}

func newOutlet() *outlet {
	return &outlet{wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Seat is a task's place at an outlet.
type Seat struct {
	place[*Seat]
	pool   *Pool
	outlet *outlet
	task   Task
	queued atomic.Bool // it is in its lane, or about to be

	// Of the outlet's goroutine alone.
	at   time.Time // when it is due by itself. Invariant: zero unless it is among the outlet's times
	slot int       // its index there
	left bool      // it has ended
}

func (s *Seat) spot() *place[*Seat] { return &s.place }

// Wake has the task served in its turn, once for all calls until then. It never blocks and
// is for any goroutine. After [Seat.End] it does nothing.
func (s *Seat) Wake() {
	if !s.queued.Swap(true) {
		s.outlet.push(s)
	}
}

// End gives the seat up: Serve will not be called again. after is called on a goroutine of
// its own, as it may wait, and until it has returned the pool counts the seat. It is for
// the task's Serve and Panicked, which call it once.
func (s *Seat) End(after func()) {
	s.left = true
	s.outlet.times.set(s, time.Time{})
	s.pool.endings.Go(func() {
		after()
		s.pool.leave()
	})
}

// Left reports whether it has ended. It is for the task's Serve and Panicked.
func (s *Seat) Left() bool { return s.left }

func (o *outlet) push(s *Seat) {
	o.mu.Lock()
	o.rota.push(s)
	asleep := o.asleep
	o.asleep = false
	o.mu.Unlock()
	if asleep {
		o.nudge()
	}
}

func (o *outlet) nudge() {
	select {
	case o.wake <- struct{}{}:
	default: // it is about to look
	}
}

// stop ends the goroutine, and waits for that.
func (o *outlet) stop() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.nudge()
	<-o.done
}

func (o *outlet) run() {
	defer close(o.done)
	breath := newBreath()
	defer breath.close()
	timer := time.NewTimer(far)
	defer timer.Stop()
	for turns := 1; ; turns++ {
		now := time.Now()
		for s := o.times.due(now); s != nil; s = o.times.due(now) {
			s.Wake() // it takes its lane's turn as any other
		}
		turn, ended := o.take()
		if ended {
			return
		}
		for _, s := range turn {
			o.serve(s, now)
		}
		if turns%breathe == 0 && !breath.take() {
			runtime.Gosched()
		}
		if len(turn) == 0 {
			timer.Reset(o.times.wait(now))
			select {
			case <-o.wake:
			case <-timer.C:
			}
		}
	}
}

// take returns the tasks whose turn it is. If there is none, whoever pushes one wakes the
// goroutine.
func (o *outlet) take() (turn []*Seat, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.turn)
	o.turn = o.turn[:0]
	if o.asleep = o.rota.empty(); o.asleep {
		return nil, o.ended
	}
	o.turn = o.rota.take(o.turn, quantum)
	return o.turn, o.ended
}

// serve serves one task. Whatever wakes the task from here on has it served again.
func (o *outlet) serve(s *Seat, now time.Time) {
	s.queued.Store(false)
	if s.left {
		return
	}
	defer func() {
		if value := recover(); value != nil {
			s.task.Panicked(value, debug.Stack())
		}
	}()
	next := s.task.Serve(now)
	if s.left {
		return
	}
	if least := now.Add(soonest); !next.IsZero() && next.Before(least) {
		next = least
	}
	o.times.set(s, next)
}
