//go:build ai && linux

package aitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// The table stands between these lines of the page.
const (
	pageFile   = "../../docs/ai-clients.md"
	tableBegin = "<!-- The table is written by make test-ai UPDATE_GOLDEN=1. -->\n"
	tableEnd   = "<!-- The end of the table. -->\n"
)

// Each client goes through each case, and what it does is what the table of docs/ai-clients.md says.
func TestEachClientInEachCase(t *testing.T) {
	seen := make([][]string, len(clients)) // by client and trial; "" where a trial was not run, or failed
	for i := range seen {
		seen[i] = make([]string, len(trials))
	}
	t.Run("of", func(t *testing.T) {
		for n, tr := range trials {
			t.Run(tr.column, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, tr, n)
				tr.play(w)
				for i, s := range w.seats {
					seen[i][n] = s.cell(tr.breaks)
				}
			})
		}
	})
	compare(t, seen)
}

func newWorld(t *testing.T, tr trial, n int) *world {
	t.Helper()
	w := &world{gateway: newGateway(t, tr.settings)}
	for i, c := range clients {
		w.seats = append(w.seats, &seat{world: w, client: c, answer: fmt.Sprintf("a%d-%d", n, i)})
	}
	return w
}

// cell is what the table is to say of a seat, "" if it did what nobody may.
func (s *seat) cell(broken bool) string {
	s.t.Helper()
	a := s.backend.await(s.answer)
	for _, other := range s.others {
		if cell, err := other.reading(a).cell(); cell != "whole" {
			s.t.Errorf("%s: the first device: %s, %v\n%s", s.name, cell, err, other)
		}
	}
	if _, is := s.device.(inBrowser); is && s.judged.proto != protoNames[s.proto] {
		s.t.Errorf("%s: its page came over %q", s.name, s.judged.proto)
	}
	judged := s.judged.reading(a)
	judged.broken = broken
	cell, err := judged.cell()
	if err != nil {
		s.t.Errorf("%s: %v, %q: %s", s.name, err, a.text.String(), s.judged)
	}
	return cell
}

// withVersions puts the packages' names and versions into a client's name.
func withVersions(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	var installed struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &installed); err != nil {
		t.Fatal(err)
	}
	var oldNew []string
	for alias, version := range installed.Dependencies {
		if of, is := strings.CutPrefix(version, "npm:"); is {
			at := strings.LastIndex(of, "@")
			oldNew = append(oldNew, "{"+alias+"}", of[:at]+" "+of[at+1:])
			continue
		}
		oldNew = append(oldNew, "{"+alias+"}", alias+" "+version)
	}
	return strings.NewReplacer(oldNew...).Replace(name)
}

// compare compares what was seen with the table, or writes that anew.
func compare(t *testing.T, seen [][]string) {
	t.Helper()
	var rows, columns []string
	for _, c := range clients {
		rows = append(rows, withVersions(t, c.name))
	}
	for _, tr := range trials {
		columns = append(columns, tr.column)
	}
	text, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	table, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		t.Fatalf("%s has no table between %q and %q", pageFile, tableBegin, tableEnd)
	}
	if os.Getenv("UPDATE_GOLDEN") == "" {
		defer func() {
			if t.Failed() {
				t.Logf("what they did, which UPDATE_GOLDEN=1 writes:\n%s", tableOf(rows, columns, seen))
			}
		}()
		compareCells(t, cellsOf(table), rows, columns, seen)
		return
	}
	if slices.ContainsFunc(seen, func(cells []string) bool { return slices.Contains(cells, "") }) {
		t.Fatal("only a run of all cases that fails nowhere writes the table")
	}
	page := before + tableBegin + tableOf(rows, columns, seen) + tableEnd + after
	if err := os.WriteFile(pageFile, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compareCells wants the rows and columns of this test in the table, and in each cell what was seen, if anything was.
func compareCells(t *testing.T, committed map[string]map[string]string, rows, columns []string, seen [][]string) {
	t.Helper()
	if got, want := slices.Sorted(maps.Keys(committed)), slices.Sorted(slices.Values(rows)); !slices.Equal(got, want) {
		t.Fatalf("the table has the clients %q, want %q", got, want)
	}
	for i, row := range rows {
		if got, want := slices.Sorted(maps.Keys(committed[row])), slices.Sorted(slices.Values(columns)); !slices.Equal(got, want) {
			t.Fatalf("the table has the cases %q, want %q", got, want)
		}
		for n, column := range columns {
			if got, want := seen[i][n], committed[row][column]; got != "" && got != want {
				t.Errorf("%s, %s: it did %q, the table says %q", row, column, got, want)
			}
		}
	}
}
