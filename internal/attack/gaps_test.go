//go:build attack && linux

package attack

import (
	"bytes"
	"fmt"
	"testing"
)

// TestGaps has a publisher send messages over max_message and small ones in turn, so that a pattern has a place with a gap beside each
// message, and compares what that costs with the small ones alone.
func TestGaps(t *testing.T) {
	const a = attack("gaps")
	n := size(300_000, 40_000)
	message, replay := gapCosts(t, n, false)
	gapMessage, gapReplay := gapCosts(t, n, true)
	a.tell("a message to 50 streams: CPU", message, "ms")
	a.judge(fmt.Sprintf("beside %d messages over max_message under the pattern: a message, times as much", n), gapMessage/message, "times", 4)
	a.tell("an event of a replay: CPU", 1000*replay, "us")
	a.judge(fmt.Sprintf("beside %d messages over max_message under the pattern: an event of a replay, times as much", n), gapReplay/replay, "times", 12) // a gap is made for each client
}

// gapCosts is the processor time for a message to 50 live streams, and for an event of a replay of all, in milliseconds.
func gapCosts(t *testing.T, n int, gaps bool) (message, replay float64) {
	const most = 64 // bytes of a message
	g := newGateway(t, setup{
		hub:    fmt.Sprintf("buffer {\n messages 1000000\n channel_size 1GiB\n total_size 1GiB\n max_message %d\n }\n keep gap:*", most),
		routes: "redis_sse /events {\n pattern gap:*\n client_from\n stall_timeout 10m\n }",
	})
	large := string(make([]byte, most+1))
	if gaps {
		g.fill(2*n, func(i int) (string, string) { return "gap:0", []string{large, "small"}[i%2] })
	} else {
		g.fill(n, func(int) (string, string) { return "gap:0", "small" })
	}
	message = g.listen("/events", "gap:0", 50).cpuOf(200)
	g.fill(1, func(int) (string, string) { return "gap:0", "last" })

	events, before := 0, g.cpu()
	const measurable = 20 * clockTick
	for range 1000 {
		events += g.replay("/events?from=start")
		if g.cpu()-before > measurable {
			break
		}
	}
	if told := g.metric("caddy_redis_sse_gaps_total") > 0; told != gaps {
		t.Fatalf("gaps were sent: %v", told)
	}
	return message, milliseconds(g.cpu()-before) / float64(events)
}

// replay reads a stream until its message "last", or for as long as anybody has patience, and returns how many events it has.
func (g *gateway) replay(target string) (events int) {
	g.t.Helper()
	s := g.mustOpen(target)
	defer s.conn.Close()
	_ = s.lines(func(line []byte) bool {
		if bytes.HasPrefix(line, []byte("data: ")) {
			events++
		}
		return string(line) != "data: last"
	})
	return events
}
