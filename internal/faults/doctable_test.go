//go:build linux

package faults

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestEveryFaultHasARowAndEveryRowAFault(t *testing.T) {
	var rows, faults, known []string
	for _, p := range phases() {
		known = append(known, p.key)
	}
	for _, r := range table {
		rows = append(rows, r.fault)
		for p := range r.out {
			if !slices.Contains(known, p) || p == steadily.key {
				t.Errorf("%q is left out of %q", r.fault, p)
			}
		}
	}
	for _, f := range all() {
		faults = append(faults, f.key)
	}
	for n, named := range List {
		if n >= len(table) || table[n].fault != named.Key {
			t.Errorf("row %d is not of %q", n, named.Key)
		}
	}
	for _, f := range faults {
		if !slices.Contains(rows, f) {
			t.Errorf("the fault %q has no row", f)
		}
	}
	for _, r := range rows {
		if !slices.Contains(faults, r) {
			t.Errorf("the row %q has no fault", r)
		}
	}
	for _, keys := range [][]string{rows, faults} {
		slices.Sort(keys)
		if twice := slices.Compact(slices.Clone(keys)); len(twice) != len(keys) {
			t.Errorf("a key is there twice: %q", keys)
		}
	}
}

func TestTheDocumentationHasTheTable(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	if want := documented(); !strings.Contains(string(text), want) {
		t.Errorf("doc.go should have:\n%s", want)
	}
}

// documented is the part of the package's documentation that is made from the table, as gofmt has it.
func documented() string {
	var text strings.Builder
	line := func(format string, args ...any) {
		text.WriteString(strings.TrimRight("//"+fmt.Sprintf(format, args...), " ") + "\n")
	}
	line(" # Phases")
	line("")
	for _, p := range phases() {
		line("   - %s: %s", p.key, p.title)
	}
	line("")
	line(" # Which pairs run")
	line("")
	line(" The short form has every fault under steady traffic, the long one the pairs with an x. A number is why a pair is left out.")
	line("")
	header := fmt.Sprintf("%-24s", "")
	for _, p := range phases() {
		header += "  " + p.key
	}
	line("\t%s", header)
	var reasons []string
	for _, r := range table {
		cells := fmt.Sprintf("%-24s", r.fault)
		for _, p := range phases() {
			mark := "x"
			if why := r.out[p.key]; why != "" {
				if !slices.Contains(reasons, why) {
					reasons = append(reasons, why)
				}
				mark = fmt.Sprint(1 + slices.Index(reasons, why))
			}
			cells += fmt.Sprintf("  %-*s", len(p.key), mark)
		}
		line("\t%s", cells)
	}
	line("")
	line(" Why:")
	for n, why := range reasons {
		line("  %d. %s", n+1, why)
	}
	return text.String()
}
