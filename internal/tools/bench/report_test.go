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

// reportOf is a report of one round.
func reportOf(found map[peer]figures) *report {
	r := &report{sizes: fullSizes}
	for _, s := range scenarios(fullSizes) {
		r.tables = append(r.tables, table{s, found})
	}
	return r
}

// justMet are figures with which each target is met, and no better.
func justMet() map[peer]figures {
	return map[peer]figures{
		gateway:    {KiB: 4, CPU: 8.5, P99: 15, Rate: 300_000, Conns: 5},
		leanOff:    {KiB: 16, CPU: 11.5, P99: 100, Rate: 300_000, Conns: 5},
		twoCores:   {Rate: 480_000, Cores: 1.8, Conns: 5},
		bareCaddy:  {KiB: 10, CPU: 10},
		nchan:      {KiB: 10},
		nchanRedis: {CPU: 10},
	}
}

func TestTargets(t *testing.T) {
	if text, lost := reportOf(justMet()).targets(); strings.Contains(text, "missed") || lost {
		t.Errorf("all are met, got\n%s", text)
	}
	for _, test := range []struct {
		missed string
		who    peer
		change func(*figures)
	}{
		{"idle memory: at most 0.4 x nchan's (HTTP/1)", gateway, func(f *figures) { f.KiB = 4.1 }},
		{"CPU a delivery at 20 messages/s: at most 0.85 x nchan-redis's (HTTP/1)", nchanRedis, func(f *figures) { f.CPU = 9.9 }},
		{"p99 of small channels beside a crowd: at most 0.15 x lean off's (HTTP/1)", gateway, func(f *figures) { f.P99 = 15.2 }},
		{"p99 of small channels beside a crowd: at most 0.75 x lean off's (HTTP/2)", gateway, func(f *figures) { f.P99 = 76 }},
		{"p99 at 300 messages/s: at most 1 x lean off's (HTTP/1)", leanOff, func(f *figures) { f.P99 = 14 }},
		{"highest rate: at least lean off's (HTTP/1)", leanOff, func(f *figures) { f.Rate = 330_000 }},
		{"highest rate of two cores: at least 1.6 x one's (HTTP/1)", twoCores, func(f *figures) { f.Rate = 470_000 }},
		{"idle memory of lean off: at most the bare handler's + 6 KiB (HTTP/1)", leanOff, func(f *figures) { f.KiB = 16.1 }},
		{"CPU a delivery of lean off at 20 messages/s: at most 1.15 x the bare handler's (HTTP/1)", leanOff, func(f *figures) { f.CPU = 11.6 }},
		{"idle memory: at most the bare handler's + 6 KiB (HTTP/2)", gateway, func(f *figures) { f.KiB = 16.1 }},
		{"CPU a delivery at 20 messages/s: at most 0.9 x the bare handler's (HTTP/2)", gateway, func(f *figures) { f.CPU = 9.1 }},
		{"CPU a delivery at saturation: below the bare handler's (HTTP/1)", gateway, func(f *figures) { f.CPU = 10 }},
		{"CPU a delivery at saturation: below the bare handler's (HTTP/2)", gateway, func(f *figures) { f.CPU = 10 }},
		{"300 messages/s to 1000 clients, p99 under 150 ms", gateway, func(f *figures) { f.P99 = 150 }},
		{"300 messages/s to 1000 clients, p99 under 150 ms", gateway, func(f *figures) { f.Rate = 290_000 }},
		{"none lost, doubled or out of order, no gap, in any run", leanOff, func(f *figures) { f.Bad = 1 }},
		{"Redis connections of the gateway: at most 5", twoCores, func(f *figures) { f.Conns = 6 }},
	} {
		found := justMet()
		f := found[test.who]
		test.change(&f)
		found[test.who] = f
		text, lost := reportOf(found).targets()
		if !missed(text, test.missed) || lost != (f.Bad > 0) {
			t.Errorf("%s: got\n%s", test.missed, text)
		}
	}
}

func missed(text, target string) bool {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| "+target+" |") {
			return strings.Contains(line, "missed")
		}
	}
	return false
}

// A run of some scenarios judges those.
func TestTargetsOfWhatWasMeasured(t *testing.T) {
	r := reportOf(justMet())
	r.tables = r.tables[:1]
	if text, _ := r.targets(); strings.Contains(text, "missed") || strings.Contains(text, "crowd") || strings.Contains(text, "HTTP/2") {
		t.Errorf("got\n%s", text)
	}
}

func TestPutIntoADocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write(t, file, "# Before\n"+reportBegin+"old\n"+reportEnd+"After.\n")
	if err := reportOf(justMet()).putInto(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "# Before\n"+reportBegin) || !strings.HasSuffix(got, reportEnd+"After.\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, "| 8.50 (0.85 x) |") {
		t.Errorf("got\n%s", got)
	}
	write(t, file, "no marks")
	if err := reportOf(nil).putInto(file); err == nil {
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
