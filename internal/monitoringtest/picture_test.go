//go:build linux && monitoring

package monitoringtest

import (
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// PICTURE names a file, seen from the repository's top, for a picture of what all charts of the dashboard had in this run.
const pictureVariable = "PICTURE"

// Sizes in the picture, in its own units.
const (
	across        = 3 // charts beside each other
	wide, high    = 400, 190
	left, right   = 52, 12
	top, bottom   = 30, 44
	legendLetters = 62 // of a legend, in one line
	mostSeries    = 8  // of one chart
	farAbove      = 4  // so many times what there is: a limit that is left out
)

var colors = []string{"#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf"}

// drawn is a chart with its data.
type drawn struct {
	title  string
	unit   string
	series []curve
}

type curve struct {
	name   string
	values []sample
	most   float64
}

// picture draws each chart as the run left it, if somebody wants to have it.
func picture(t *testing.T, p *prometheus) {
	file := os.Getenv(pictureVariable)
	if file == "" {
		return
	}
	end := time.Now()
	var all []drawn
	for _, c := range readDashboard(t).charts() {
		if c.Type == "timeseries" {
			all = append(all, p.drawn(c))
		}
	}
	rows := (len(all) + across - 1) / across
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="10">`+"\n", across*wide, rows*high)
	fmt.Fprintf(&svg, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	for i, d := range all {
		fmt.Fprintf(&svg, `<g transform="translate(%d %d)">`+"\n", i%across*wide, i/across*high)
		d.draw(&svg, p.began, end)
		svg.WriteString("</g>\n")
	}
	svg.WriteString("</svg>\n")
	if !filepath.IsAbs(file) {
		file = filepath.Join("../..", file)
	}
	if err := os.WriteFile(file, []byte(svg.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has %d charts in %d bytes", file, len(all), svg.Len())
}

// drawn gets a chart's data: of its series those that are ever more than 0, since a curve along the bottom tells nothing.
func (p *prometheus) drawn(c panel) drawn {
	p.t.Helper()
	d := drawn{title: c.Title, unit: c.FieldConfig.Defaults.Unit}
	for _, target := range c.Targets {
		for _, s := range p.since(substituted(p.t, target.Expr)) {
			k := curve{name: legend(target.LegendFormat, s.Labels)}
			for _, v := range s.Values {
				if !math.IsNaN(v.value) && !math.IsInf(v.value, 0) {
					k.values, k.most = append(k.values, v), max(k.most, v.value)
				}
			}
			if k.most > 0 {
				d.series = append(d.series, k)
			}
		}
	}
	d.series = slices.DeleteFunc(d.series, func(k curve) bool { return strings.HasPrefix(k.name, "limit") && k.most > farAbove*d.most() })
	d.series = d.series[:min(len(d.series), mostSeries)]
	return d
}

// most is the highest value of all curves but limits.
func (d drawn) most() (most float64) {
	for _, k := range d.series {
		if !strings.HasPrefix(k.name, "limit") {
			most = max(most, k.most)
		}
	}
	return most
}

// legend is what Grafana calls a series, which leaves out a label that the series has not.
func legend(format string, labels map[string]string) string {
	return strings.TrimSpace(legendLabel.ReplaceAllStringFunc(format, func(label string) string { return labels[strings.Trim(label, "{}")] }))
}

var legendLabel = regexp.MustCompile(`{{\w+}}`)

// draw puts a chart into its corner: title, what its top is, curves, and their names.
func (d drawn) draw(svg *strings.Builder, from, to time.Time) {
	most := 0.0
	for _, k := range d.series {
		most = max(most, k.most)
	}
	fmt.Fprintf(svg, `<text x="%d" y="18" font-size="12" font-weight="bold">%s</text>`+"\n", left, html.EscapeString(d.title))
	fmt.Fprintf(svg, `<path d="M%d %dV%dH%d" fill="none" stroke="#999"/>`+"\n", left, top, high-bottom, wide-right)
	fmt.Fprintf(svg, `<text x="%d" y="%d" text-anchor="end">%s</text><text x="%d" y="%d" text-anchor="end">0</text>`+"\n",
		left-4, top+8, number(most, d.unit), left-4, high-bottom)
	x := func(at float64) float64 {
		return left + (wide-left-right)*(at-float64(from.UnixMilli())/1000)/to.Sub(from).Seconds()
	}
	for i, k := range d.series {
		var path strings.Builder
		step := max(1, len(k.values)/100)
		for n := 0; n < len(k.values); n += step {
			fmt.Fprintf(&path, " %.0f,%.0f", x(k.values[n].at), high-bottom-(high-bottom-top)*k.values[n].value/most)
		}
		fmt.Fprintf(svg, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", colors[i], path.String()[1:])
	}
	d.names(svg)
}

// names writes what the curves are called below them, in lines of a bounded length.
func (d drawn) names(svg *strings.Builder) {
	line, letters := 0, 0
	open := func() { fmt.Fprintf(svg, `<text x="%d" y="%d">`, left, high-bottom+14+12*line) }
	open()
	for i, k := range d.series {
		if letters += len(k.name) + 2; letters > legendLetters && line < 1 {
			svg.WriteString("</text>\n")
			line, letters = line+1, len(k.name)
			open()
		}
		if letters > legendLetters {
			break
		}
		fmt.Fprintf(svg, `<tspan fill="%s">%s  </tspan>`, colors[i], html.EscapeString(k.name))
	}
	svg.WriteString("</text>\n")
}

// number is a short text for what the top of a chart stands for.
func number(n float64, unit string) string {
	switch {
	case unit == "s" && n < 1:
		return fmt.Sprintf("%.3g ms", n*1000)
	case unit == "s":
		return fmt.Sprintf("%.3g s", n)
	case n >= 1<<20 && strings.HasPrefix(strings.ToLower(unit), "b"):
		return fmt.Sprintf("%.3g MiB", n/(1<<20))
	case n >= 1<<10 && strings.HasPrefix(strings.ToLower(unit), "b"):
		return fmt.Sprintf("%.3g KiB", n/(1<<10))
	case n >= 1000:
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.3g", n)
}
