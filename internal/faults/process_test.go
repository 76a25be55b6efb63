//go:build linux

package faults

import (
	"syscall"
	"time"
)

// processFaults are those of the redis-server's process, and of the gateway's.
func processFaults() []fault {
	return []fault{
		{key: "killed 2 s", breaks: true, times: 3, strike: func(r *rig) { r.kill(2 * time.Second) }},
		{key: "killed 20 s", breaks: true, strike: func(r *rig) { r.kill(20 * time.Second) }},
		{key: "frozen 1.5 s", times: 3, strike: func(r *rig) { r.freeze(1500 * time.Millisecond) }},
		// Longer than a publish waits for its answer, and no reason to give the connection up: who posts must not be told what is not so.
		{key: "frozen 5 s", times: 2, strike: func(r *rig) { r.freeze(5 * time.Second) }},
		{key: "frozen 15 s", breaks: true, strike: func(r *rig) { r.freeze(15 * time.Second) }},
		// Longer than dead_after: what has arrived meanwhile is to be read, and nothing to be given up.
		{key: "gateway paused 12 s", strike: func(r *rig) { r.standStill(12 * time.Second) }},
	}
}

func (r *rig) kill(d time.Duration) {
	r.redis.Kill()
	time.Sleep(d)
	r.redis.Restart()
}

func (r *rig) freeze(d time.Duration) {
	r.redis.Freeze()
	time.Sleep(d)
	r.redis.Thaw()
}

// standStill has the gateway's process stand still.
func (r *rig) standStill(d time.Duration) {
	p := r.gateway.process()
	p.Signal(r.t, syscall.SIGSTOP)
	time.Sleep(d)
	p.Signal(r.t, syscall.SIGCONT)
}
