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
	ratio  bool // to the bare handler's
}

var (
	memory   = column{head: "KiB a stream", of: func(f *figures) *float64 { return &f.KiB }, format: "%.1f", ratio: true}
	opens    = column{head: "opened/s", of: func(f *figures) *float64 { return &f.Opens }, format: "%.0f", ratio: true}
	p50      = column{head: "p50 ms", of: func(f *figures) *float64 { return &f.P50 }, format: "%.1f"}
	p99      = column{head: "p99 ms", of: func(f *figures) *float64 { return &f.P99 }, format: "%.1f"}
	cpu      = column{head: "CPU us/delivery", of: func(f *figures) *float64 { return &f.CPU }, format: "%.2f", ratio: true}
	redisCPU = column{head: "Redis us/delivery", of: func(f *figures) *float64 { return &f.Redis }, format: "%.2f"}
	loadCPU  = column{head: "client core", of: func(f *figures) *float64 { return &f.Load }, format: "%.2f"}
	rate     = column{head: "deliveries/s", of: func(f *figures) *float64 { return &f.Rate }, format: "%.0f", ratio: true}
	bad      = column{head: "lost or disordered", of: func(f *figures) *float64 { return &f.Bad }, format: "%.0f", worst: true}
	conns    = column{head: "Redis connections", of: func(f *figures) *float64 { return &f.Conns }, format: "%.0f", worst: true}

	columns = []column{memory, opens, p50, p99, cpu, redisCPU, loadCPU, rate, bad, conns}
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
	floor := t.medians[bareCaddy]
	for _, who := range t.peers {
		f := t.medians[who]
		fmt.Fprintf(&b, "| %s |", who)
		for _, c := range t.columns {
			fmt.Fprintf(&b, " "+c.format, *c.of(&f))
			if base := *c.of(&floor); c.ratio && who != bareCaddy && base > 0 {
				fmt.Fprintf(&b, " (%.2f x)", *c.of(&f)/base)
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

// targets says how the gateway compares with what it is held to, and whether it
// lost anything. The rest depends on the machine.
func (r *report) targets() (text string, lostAny bool) {
	var v verdicts
	if !r.sizes.quick {
		r.judgeFigures(&v)
	}
	lost, conns := 0.0, 0.0
	for _, t := range r.tables {
		g := t.medians[gateway]
		lost, conns = lost+g.Bad, max(conns, g.Conns)
	}
	v.add(lost == 0, "none lost, doubled or out of order, no gap, in any run", "%.0f", lost)
	v.add(conns <= 5, "Redis connections of the gateway: at most 5", "%.0f", conns)
	return "| target | measured | |\n|---|---|---|\n" + v.String(), lost > 0
}

// judgeFigures compares with the floor of the same run.
func (r *report) judgeFigures(v *verdicts) {
	for _, over := range []string{"1", "2"} {
		if g, floor, ok := r.pair("idle" + over); ok {
			more := g.KiB - floor.KiB
			v.add(more <= 6, "idle memory: at most the bare handler's + 6 KiB (HTTP/"+over+")", "%+.1f KiB", more)
		}
		if g, floor, ok := r.pair("steady" + over); ok {
			times := g.CPU / floor.CPU
			v.add(times <= 1.15, fmt.Sprintf("CPU a delivery at %d messages/s: at most 1.15 x (HTTP/%s)", r.sizes.steady, over), "%.2f x", times)
		}
		if g, floor, ok := r.pair("highest" + over); ok {
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

func (r *report) pair(name string) (g, floor figures, ok bool) {
	g, ok = r.of(name, gateway)
	floor, _ = r.of(name, bareCaddy)
	return g, floor, ok
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
