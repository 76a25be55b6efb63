package main

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

const file = "../grafana-dashboard.json"

func TestTheFileIsWhatThisPrints(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what this module makes: go run . >%s", file, file)
	}
}

// Grafana's own types take it, with nothing in it that they do not know.
func TestTheFileIsADashboard(t *testing.T) {
	known := cog.NewRuntime() // but not all of Grafana's, which take a minute to compile
	known.RegisterDataqueryVariant(prometheus.VariantConfig())
	known.RegisterPanelcfgVariant(stat.VariantConfig())
	known.RegisterPanelcfgVariant(timeseries.VariantConfig())
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard.Dashboard
	if err := strictly(&d, text); err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	for from, to := range map[string]string{`"refresh"`: `"refreshes"`, `"legendFormat"`: `"legend"`, `"fillOpacity"`: `"opacity"`} {
		if err := strictly(new(dashboard.Dashboard), bytes.Replace(text, []byte(from), []byte(to), 1)); err == nil {
			t.Errorf("%s in the place of %s is taken", to, from)
		}
	}
}

// strictly decodes what has no field that the SDK does not know. Of one without a fault the SDK returns an error, too: an empty one.
func strictly(d *dashboard.Dashboard, text []byte) error {
	err := d.UnmarshalJSONStrict(text)
	if errs, several := errors.AsType[cog.BuildErrors](err); several && len(errs) == 0 {
		return nil
	}
	return err
}

// A row that is not full leaves a hole, and panels that overlap hide each other.
func TestPanelsFitTheGrid(t *testing.T) {
	built, err := build()
	if err != nil {
		t.Fatal(err)
	}
	taken := map[[2]uint32]string{}
	var titles []string
	for _, either := range built.Panels {
		p := either.Panel
		if p == nil {
			continue
		}
		if slices.Contains(titles, *p.Title) {
			t.Errorf("two panels are called %q", *p.Title)
		}
		titles = append(titles, *p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]uint32{x, y}]; other != "" || x >= 24 {
					t.Errorf("%q is at %d, %d, where the grid ends or %q is", *p.Title, x, y, other)
				}
				taken[[2]uint32{x, y}] = *p.Title
			}
		}
	}
}
