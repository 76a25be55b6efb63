package aitest

import (
	"maps"
	"slices"
	"testing"
)

const fullText = "abcdef"

// whole is a reading of which nothing is to be said.
var whole = reading{published: fullText, text: fullText, status: "stop"}

func TestCells(t *testing.T) {
	for want, change := range map[string]func(r *reading){
		"whole":                func(*reading) {},
		"whole, asked again":   func(r *reading) { r.back = []string{"shown", "app"} },
		"whole, when shown":    func(r *reading) { r.back = []string{"shown"} },
		"doubled, asked again": func(r *reading) { r.text, r.back = "abc"+fullText, []string{"app"} },
		"`gap`, goes on":       func(r *reading) { r.lost, r.gaps = true, []string{"gap", "gap"} },
		"`gap`, whole":         func(r *reading) { r.gaps = []string{"gap"} },
		"`stop`":               func(r *reading) { r.stopped = true },
		"`Error: over`":        func(r *reading) { r.broken, r.text, r.err = true, "abc", "Error: over" },
		"`gap`, `Error: over`": func(r *reading) { r.broken, r.gaps, r.err, r.lost = true, []string{"gap"}, "Error: over", true },
		"nothing: 204":         func(r *reading) { r.text, r.status = "abc", "nothing" },
	} {
		r := whole
		change(&r)
		if got, err := r.cell(); got != want || err != nil {
			t.Errorf("%+v: got %q, %v, want %q", r, got, err, want)
		}
	}
}

// What nobody may do is no cell, so that no table can say that it is well.
func TestAPartIsNotTheWhole(t *testing.T) {
	for name, change := range map[string]func(r *reading){
		"cut short, and taken as finished":         func(r *reading) { r.text = "abc" },
		"a hole":                                   func(r *reading) { r.text = "abef" },
		"a hole that was told elsewhere":           func(r *reading) { r.text, r.gaps = "abef", []string{"gap"} },
		"what Redis did not take, and no gap":      func(r *reading) { r.lost = true },
		"finished without an end":                  func(r *reading) { r.status = "none" },
		"an error, and text that nobody published": func(r *reading) { r.broken, r.text, r.err = true, "xyz", "Error: over" },
		"an error, and nothing is missing":         func(r *reading) { r.text, r.err = "abc", "Error: over" },
		"a device that was not run":                func(r *reading) { r.broken, r.status, r.err = true, statusBroken, "no" },
		"a 204, and a hole":                        func(r *reading) { r.text, r.status = "abef", "nothing" },
	} {
		r := whole
		change(&r)
		if got, err := r.cell(); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}

func TestATableIsReadAsItIsWritten(t *testing.T) {
	clients, cases := []string{"a", "b", "c"}, []string{"POST", "cut"}
	table := tableOf(clients, cases, [][]string{{"whole", "x"}, {"whole", "x"}, {"whole", "y"}})
	want := "| client | POST | cut |\n| --- | --- | --- |\n| a<br>b | whole | x |\n| c | whole | y |\n"
	if table != want {
		t.Errorf("got\n%swant\n%s", table, want)
	}
	got := cellsOf(table)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, clients) {
		t.Errorf("it has the clients %q, want %q", names, clients)
	}
	if got := cellsOf(table + "| d | whole |\n"); got["d"] != nil {
		t.Errorf("it reads %q of a row that lacks a cell", got["d"])
	}
	for client, cut := range map[string]string{"a": "x", "b": "x", "c": "y"} {
		if row := map[string]string{"POST": "whole", "cut": cut}; !maps.Equal(got[client], row) {
			t.Errorf("%s: got %q, want %q", client, got[client], row)
		}
	}
}
