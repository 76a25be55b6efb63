package redissse

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/redistest"
	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

const patternRoutes = `
	redis_sse /jobs {
		pattern job:*
		drain 0s 0s
	}
	redis_sse /mixed job:1 job:2 {
		pattern job:*
		drain 0s 0s
	}
	redis_sse /one job:1 {
		drain 0s 0s
	}
`

// patternWitness is a witness of a stream of channels and one pattern. A gap of the pattern stands in the place of any of its
// channels' messages; of the channels that are also streamed by name, only their own gaps are looked at.
type patternWitness struct {
	*witness
	named []string
	gaps  []told // of the pattern
}

func newPatternWitness(t *testing.T, s *ssetest.Stream, covered []string, named ...string) *patternWitness {
	return &patternWitness{witness: newWitness(t, s, covered...), named: named}
}

func (w *patternWitness) take(e ssetest.Event) {
	w.t.Helper()
	if e.Type != "gap" {
		w.witness.take(e)
		return
	}
	g := outageGap(w.t, e)
	id, _ := placeOf(e.ID)
	if g.After != nil {
		if after, _ := placeOf(*g.After); after.Seq == id.Seq {
			id.Seq++ // one of several gaps in one place, of which only the last has the place's id
		}
	}
	d := delivered{n: -1, gap: g, id: id}
	switch {
	case slices.Contains(w.named, g.Channel):
		w.got[g.Channel] = append(w.got[g.Channel], d)
	case g.Pattern == "job:*":
		w.gaps = append(w.gaps, *g)
		for _, channel := range w.channels {
			if !slices.Contains(w.named, channel) {
				w.got[channel] = append(w.got[channel], d)
			}
		}
	default:
		w.t.Errorf("got the gap %+v, want those of job:* and of %q only", *g, w.named)
	}
}

// until takes events until every channel has brought a message beyond what was sent when it was called, and the stream has had
// n gaps of its pattern.
func (w *patternWitness) until(p *traffic, n int) {
	w.t.Helper()
	beyond := p.sent()
	behind := func(channel string) bool { return w.last[channel] < beyond[channel] }
	for end := time.Now().Add(gatewayWait); len(w.gaps) < n || slices.ContainsFunc(w.channels, behind); {
		if time.Now().After(end) { // the traffic goes on without it
			w.t.Fatalf("%d gaps after %v, want %d, and messages of all channels", len(w.gaps), gatewayWait, n)
		}
		w.take(w.Next())
	}
}

// TestAnOutageIsOneGapOfAPattern, and not one of each channel, in its place: what is missing is missing there.
func TestAnOutageIsOneGapOfAPattern(t *testing.T) {
	var channels []string
	for i := range 50 {
		channels = append(channels, fmt.Sprintf("job:%d", i))
	}
	for name, hub := range map[string]string{"by streams": "", "kept": "keep job:*"} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			g := startGateway(t, server.URL(), quickHub+hub, patternRoutes)
			all := []*patternWitness{
				newPatternWitness(t, g.opened("/jobs"), channels),
				newPatternWitness(t, g.opened("/jobs"), channels),
				newPatternWitness(t, g.opened("/mixed"), channels, "job:1", "job:2"),
			}
			one := newWitness(t, g.opened("/one"), "job:1")
			traffic := startTraffic(t, server, channels...)
			outages := []func(){
				func() {
					failed := traffic.failed()
					server.Kill()
					g.wait("a PUBLISH to fail", func() bool { return traffic.failed() > failed })
					server.Restart()
				},
				func() {
					if n := server.KillPubSub(); n != 1 {
						t.Errorf("%d pub/sub connections were killed, want 1", n)
					}
				},
			}
			for n := range len(outages) + 1 {
				if n > 0 {
					outages[n-1]()
				}
				for _, w := range all {
					w.until(traffic, n)
				}
			}
			traffic.end()
			one.until(map[string]int{"job:1": all[0].last["job:1"] - 1})
			for _, w := range all {
				w.judge(traffic, len(outages), true)
				if len(w.gaps) != len(outages) {
					t.Errorf("%d gaps of the pattern, want %d: %+v", len(w.gaps), len(outages), w.gaps)
				}
			}
			one.judge(traffic, len(outages), true)
		})
	}
}
