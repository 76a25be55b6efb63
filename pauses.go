package redissse

import (
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// A process may stand still: a virtual machine is moved, a laptop sleeps, a
// container has used up its share of the CPU. What Redis sent meanwhile has
// arrived and only waits to be read. So time in which this process did not run is not Redis's
// silence, and nothing that waits for Redis counts it.

// tickInterval is how precise the watchdog, ages and lingering are: a quarter
// of a second is little beside dead_after, and four looks a second cost nothing.
const tickInterval = 250 * time.Millisecond

// maxLate is how late a tick may be before the process counts as having stood
// still: a busy machine is late by some tens of milliseconds, a collection of
// garbage by less. What is below counts as time in which Redis was silent, which
// is right to within a ninth of the shortest default watchdog.
const maxLate = 1000 // milliseconds

// pausesKept is for how long a pause is remembered, in milliseconds: over the
// longest watchdog, dead_after of 1m.
const pausesKept = 2 * 60_000

// pauses are when this process stood still, in milliseconds of a clock's monotonic
// time. The zero value knows of none. Safe for concurrent use.
type pauses struct {
	clock *hub.Clock

	mu     sync.Mutex
	ticked int64 // when the newest tick was; 0: nobody ticks
	late   bool  // that tick was late
	all    []pause
}

type pause struct{ from, to int64 }

// tick is called every tickInterval. It notices a pause by its being late. After one,
// resumed is true once: what has arrived has to be read before anything is judged.
func (p *pauses) tick(now int64) (resumed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stood, late := p.underWayLocked(now)
	if late {
		p.all = append(p.all, stood)
	}
	resumed, p.late = late && !p.late, late
	p.ticked = max(now, 1)
	for len(p.all) > 0 && p.all[0].to < now-pausesKept {
		p.all = p.all[1:]
	}
	return resumed
}

// stop is called when nobody ticks any more.
func (p *pauses) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ticked = 0
}

// underWayLocked returns the pause that the next tick would notice: others may run
// before it does.
func (p *pauses) underWayLocked(now int64) (pause, bool) {
	due := p.ticked + tickInterval.Milliseconds()
	return pause{due, now}, p.ticked != 0 && now-due > maxLate
}

func (p *pauses) knownLocked(now int64) []pause {
	known := p.all
	if stood, late := p.underWayLocked(now); late {
		known = append(known[:len(known):len(known)], stood)
	}
	return known
}

// now is the clock's time.
func (p *pauses) now() int64 { return p.clock.Monotonic() }

// ran returns for how many milliseconds from since to now the process has run.
func (p *pauses) ran(since, now int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	ran := now - since
	for _, stood := range p.knownLocked(now) {
		ran -= max(0, stood.to-max(stood.from, since))
	}
	return ran
}

// before returns the time from which on the process had run for so many milliseconds at
// the time at.
func (p *pauses) before(at, ran int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.knownLocked(p.now())
	for i := len(known) - 1; i >= 0; i-- {
		stood := known[i]
		if stood.from >= at {
			continue
		}
		since := max(0, at-stood.to)
		if since >= ran {
			break
		}
		at, ran = stood.from, ran-since
	}
	return at - ran
}
