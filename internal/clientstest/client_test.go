//go:build clients && linux

package clientstest

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// client is one column of the table of docs/clients.md.
type client struct {
	column string
	block  blockID
	bare   string // code that only uses the library, in harness/bare; "" where there is none
	start  func(t *testing.T, f *front, code string)
	url    string // the gateway's in the code, "" if that is the page's
	reads  bool   // reports each chunk that it has read
}

const literalURL = "http://localhost:8088/events"

var clients = []client{
	{column: "`redis-sse.js`", block: listenClient, start: startPage, reads: true},
	{column: "`EventSource`", block: listenBrowser, bare: "eventsource.js", start: startPage},
	{column: "fetch-event-source", block: listenFetch, bare: "fetch-event-source.js", start: startPage, reads: true},
	{
		column: "npm `eventsource`", block: listenNode, bare: "npm-eventsource.mjs", start: startNode, url: literalURL,
		reads: true,
	},
	{column: "httpx", block: listenHTTPX, start: startPython, url: literalURL},
}

// clientOf is the client that a block is of.
func clientOf(block blockID) client {
	return clients[slices.IndexFunc(clients, func(c client) bool { return c.block == block })]
}

// run starts the client's block, or its bare library, as a client of the front.
func (c client) run(t *testing.T, f *front, bare bool) {
	t.Helper()
	var oldNew []string
	if c.url != "" {
		oldNew = []string{c.url, f.server.URL + "/events"}
	}
	f.change(func() { f.evidence = c.reads })
	if !bare {
		c.start(t, f, code(t, c.block, oldNew...))
		return
	}
	text, err := os.ReadFile(filepath.Join("harness", "bare", c.bare))
	if err != nil {
		t.Fatal(err)
	}
	c.start(t, f, replaced(t, string(text), oldNew...))
}

func startPage(t *testing.T, f *front, code string) {
	t.Helper()
	f.change(func() { f.code = code })
	openPage(t, f.server.URL+"/")
}

func startNode(t *testing.T, f *front, code string) {
	t.Helper()
	harness, err := filepath.Abs("harness/node.mjs")
	if err != nil {
		t.Fatal(err)
	}
	startReporting(t, f, exec.Command("node", "--import", harness, write(t, moduleDir(t), "listen.mjs", code)))
}

func startPython(t *testing.T, f *front, code string) {
	t.Helper()
	startReporting(t, f, exec.Command(python, "harness/run.py", write(t, t.TempDir(), "listen.py", code)))
}

// startReporting runs a command whose lines on stdout are reports, and whose end is one, too.
func startReporting(t *testing.T, f *front, cmd *exec.Cmd) {
	t.Helper()
	reports, stdout := io.Pipe()
	cmd.Stdout = stdout
	var read sync.WaitGroup
	t.Cleanup(read.Wait) // after the process has been killed
	p := proctest.Start(t, cmd)
	read.Go(func() {
		<-p.Exited() // exec has copied all of its stdout
		_ = stdout.Close()
	})
	read.Go(func() {
		decoder := json.NewDecoder(bufio.NewReader(reports))
		for {
			var r report
			err := decoder.Decode(&r)
			if errors.Is(err, io.EOF) {
				f.change(func() { f.reports = append(f.reports, report{Kind: "stopped"}) })
				return
			}
			if err != nil {
				_ = reports.CloseWithError(err)
				t.Errorf("decoding a report: %v", err)
				return
			}
			f.change(func() { f.reports = append(f.reports, r) })
		}
	})
}
