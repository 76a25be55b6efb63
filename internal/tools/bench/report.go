//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// column is one figure of a table.
type column struct {
	head   string
	of     func(*figures) *float64
	format string
	worst  bool // over the rounds the worst counts, not the median
	ratio  bool // to that of the scenario's base, too
}

var (
	memory     = column{head: "KiB a stream", of: func(f *figures) *float64 { return &f.KiB }, format: "%.1f", ratio: true}
	opens      = column{head: "opened/s", of: func(f *figures) *float64 { return &f.Opens }, format: "%.0f", ratio: true}
	moreMemory = column{head: "KiB of each further stream", of: func(f *figures) *float64 { return &f.More }, format: "%.1f", ratio: true}
	p50        = column{head: "p50 ms", of: func(f *figures) *float64 { return &f.P50 }, format: "%.1f"}
	p99        = column{head: "p99 ms", of: func(f *figures) *float64 { return &f.P99 }, format: "%.1f"}
	cpu        = column{head: "CPU us/delivery", of: func(f *figures) *float64 { return &f.CPU }, format: "%.2f", ratio: true}
	smallP99   = column{head: "p99 ms", of: func(f *figures) *float64 { return &f.P99 }, format: "%.1f", ratio: true}
	crowdP99   = column{head: "p99 ms of the crowd", of: func(f *figures) *float64 { return &f.Crowd }, format: "%.1f"}
	redisCPU   = column{head: "Redis us/delivery", of: func(f *figures) *float64 { return &f.Redis }, format: "%.2f"}
	serverCPU  = column{head: "server cores", of: func(f *figures) *float64 { return &f.Cores }, format: "%.2f"}
	loadCPU    = column{head: "client core", of: func(f *figures) *float64 { return &f.Load }, format: "%.2f"}
	rate       = column{head: "deliveries/s", of: func(f *figures) *float64 { return &f.Rate }, format: "%.0f", ratio: true}
	bad        = column{head: "lost or disordered", of: func(f *figures) *float64 { return &f.Bad }, format: "%.0f", worst: true}
	conns      = column{head: "Redis connections", of: func(f *figures) *float64 { return &f.Conns }, format: "%.0f", worst: true}

	columns = []column{memory, moreMemory, opens, p50, p99, crowdP99, cpu, redisCPU, serverCPU, loadCPU, rate, bad, conns}
)

// medianOf takes each figure's median by itself, or its worst.
func medianOf(all []figures) (m figures) {
	for _, c := range columns {
		var values []float64
		for i := range all {
			values = append(values, *c.of(&all[i]))
		}
		slices.Sort(values)
		n := len(values)
		*c.of(&m) = (values[(n-1)/2] + values[n/2]) / 2
		if c.worst {
			*c.of(&m) = values[n-1]
		}
	}
	return m
}

// table is what a scenario found.
type table struct {
	scenario
	medians map[peer]figures
}

func (t table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** (`%s`)\n\n| |", t.title, t.name)
	for _, c := range t.columns {
		fmt.Fprintf(&b, " %s |", c.head)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(t.columns)) + "\n")
	base := t.medians[t.base]
	for _, who := range t.peers {
		f := t.medians[who]
		fmt.Fprintf(&b, "| %s |", who)
		for _, c := range t.columns {
			fmt.Fprintf(&b, " "+c.format, *c.of(&f))
			if one := *c.of(&base); c.ratio && who != t.base && one > 0 {
				fmt.Fprintf(&b, " (%.2f x)", *c.of(&f)/one)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// report is all that a run found.
type report struct {
	sizes  sizes
	tables []table
}

// of returns the medians of a scenario, and whether it was measured.
func (r *report) of(name string, who peer) (figures, bool) {
	for _, t := range r.tables {
		if t.name == name {
			f, ok := t.medians[who]
			return f, ok
		}
	}
	return figures{}, false
}

// targets says how the gateways compare with what they are held to, and whether
// one lost anything. The rest depends on the machine.
func (r *report) targets() (text string, lostAny bool) {
	var v verdicts
	if !r.sizes.quick {
		r.judgeLean(&v)
		r.judgeFloor(&v)
	}
	lost, conns := 0.0, 0.0
	for _, t := range r.tables {
		for _, who := range ours {
			lost, conns = lost+t.medians[who].Bad, max(conns, t.medians[who].Conns)
		}
	}
	v.add(lost == 0, "none lost, doubled or out of order, no gap, in any run", "%.0f", lost)
	v.add(conns <= 5, "Redis connections of the gateway: at most 5", "%.0f", conns)
	return "| target | measured | |\n|---|---|---|\n" + v.String(), lost > 0
}

// judgeLean compares lean streams with those of the gateway that are not, and
// with nchan's, of the same run.
func (r *report) judgeLean(v *verdicts) {
	if g, n, ok := r.pair("idle1", gateway, nchan); ok {
		v.atMost(0.4, g.KiB/n.KiB, "idle memory: at most %v x nchan's (HTTP/1)")
	}
	if g, n, ok := r.pair("steady1", gateway, nchanRedis); ok {
		v.atMost(0.85, g.CPU/n.CPU, fmt.Sprintf("CPU a delivery at %d messages/s: at most %%v x nchan-redis's (HTTP/1)", r.sizes.steady))
	}
	if g, off, ok := r.pair("fairness1", gateway, leanOff); ok {
		v.atMost(0.15, g.P99/off.P99, "p99 of small channels beside a crowd: at most %v x lean off's (HTTP/1)")
	}
	if g, off, ok := r.pair("fairness2", gateway, leanOff); ok {
		v.atMost(0.75, g.P99/off.P99, "p99 of small channels beside a crowd: at most %v x lean off's (HTTP/2)")
	}
	if g, off, ok := r.pair("busy1", gateway, leanOff); ok {
		v.atMost(1, g.P99/off.P99, fmt.Sprintf("p99 at %d messages/s: at most %%v x lean off's (HTTP/1)", r.sizes.busy))
	}
	if g, off, ok := r.pair("highest1", gateway, leanOff); ok {
		// Two searches that find the same may differ by what a publisher rounds.
		v.add(g.Rate >= 0.99*off.Rate, "highest rate: at least lean off's (HTTP/1)", "%.2f x", g.Rate/off.Rate)
	}
	if two, one, ok := r.pair("cores", twoCores, gateway); ok {
		v.add(two.Rate >= 1.6*one.Rate, "highest rate of two cores: at least 1.6 x one's (HTTP/1)",
			"%.2f x; of the two it had %.2f", two.Rate/one.Rate, two.Cores)
	}
}

// judgeFloor compares with the bare handler of the same run.
func (r *report) judgeFloor(v *verdicts) {
	if off, floor, ok := r.pair("idle1", leanOff, bareCaddy); ok {
		v.add(off.KiB-floor.KiB <= 6, "idle memory of lean off: at most the bare handler's + 6 KiB (HTTP/1)", "%+.1f KiB", off.KiB-floor.KiB)
	}
	if off, floor, ok := r.pair("steady1", leanOff, bareCaddy); ok {
		v.atMost(1.15, off.CPU/floor.CPU, fmt.Sprintf("CPU a delivery of lean off at %d messages/s: at most %%v x the bare handler's (HTTP/1)", r.sizes.steady))
	}
	if g, floor, ok := r.pair("idle2", gateway, bareCaddy); ok {
		v.add(g.KiB-floor.KiB <= 6, "idle memory: at most the bare handler's + 6 KiB (HTTP/2)", "%+.1f KiB", g.KiB-floor.KiB)
	}
	if g, floor, ok := r.pair("steady2", gateway, bareCaddy); ok {
		v.atMost(0.9, g.CPU/floor.CPU, fmt.Sprintf("CPU a delivery at %d messages/s: at most %%v x the bare handler's (HTTP/2)", r.sizes.steady))
	}
	for _, over := range []string{"1", "2"} {
		if g, floor, ok := r.pair("highest"+over, gateway, bareCaddy); ok {
			times := g.CPU / floor.CPU
			v.add(times < 1, "CPU a delivery at saturation: below the bare handler's (HTTP/"+over+")", "%.2f x", times)
		}
	}
	if g, ok := r.of("busy1", gateway); ok {
		all := float64(r.sizes.busy * r.sizes.clients)
		v.add(g.P99 < 150 && g.Rate > 0.98*all, fmt.Sprintf("%d messages/s to %d clients, p99 under 150 ms", r.sizes.busy, r.sizes.clients),
			"%.0f deliveries/s, p99 %.0f ms", g.Rate, g.P99)
	}
}

// verdicts are the lines of a table of targets.
type verdicts struct{ strings.Builder }

func (v *verdicts) add(met bool, target, format string, measured ...any) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	fmt.Fprintf(v, "| %s | %s | %s |\n", target, fmt.Sprintf(format, measured...), verdict)
}

// atMost has target name the bound, as %v.
func (v *verdicts) atMost(bound, times float64, target string) {
	v.add(times <= bound, fmt.Sprintf(target, bound), "%.2f x", times)
}

// pair returns the medians of two peers in a scenario, and whether both were measured.
func (r *report) pair(name string, who, other peer) (a, b figures, ok bool) {
	a, measured := r.of(name, who)
	b, otherToo := r.of(name, other)
	return a, b, measured && otherToo
}

// The marks between which a document holds the report.
const (
	reportBegin = "<!-- report: begin -->\n"
	reportEnd   = "<!-- report: end -->\n"
)

func (r *report) putInto(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(reportBegin))
	_, after, closed := bytes.Cut(rest, []byte(reportEnd))
	if !found || !closed {
		return fmt.Errorf("putting the report into %q: it has no marks", file)
	}
	var b strings.Builder
	b.Write(before)
	targets, _ := r.targets()
	fmt.Fprintf(&b, "%s\n%s\n\n%s\n", reportBegin, machine(), targets)
	for _, t := range r.tables {
		b.WriteString(t.markdown() + "\n")
	}
	b.WriteString(reportEnd)
	b.Write(after)
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// machine says where the figures are from.
func machine() string {
	model := "unknown CPU"
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("%s, %d cores, %s.", model, runtime.NumCPU(), runtime.Version())
}
