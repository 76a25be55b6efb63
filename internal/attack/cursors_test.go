//go:build attack && linux

package attack

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// finding are ways to ask for a place that may take long to find, each with a harmless one that gets the same.
var finding = []struct {
	what   string
	target string
	twin   string // its target
	forged bool
	most   float64 // times the CPU of that
}{
	{"a forged cursor", "/channel", "/channel", true, searching},
	{"a forged cursor, of a pattern", "/pattern", "/pattern", true, searching},
	{"?last=10000000", "/channel?last=10000000", "/channel?from=start", false, 4},
	{"?last=10000000, of a pattern", "/pattern?last=10000000", "/pattern?from=start", false, 4},
	{"?last=10000000, of two channels", "/two?last=10000000", "/two?from=start", false, 4},
}

// searching is the bound of what is looked for, which is much, but not in proportion to what there is.
const searching = 15

// forge fills a channel, and returns a cursor of another node whose anchor none of its messages has. All that came since 5 s before the
// cursor's time is looked through for that, if each of it has an anchor, as the fourth message of a channel is the first to have; and
// what came since 1 s before it is sent. So the time is such that much is looked through and nothing is sent. It returns when that time
// has come: one that is ahead counts as now.
func (g *gateway) forge(n int, channel string) (header string) {
	g.t.Helper()
	message := func(int) (string, string) { return channel, "a message" }
	// The time of a message is that of the last ping that was answered before it: these come long enough before the others to be told apart.
	g.fill(4, message)
	time.Sleep(time.Second)
	at := time.Now().Add(5*time.Second - 500*time.Millisecond)
	g.fill(n, message)
	if none := time.Now().Add(1100 * time.Millisecond); at.Before(none) {
		at = none
	}
	time.Sleep(time.Until(at))
	return "Last-Event-ID: " + ssetest.Place{MS: at.UnixMilli(), Seq: 1, Epoch: 1, Anchor: 0xdeadbeef}.ID()
}

// TestCursors has callers ask for such places, against many messages.
func TestCursors(t *testing.T) {
	const a = attack("cursors")
	n := size(540_000, 200_000)
	g := newGateway(t, setup{
		hub: "buffer {\n messages 1000000\n channel_size 1GiB\n total_size 1GiB\n }\n ping_interval 100ms\n keep find:*",
		routes: "redis_sse /channel find:0 {\n client_from\n }\nredis_sse /pattern {\n pattern find:*\n client_from\n }\n" +
			"redis_sse /two find:0 find:1 {\n client_from\n }",
	})
	forged := g.forge(n, "find:0")
	l := g.listen("/channel", "find:0", 1)
	for _, f := range finding {
		var header []string
		if f.forged {
			header = []string{forged}
		}
		twin, twinLate := callWhile(l, func() error { return g.call(f.twin) })
		cpu, late := callWhile(l, func() error { return g.call(f.target, header...) })
		what := fmt.Sprintf("%d messages, 8 callers, %s: ", n, f.what)
		a.tell(what+"CPU of a call", cpu, "ms")
		a.judge(what+"that many times as much as "+f.twin, cpu/twin, "times", f.most)
		a.tell(what+"median latency of another stream", quantile(late, 0.5), "ms")
		a.judgeAlone(what+"p99, that many times as much", quantile(late, 0.99)/quantile(twinLate, 0.99), "times", 4)
	}
}

// callWhile has 8 callers call one after the other. It returns the CPU time of a call in milliseconds, and how late messages of l were.
func callWhile(l *listeners, call func() error) (cpu float64, late []time.Duration) {
	l.g.t.Helper()
	done := make(chan struct{})
	timer := time.AfterFunc(time.Duration(size(4000, 500))*time.Millisecond, func() { close(done) })
	defer timer.Stop()
	var calls atomic.Int64
	var all sync.WaitGroup
	before := l.g.cpu()
	for range 8 {
		all.Go(func() {
			for open := true; open; {
				if err := call(); err != nil {
					l.g.t.Error(err)
					return
				}
				calls.Add(1)
				select {
				case <-done:
					open = false
				default:
				}
			}
		})
	}
	late = l.during(done)
	all.Wait()
	return milliseconds(l.g.cpu()-before) / float64(calls.Load()), late
}
