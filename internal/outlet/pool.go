package outlet

import (
	"context"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Pool has the outlets of a process, as many as there are processors for Go. They start with the first
// seat and end with the last. Safe for concurrent use.
type Pool struct {
	seed maphash.Seed
	late func(waited time.Duration)

	mu      sync.Mutex
	open    int // seats
	next    int // which outlet gets the next one
	outlets []*outlet
	probes  []*probe
	idle    chan struct{} // closed when there are no seats; nil until there was one
	quit    chan struct{} // closed to end the watch
	watched sync.WaitGroup

	endings sync.WaitGroup // what runs after the end of a seat
}

// NewPool returns a pool without seats. late is called, about once a second and from a goroutine of the pool, while an outlet
// has not come round for [LateAfter] or more.
func NewPool(late func(waited time.Duration)) *Pool {
	return &Pool{seed: maphash.MakeSeed(), late: late}
}

// Join gives a task a seat. Tasks with equal keys are in one lane, of whichever outlet. It is served once
// somebody wakes it.
func (p *Pool) Join(t Task, key string) *Seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open++; p.open == 1 {
		p.startLocked()
	}
	p.next++
	return &Seat{
		pool: p, outlet: p.outlets[p.next%len(p.outlets)], task: t,
		place: place[*Seat]{lane: p.lane(key)},
	}
}

func (p *Pool) lane(key string) uint8 { return laneOf(p.seed, key) }

func (p *Pool) startLocked() {
	p.idle, p.quit = make(chan struct{}), make(chan struct{})
	p.outlets, p.probes = nil, nil
	for range runtime.GOMAXPROCS(0) {
		o := newOutlet()
		p.outlets = append(p.outlets, o)
		p.probes = append(p.probes, newProbe(o))
		go o.run() // stop waits for it
	}
	probes, quit := p.probes, p.quit
	p.watched.Go(func() { p.watch(probes, quit) })
}

// leave gives a seat back.
func (p *Pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open--; p.open > 0 {
		return
	}
	close(p.quit)
	p.watched.Wait()
	for _, o := range p.outlets {
		o.stop()
	}
	p.outlets, p.probes = nil, nil
	close(p.idle)
}

// Wait waits until there are no seats, or ctx is done, and returns ctx's error then.
func (p *Pool) Wait(ctx context.Context) error {
	p.mu.Lock()
	idle, open := p.idle, p.open
	p.mu.Unlock()
	if open == 0 {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	// LateAfter is from when on an outlet is late. A round takes some milliseconds, on a busy machine
	// some tens of them.
	LateAfter = time.Second

	// probeLane is the one of the watch's own tasks, which it may share with others.
	probeLane = 0
)

// Lag returns how long a task that was woken lately, of any outlet, waited for its turn, or has waited. It is looked at
// once a second.
func (p *Pool) Lag() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var most time.Duration
	for _, t := range p.probes {
		most = max(most, t.waited(time.Now()))
	}
	return most
}

// watch has each outlet serve a task of its own once a second.
func (p *Pool) watch(probes []*probe, quit <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-quit:
			return
		case now := <-ticker.C:
			for _, t := range probes {
				if waited := t.waited(now); t.pending() && waited >= LateAfter {
					p.late(waited)
				}
				t.send(now)
			}
		}
	}
}

// probe is a task that does nothing but tell how long it has waited for its turn.
type probe struct {
	seat  *Seat
	began time.Time    // the clock of the next
	since atomic.Int64 // when it was woken; 0: it has been served
	last  atomic.Int64 // how long it waited
}

func newProbe(o *outlet) *probe {
	t := &probe{began: time.Now()}
	t.seat = &Seat{outlet: o, task: t, place: place[*Seat]{lane: probeLane}}
	return t
}

func (t *probe) pending() bool { return t.since.Load() != 0 }

// send has it wait for its turn, unless it does.
func (t *probe) send(now time.Time) {
	if !t.pending() {
		t.since.Store(int64(now.Sub(t.began)))
		t.seat.Wake()
	}
}

func (t *probe) waited(now time.Time) time.Duration {
	if since := t.since.Load(); since != 0 {
		return max(now.Sub(t.began)-time.Duration(since), time.Duration(t.last.Load()))
	}
	return time.Duration(t.last.Load())
}

func (t *probe) Serve(time.Time) time.Time {
	t.last.Store(int64(time.Since(t.began)) - t.since.Swap(0))
	return time.Time{}
}

func (t *probe) Panicked(any, []byte) {}
