//go:build clients && linux

package clientstest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documents whose code is run.
const (
	readmeFile  = "README.md"
	clientsFile = "docs/clients.md"
)

// block is fenced code of a document.
type block struct {
	file    string
	heading string // of its section
	lang    string
	code    string
}

// blockID names one block: the only one of its section of a document in a language that has a text. No other block has that text.
type blockID struct{ file, heading, lang, has string }

// The blocks, all of which are run.
var (
	firstCaddyfile = blockID{readmeFile, "Your first stream", "caddyfile", "http://localhost:8088 {"}
	useCaddyfile   = blockID{readmeFile, "Use it", "caddyfile", "forward_auth"}

	publishShell  = blockID{readmeFile, "Publish", "sh", "redis-cli"}
	publishPython = blockID{readmeFile, "Publish", "python", "import json, redis"}
	publishHTTP   = blockID{readmeFile, "Publish over HTTP", "caddyfile", "redis_sse_publish"}
	publishNode   = blockID{clientsFile, "Publish", "js", `from "redis"`}
	publishPHP    = blockID{clientsFile, "Publish", "php", "new Redis"}
	publishRuby   = blockID{clientsFile, "Publish", "ruby", `require "redis"`}
	publishGo     = blockID{clientsFile, "Publish", "go", "redis.NewClient"}

	listenClient  = blockID{readmeFile, "Listen", "js", "redis-sse.js"}
	listenBrowser = blockID{clientsFile, "EventSource", "js", "new EventSource(url())"}
	listenFetch   = blockID{clientsFile, "fetch-event-source", "js", `from "@microsoft/fetch-event-source"`}
	listenNode    = blockID{clientsFile, "Node", "js", `from "eventsource"`}
	listenHTTPX   = blockID{clientsFile, "Python", "python", "httpx.stream"}
)

var allBlocks = []blockID{
	firstCaddyfile, useCaddyfile,
	publishShell, publishPython, publishHTTP, publishNode, publishPHP, publishRuby, publishGo,
	listenClient, listenBrowser, listenFetch, listenNode, listenHTTPX,
}

func (id blockID) is(b block) bool {
	return b.file == id.file && b.heading == id.heading && b.lang == id.lang && strings.Contains(b.code, id.has)
}

// lines returns those of a document.
func lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// documentBlocks returns the fenced blocks of the documents, but what a console shows.
func documentBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	for _, file := range []string{readmeFile, clientsFile} {
		for _, b := range fileBlocks(t, file) {
			if b.lang != "console" {
				blocks = append(blocks, b)
			}
		}
	}
	return blocks
}

// fileBlocks returns all fenced blocks of a document.
func fileBlocks(t *testing.T, file string) (blocks []block) {
	t.Helper()
	heading := ""
	var open *block
	for _, line := range lines(t, file) {
		lang, fence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case fence && open != nil:
			blocks = append(blocks, *open)
			open = nil
		case fence:
			open = &block{file: file, heading: heading, lang: lang}
		case open != nil:
			open.code += line + "\n"
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
		}
	}
	if open != nil {
		t.Fatalf("%s: the block under %q has no end", file, open.heading)
	}
	return blocks
}

// code returns a block with each text of its that names the world outside replaced: old, new, old, new ... A text that is not
// there ends the test.
func code(t *testing.T, id blockID, oldNew ...string) string {
	t.Helper()
	var found []block
	for _, b := range documentBlocks(t) {
		if id.is(b) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d blocks %+v, want one", len(found), id)
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
	blocks := documentBlocks(t)
	for _, b := range blocks {
		if !slices.ContainsFunc(allBlocks, func(id blockID) bool { return id.is(b) }) {
			t.Errorf("%s: nothing runs this block under %q, %s:\n%s", b.file, b.heading, b.lang, b.code)
		}
	}
	for _, id := range allBlocks {
		code(t, id)
		for _, b := range blocks {
			if strings.Contains(b.code, id.has) && !id.is(b) {
				t.Errorf("%q is in %s under %q, %s; only %+v should have it", id.has, b.file, b.heading, b.lang, id)
			}
		}
	}
}

var tableRow = regexp.MustCompile(`^\|.*\|$`)

// tableHeading is that of the section with the table of what clients do.
const tableHeading = "What each client does"

// clientsTable returns the table: cells by row and column.
func clientsTable(t *testing.T) map[string]map[string]string {
	t.Helper()
	var columns []string
	table := map[string]map[string]string{}
	for _, line := range clientsRows(t) {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if columns == nil {
			columns = cells
			continue
		}
		if strings.HasPrefix(cells[0], "--") {
			continue
		}
		if table[cells[0]] != nil || len(cells) != len(columns) {
			t.Errorf("row %q is there twice, or has %d cells, want %d", cells[0], len(cells), len(columns))
		}
		row := map[string]string{}
		for i, cell := range cells[1:] {
			row[columns[i+1]] = cell
		}
		table[cells[0]] = row
	}
	return table
}

// clientsRows returns the lines of the table, which is the only one of its kind in the documents and stands in its section.
func clientsRows(t *testing.T) (rows []string) {
	t.Helper()
	for _, file := range []string{readmeFile, clientsFile} {
		heading, inTable := "", false
		for _, line := range lines(t, file) {
			if title, ok := strings.CutPrefix(line, "#"); ok {
				heading = strings.TrimLeft(title, "# ")
			}
			switch {
			case !tableRow.MatchString(line):
				inTable = false
			case strings.HasPrefix(line, "| | `redis-sse.js` |"):
				if len(rows) > 0 || file != clientsFile || heading != tableHeading {
					t.Fatalf("there is such a table in %s under %q, want one, in %s under %q", file, heading, clientsFile, tableHeading)
				}
				inTable = true
				rows = append(rows, line)
			case inTable:
				rows = append(rows, line)
			}
		}
	}
	return rows
}
