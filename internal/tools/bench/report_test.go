//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMediansButTheWorstLoss(t *testing.T) {
	got := medianOf([]figures{{CPU: 3, Bad: 0}, {CPU: 1, Bad: 7}, {CPU: 2, Bad: 0}})
	if got.CPU != 2 || got.Bad != 7 {
		t.Errorf("got %+v", got)
	}
}

// reportOf is a report of one round in which the bare handler needs 10.
func reportOf(gatewayNeeds figures) *report {
	r := &report{sizes: fullSizes}
	for _, s := range scenarios(fullSizes) {
		floor := figures{KiB: 40, CPU: 10}
		r.tables = append(r.tables, table{s, map[peer]figures{gateway: gatewayNeeds, bareCaddy: floor}})
	}
	return r
}

func TestTargets(t *testing.T) {
	good := figures{KiB: 45, CPU: 9, P99: 149, Rate: 300_000, Conns: 5}
	if text, lost := reportOf(good).targets(); strings.Contains(text, "missed") || lost {
		t.Errorf("all are met, got\n%s", text)
	}
	for name, change := range map[string]func(*figures){
		"idle memory":       func(f *figures) { f.KiB = 46.1 },
		"messages/s":        func(f *figures) { f.CPU = 11.6 },
		"at saturation":     func(f *figures) { f.CPU = 10 },
		"p99 under 150 ms":  func(f *figures) { f.P99 = 150 },
		"300 messages/s":    func(f *figures) { f.Rate = 290_000 },
		"none lost":         func(f *figures) { f.Bad = 1 },
		"Redis connections": func(f *figures) { f.Conns = 6 },
	} {
		f := good
		change(&f)
		text, lost := reportOf(f).targets()
		missed := ""
		for line := range strings.Lines(text) {
			if strings.Contains(line, "missed") {
				missed += line
			}
		}
		if !strings.Contains(missed, name) || lost != (f.Bad > 0) {
			t.Errorf("%s: got\n%s", name, text)
		}
	}
}

func TestPutIntoADocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write(t, file, "# Before\n"+reportBegin+"old\n"+reportEnd+"After.\n")
	if err := reportOf(figures{CPU: 9}).putInto(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "# Before\n"+reportBegin) || !strings.HasSuffix(got, reportEnd+"After.\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, "| 9.00 (0.90 x) |") {
		t.Errorf("got\n%s", got)
	}
	write(t, file, "no marks")
	if err := reportOf(figures{}).putInto(file); err == nil {
		t.Error("a document without marks was written")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownScenariosAndRoundsAreErrors(t *testing.T) {
	if _, err := newPlan(fullSizes, 1, "steady1,nothing"); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("got %v", err)
	}
	if _, err := newPlan(fullSizes, 0, ""); err == nil {
		t.Error("no round at all was accepted")
	}
	p, err := newPlan(fullSizes, 1, "steady1,idle2")
	if err != nil || len(p.scenarios) != 2 {
		t.Errorf("got %v, %v", p, err)
	}
}
