//go:build clients && linux

package clientstest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is fenced code of the README.
type block struct {
	heading string // of its section
	lang    string
	code    string
}

// blockID names one block: the only one of its section in a language that has a text.
type blockID struct{ heading, lang, has string }

// The blocks, all of which are run.
var (
	publishShell  = blockID{"Publish", "sh", "redis-cli"}
	publishPython = blockID{"Publish", "python", "import json, redis"}
	publishNode   = blockID{"Publish", "js", `from "redis"`}
	publishPHP    = blockID{"Publish", "php", "new Redis"}
	publishRuby   = blockID{"Publish", "ruby", `require "redis"`}
	publishGo     = blockID{"Publish", "go", "redis.NewClient"}

	listenBrowser = blockID{"Listen", "js", "sessionStorage"}
	listenFetch   = blockID{"Listen", "js", `from "@microsoft/fetch-event-source"`}
	listenNode    = blockID{"Listen", "js", `from "eventsource"`}
	listenHTTPX   = blockID{"Listen", "python", "httpx.stream"}
)

var allBlocks = []blockID{
	publishShell, publishPython, publishNode, publishPHP, publishRuby, publishGo,
	listenBrowser, listenFetch, listenNode, listenHTTPX,
}

func (id blockID) is(b block) bool {
	return b.heading == id.heading && b.lang == id.lang && strings.Contains(b.code, id.has)
}

// readme returns the lines of the README.
func readme(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// readmeBlocks returns the fenced blocks of the sections that are run.
func readmeBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	heading := ""
	var open *block
	for _, line := range readme(t) {
		lang, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open != nil:
			if slices.Contains([]string{"Publish", "Listen"}, open.heading) {
				blocks = append(blocks, *open)
			}
			open = nil
		case fence:
			open = &block{heading: heading, lang: lang}
		case open != nil:
			open.code += line + "\n"
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
		}
	}
	return blocks
}

// code returns a block with each text of its that names the world outside replaced: old, new, old, new ... A text that is not
// there ends the test.
func code(t *testing.T, id blockID, oldNew ...string) string {
	t.Helper()
	var found []block
	for _, b := range readmeBlocks(t) {
		if id.is(b) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the README has %d blocks %+v, want one", len(found), id)
	}
	return replaced(t, found[0].code, oldNew...)
}

func replaced(t *testing.T, text string, oldNew ...string) string {
	t.Helper()
	for pair := range slices.Chunk(oldNew, 2) {
		if n := strings.Count(text, pair[0]); n != 1 {
			t.Fatalf("there are %d of %q, want one, in:\n%s", n, pair[0], text)
		}
		text = strings.Replace(text, pair[0], pair[1], 1)
	}
	return text
}

func TestEveryBlockIsRun(t *testing.T) {
	for _, b := range readmeBlocks(t) {
		if !slices.ContainsFunc(allBlocks, func(id blockID) bool { return id.is(b) }) {
			t.Errorf("nothing runs this block under %q, %s:\n%s", b.heading, b.lang, b.code)
		}
	}
	for _, id := range allBlocks {
		code(t, id)
	}
}

var tableRow = regexp.MustCompile(`^\|.*\|$`)

// readmeTable returns the table of what clients do: cells by row and column.
func readmeTable(t *testing.T) map[string]map[string]string {
	t.Helper()
	var columns []string
	table := map[string]map[string]string{}
	for _, line := range readme(t) {
		if !tableRow.MatchString(line) {
			columns = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if columns == nil {
			columns = cells
			continue
		}
		if columns[1] != "`EventSource`" || strings.HasPrefix(cells[0], "--") {
			continue
		}
		row := map[string]string{}
		for i, cell := range cells[1:] {
			row[columns[i+1]] = cell
		}
		table[cells[0]] = row
	}
	return table
}
