package redissse

import "time"

// A process may stand still: a virtual machine is moved, a laptop sleeps, a
// container has used up its share of the CPU. What Redis sent meanwhile has
// arrived and only waits to be read. So time in which this process did not run is not Redis's
// silence, and no watchdog of the subscription counts it.

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

// pauses are when this process stood still, in monotonic milliseconds. The zero
// value knows of none. Of the tick's goroutine only.
type pauses struct {
	ticked int64 // when the newest tick was; 0: never
	all    []pause
}

type pause struct{ from, to int64 }

// tick is called every tickInterval. It notices a pause by its being late.
func (p *pauses) tick(now int64) {
	due := p.ticked + tickInterval.Milliseconds()
	if p.ticked != 0 && now-due > maxLate {
		p.all = append(p.all, pause{due, now})
	}
	p.ticked = max(now, 1)
	for len(p.all) > 0 && p.all[0].to < now-pausesKept {
		p.all = p.all[1:]
	}
}

// ran returns for how many milliseconds from since to now the process has run.
func (p *pauses) ran(since, now int64) int64 {
	ran := now - since
	for _, stood := range p.all {
		ran -= max(0, stood.to-max(stood.from, since))
	}
	return ran
}
