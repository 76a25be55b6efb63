//go:build linux

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// scenario is one comparison.
type scenario struct {
	name    string // for -only
	title   string
	peers   []peer
	once    bool // one round does: it is steady, or long
	base    peer // whose figures the others' are multiples of
	columns []column
	measure func(ctx context.Context, h *host, who peer) (figures, error)
}

// sizes are how much load there is: enough for one core of the server and one
// of the clients and Redis, or little, to see that everything runs.
type sizes struct {
	clients, steady, busy int // on one channel, messages a second
	channels, many        int // as many clients, messages a second over all
	crowd, crowdRate      int // clients of one channel, its messages a second
	crowd2                int // the same with TLS
	small, smallRate      int // channels of one client beside it, messages a second over all of them
	idle1, idle2          int // streams: as many as 20,000 descriptors are for; with TLS they take four times as long to open
	idleChannels          int
	share                 int           // HTTP/2 streams on a connection together
	skim                  int           // of the clients of two cores one in as many looks at what it gets
	settle                time.Duration // until idle memory is read; the gateway's heartbeat comes every 15 s
	run                   time.Duration // how long messages are sent
	fastest               float64       // where the search for the highest rate ends, messages a second
	quick                 bool          // too little for the figures to mean something
}

var (
	fullSizes = sizes{
		clients: 1000, steady: 20, busy: 300, channels: 2000, many: 5000, crowd: 5000, crowdRate: 8, crowd2: 2000, small: 20, smallRate: 200,
		idle1: 9500, idle2: 2000, idleChannels: 100, share: 50, skim: 20, settle: 16 * time.Second, run: 5 * time.Second, fastest: 5000,
	}
	quickSizes = sizes{
		clients: 50, steady: 20, busy: 100, channels: 50, many: 200, crowd: 100, crowdRate: 8, crowd2: 50, small: 5, smallRate: 50,
		idle1: 100, idle2: 100, idleChannels: 10, share: 10, skim: 5, settle: 0, run: time.Second, fastest: 25, quick: true,
	}
)

// withRedis adds nchan with its Redis store to peers, but in a quick run, which
// must not fail: it may refuse messages until it has its Redis.
func (sz sizes) withRedis(peers []peer) []peer {
	if sz.quick {
		return peers
	}
	return append(slices.Clone(peers), nchanRedis)
}

var (
	overHTTP1 = []peer{gateway, leanOff, bareCaddy, nchan}
	overHTTP2 = []peer{gateway, leanOff, bareCaddy, nchan}
)

func scenarios(sz sizes) []scenario {
	one, two := protocol{"1", "HTTP/1.1", false, overHTTP1}, protocol{"2", "HTTP/2 over TLS, a connection each", true, overHTTP2}
	return []scenario{
		one.idle(sz, sz.idle1), one.steady(sz), busy(sz), one.fairness(sz, sz.crowd), one.highest(sz), cores(sz), one.channels(sz),
		two.idle(sz, sz.idle2), further(sz), two.steady(sz), two.fairness(sz, sz.crowd2), two.highest(sz), two.channels(sz),
	}
}

// protocol is what streams are read over.
type protocol struct {
	suffix string // of the scenarios' names
	name   string
	http2  bool
	peers  []peer
}

func (p protocol) idle(sz sizes, streams int) scenario {
	return scenario{
		name: "idle" + p.suffix, title: fmt.Sprintf("%d idle streams on %d channels, %s", streams, sz.idleChannels, p.name),
		peers: p.peers, base: bareCaddy, once: true, columns: []column{memory, opens, conns},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.idle(ctx, who, spec{HTTP2: p.http2, Clients: streams, Channels: sz.idleChannels}, sz.settle)
		},
	}
}

func (p protocol) steady(sz sizes) scenario {
	return scenario{
		name: "steady" + p.suffix, title: fmt.Sprintf("%d clients x %d messages a second, %s", sz.clients, sz.steady, p.name),
		peers: sz.withRedis(p.peers), base: bareCaddy, columns: []column{p50, p99, cpu, redisCPU, bad, conns},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.fanOut(ctx, who, spec{HTTP2: p.http2, Clients: sz.clients, Channels: 1}, order{Rate: sz.steady, For: sz.run})
		},
	}
}

func (p protocol) highest(sz sizes) scenario {
	return scenario{
		name: "highest" + p.suffix, title: fmt.Sprintf("Highest rate to %d clients with p99 under %v and none lost, %s", sz.clients, sustained, p.name),
		peers: p.peers, base: bareCaddy, once: true, columns: []column{rate, p50, p99, cpu, redisCPU, loadCPU},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.highest(ctx, who, spec{HTTP2: p.http2, Clients: sz.clients, Channels: 1}, sz)
		},
	}
}

func (p protocol) channels(sz sizes) scenario {
	return scenario{
		name: "channels" + p.suffix, title: fmt.Sprintf("%d clients on as many channels, %d messages a second in all, %s", sz.channels, sz.many, p.name),
		peers: sz.withRedis(p.peers), base: bareCaddy, columns: []column{p50, p99, cpu, redisCPU, bad, conns},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.fanOut(ctx, who, spec{HTTP2: p.http2, Clients: sz.channels, Channels: sz.channels}, order{Rate: sz.many, For: sz.run})
		},
	}
}

// busy is more than the servers hold that write each message by itself.
func busy(sz sizes) scenario {
	return scenario{
		name: "busy1", title: fmt.Sprintf("%d clients x %d messages a second, HTTP/1.1", sz.clients, sz.busy),
		peers: []peer{gateway, leanOff, bareCaddy}, base: bareCaddy, columns: []column{rate, p50, p99, cpu, redisCPU, bad},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.fanOut(ctx, who, spec{Clients: sz.clients, Channels: 1}, order{Rate: sz.busy, For: 2 * sz.run})
		},
	}
}

// fairness is how long a few wait for their messages beside a crowd.
func (p protocol) fairness(sz sizes, clients int) scenario {
	return scenario{
		name: "fairness" + p.suffix, title: fmt.Sprintf("%d channels of one client, %d messages a second in all, beside one of %d clients x %d messages a second, %s",
			sz.small, sz.smallRate, clients, sz.crowdRate, p.name),
		peers: sz.withRedis(p.peers), base: leanOff, columns: []column{p50, smallP99, crowdP99, cpu, memory, bad},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			few := work{spec{HTTP2: p.http2, First: 1, Clients: sz.small, Channels: sz.small}, order{Rate: sz.smallRate, For: 2 * sz.run}}
			crowd := work{spec{HTTP2: p.http2, Clients: clients, Channels: 1}, order{Rate: sz.crowdRate, For: 2 * sz.run}}
			return h.sideBySide(ctx, who, few, crowd)
		},
	}
}

// cores is what a second core brings. Its clients, of which few look at what they
// get, leave as much of it as they can.
func cores(sz sizes) scenario {
	return scenario{
		name: "cores", title: fmt.Sprintf("Highest rate to %d clients with one core, and with two of which clients and Redis have a part, HTTP/1.1", sz.clients),
		peers: []peer{gateway, twoCores}, base: gateway, once: true, columns: []column{rate, p50, p99, cpu, serverCPU, loadCPU},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.highest(ctx, who, spec{Clients: sz.clients, Channels: 1, Skim: sz.skim}, sz)
		},
	}
}

// further is what streams cost that share a connection, as the tabs of a browser do.
func further(sz sizes) scenario {
	return scenario{
		name: "further2", title: fmt.Sprintf("%d idle streams on %d connections, HTTP/2 over TLS", sz.idle2, sz.idle2/sz.share),
		peers: overHTTP2, base: bareCaddy, once: true, columns: []column{memory, moreMemory, opens},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			l := spec{HTTP2: true, Clients: sz.idle2, Channels: sz.idleChannels, Share: sz.share}
			return h.more(ctx, who, l, sz.settle)
		},
	}
}

// sustained is the p99 up to which a rate counts as sustained: beyond it the
// queues grow, which a run of some seconds shows no other way.
const sustained = 400 * time.Millisecond

// highest looks for the highest rate that is sustained, in steps of 10 %. Each
// step has a server of its own: one that was overloaded is not itself.
func (h *host) highest(ctx context.Context, who peer, l spec, sz sizes) (best figures, err error) {
	var rates []int
	for r := float64(sz.steady); r < sz.fastest; r *= 1.1 {
		rates = append(rates, int(math.Round(r)))
	}
	low, high := 0, len(rates)
	for low < high {
		middle := (low + high) / 2
		f, ok, err := h.sustains(ctx, who, l, order{Rate: rates[middle], For: sz.run})
		switch {
		case err != nil:
			return best, err
		case ok:
			low, best = middle+1, f
		default:
			high = middle
		}
	}
	return best, nil
}

// sustains tries twice: one hiccup of the machine must not decide.
func (h *host) sustains(ctx context.Context, who peer, l spec, o order) (f figures, ok bool, err error) {
	for range 2 {
		f, err = h.fanOut(ctx, who, l, o)
		if err != nil || f.Bad == 0 && f.P99 < float64(sustained.Milliseconds()) {
			return f, err == nil, err
		}
	}
	return f, false, nil
}
