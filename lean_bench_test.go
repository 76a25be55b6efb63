package redissse

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/outlet"
)

// takes is a socket that takes all, and tells.
type takes struct{ all *sync.WaitGroup }

func (s takes) send(p []byte) (int, error) { s.all.Done(); return len(p), nil }
func (takes) awaitRoom(func())             {}
func (takes) closeWrite() error            { return nil }
func (takes) close(bool)                   {}

// BenchmarkWakeLean is one message to n lean streams, up to the last write; only the sockets are missing.
func BenchmarkWakeLean(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, deliveries, wakes := benchHub(b, n)
			pool := outlet.NewPool(func(time.Duration) {})
			var all, ended sync.WaitGroup // who still has to write, to end
			for _, d := range deliveries {
				d.heartbeat, d.retry, d.stallTimeout = time.Hour, time.Second, time.Minute
				ended.Add(1)
				d.handTo(&lean{d: d, socket: takes{&all}, ended: func(endReason) { ended.Done() }}, pool)
			}
			benchWakes(b, h, &all, wakes)
			ended.Wait()
		})
	}
}
