//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// scenario is one comparison.
type scenario struct {
	name    string // for -only
	title   string
	peers   []peer
	once    bool // one round does: it is steady, or long
	columns []column
	measure func(ctx context.Context, h *host, who peer) (figures, error)
}

// sizes are how much load there is: enough for one core of the server and one
// of the clients and Redis, or little, to see that everything runs.
type sizes struct {
	clients, steady, busy int // on one channel, messages a second
	channels, many        int // as many clients, messages a second over all
	idle1, idle2          int // streams; with TLS they take four times as long to open
	idleChannels          int
	settle                time.Duration // until idle memory is read; the gateway's heartbeat comes every 15 s
	run                   time.Duration // how long messages are sent
	fastest               float64       // where the search for the highest rate ends, messages a second
	quick                 bool          // too little for the figures to mean something
}

var (
	fullSizes = sizes{
		clients: 1000, steady: 20, busy: 300, channels: 2000, many: 5000,
		idle1: 5000, idle2: 2000, idleChannels: 100, settle: 16 * time.Second, run: 5 * time.Second, fastest: 5000,
	}
	quickSizes = sizes{
		clients: 50, steady: 20, busy: 100, channels: 50, many: 200,
		idle1: 100, idle2: 100, idleChannels: 10, settle: 0, run: time.Second, fastest: 25, quick: true,
	}
)

var everybody = []peer{gateway, bareCaddy, nchan}

func scenarios(sz sizes) []scenario {
	all := append(overProtocol(sz, false), overProtocol(sz, true)...)
	return slices.Insert(all, 2, scenario{
		name: "busy1", title: fmt.Sprintf("%d clients x %d messages a second, HTTP/1.1", sz.clients, sz.busy),
		peers: []peer{gateway, bareCaddy}, columns: []column{rate, p50, p99, cpu, redisCPU, bad},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.fanOut(ctx, who, spec{Clients: sz.clients, Channels: 1}, order{Rate: sz.busy, For: 2 * sz.run})
		},
	})
}

func overProtocol(sz sizes, http2 bool) []scenario {
	suffix, over, idle := "1", "HTTP/1.1", sz.idle1
	if http2 {
		suffix, over, idle = "2", "HTTP/2 over TLS, a connection each", sz.idle2
	}
	withRedis := everybody
	if !sz.quick { // which must not fail: nchan may refuse messages until it has its Redis
		withRedis = append(slices.Clone(everybody), nchanRedis)
	}
	return []scenario{{
		name: "idle" + suffix, title: fmt.Sprintf("%d idle streams on %d channels, %s", idle, sz.idleChannels, over),
		peers: everybody, once: true, columns: []column{memory, opens, conns},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.idle(ctx, who, spec{HTTP2: http2, Clients: idle, Channels: sz.idleChannels}, sz.settle)
		},
	}, {
		name: "steady" + suffix, title: fmt.Sprintf("%d clients x %d messages a second, %s", sz.clients, sz.steady, over),
		peers: withRedis, columns: []column{p50, p99, cpu, redisCPU, bad, conns},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.fanOut(ctx, who, spec{HTTP2: http2, Clients: sz.clients, Channels: 1}, order{Rate: sz.steady, For: sz.run})
		},
	}, {
		name: "highest" + suffix, title: fmt.Sprintf("Highest rate to %d clients with p99 under %v and none lost, %s", sz.clients, sustained, over),
		peers: everybody, once: true, columns: []column{rate, p50, p99, cpu, redisCPU, loadCPU},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.highest(ctx, who, spec{HTTP2: http2, Clients: sz.clients, Channels: 1}, sz)
		},
	}, {
		name: "channels" + suffix, title: fmt.Sprintf("%d clients on as many channels, %d messages a second in all, %s", sz.channels, sz.many, over),
		peers: withRedis, columns: []column{p50, p99, cpu, redisCPU, bad, conns},
		measure: func(ctx context.Context, h *host, who peer) (figures, error) {
			return h.fanOut(ctx, who, spec{HTTP2: http2, Clients: sz.channels, Channels: sz.channels}, order{Rate: sz.many, For: sz.run})
		},
	}}
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

// plan is what a run measures.
type plan struct {
	sizes     sizes
	rounds    int
	scenarios []scenario
}

func newPlan(sz sizes, rounds int, only string) (*plan, error) {
	if rounds < 1 {
		return nil, fmt.Errorf("rounds %d: at least 1", rounds)
	}
	p := &plan{sizes: sz, rounds: rounds, scenarios: scenarios(sz)}
	if only == "" {
		return p, nil
	}
	names := strings.Split(only, ",")
	for _, n := range names {
		if !slices.ContainsFunc(p.scenarios, func(s scenario) bool { return s.name == n }) {
			return nil, fmt.Errorf("unknown scenario %q", n)
		}
	}
	p.scenarios = slices.DeleteFunc(p.scenarios, func(s scenario) bool { return !slices.Contains(names, s.name) })
	return p, nil
}

// run measures everything and prints the report as it comes.
func (p *plan) run(ctx context.Context, doc, profile string) (err error) {
	if err := checkMachine(); err != nil {
		return err
	}
	h, err := newHost(profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	out := report{sizes: p.sizes}
	for _, s := range p.scenarios {
		t, err := p.compare(ctx, h, s)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", s.name, err)
		}
		out.tables = append(out.tables, t)
		fmt.Println(t.markdown())
	}
	targets, lost := out.targets()
	fmt.Println(targets)
	if lost {
		return errors.New("the gateway lost messages")
	}
	if doc == "" {
		return nil
	}
	return out.putInto(doc)
}

// compare measures the servers of a scenario in turn, so that what else the
// machine does in some minute hurts all of them.
func (p *plan) compare(ctx context.Context, h *host, s scenario) (table, error) {
	found := make(map[peer][]figures)
	rounds := p.rounds
	if s.once {
		rounds = 1
	}
	for range rounds {
		for _, who := range s.peers {
			f, err := s.measure(ctx, h, who)
			if err != nil {
				return table{}, fmt.Errorf("%s: %w", who, err)
			}
			fmt.Fprintf(os.Stderr, "%s %s %+v\n", s.name, who, f)
			found[who] = append(found[who], f)
		}
	}
	t := table{scenario: s, medians: make(map[peer]figures)}
	for who, all := range found {
		t.medians[who] = medianOf(all)
	}
	return t, nil
}

// checkMachine says what is missing before minutes have been spent.
func checkMachine() error {
	if runtime.NumCPU() < 2 {
		return errors.New("a run needs two cores: one for the server, one for the clients")
	}
	for _, tool := range []string{"taskset", "redis-server", "nginx"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("looking for %s (make bench installs it): %w", tool, err)
		}
	}
	return nil
}
