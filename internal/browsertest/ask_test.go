//go:build browser && linux

package browsertest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// ask is one fetch of a page.
type ask struct {
	Path  string         `json:"path"`
	Init  map[string]any `json:"init,omitempty"`  // fetch's options
	Until string         `json:"until,omitempty"` // of a stream, that it is read up to
}

// answer is what the page got to see.
type answer struct {
	Error   string // if fetch failed
	Status  int
	Type    string            // of the response: basic, cors or opaque
	Headers map[string]string // those a page may read, in lower case
	Body    string
}

// ask has a page of an origin fetch one thing after the other, and returns the answers. The gateway's side is in the page.
func (g *gateway) ask(b browser, origin string, asks ...ask) ([]answer, *page) {
	g.t.Helper()
	text, err := json.Marshal(asks)
	if err != nil {
		g.t.Fatal(err)
	}
	p := g.tab(b, origin+"/ask.html", url.Values{"site": {g.site(g.addr)}, "asks": {string(text)}})
	defer p.close()
	p.awaitType("answer", len(asks))
	answers := make([]answer, len(asks))
	for i, e := range p.events() {
		if err := json.Unmarshal([]byte(e.Data), &answers[i]); err != nil {
			g.t.Fatal(err)
		}
	}
	return answers, p
}

// wantMethods checks what the gateway saw of a page.
func (p *page) wantMethods(want ...string) {
	p.t.Helper()
	var got []string
	for _, v := range p.visits() {
		got = append(got, v.method)
	}
	if !slices.Equal(got, want) {
		p.t.Fatalf("%s: the browser sent %q, want %q", p.name, got, want)
	}
}

// wantRetryAfter checks that a page was told a status, and how many seconds to stay away.
func (g *gateway) wantRetryAfter(a answer, status, least, most int) {
	g.t.Helper()
	after, err := strconv.Atoi(a.Headers["retry-after"])
	if a.Status != status || err != nil || after < least || after > most {
		g.t.Errorf("the page got %+v, want a %d and a Retry-After from %d to %d", a, status, least, most)
	}
}

// wantLogged checks with which status Caddy answered each request for a path that a page made by a method: what a page may not
// read, the access log tells.
func (p *page) wantLogged(g *gateway, method, path string, want ...int) {
	p.t.Helper()
	var got []int
	proctest.Poll(p.t, "the access log of "+path, func() bool {
		got = g.logged(method, path+"?name="+p.name)
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		p.t.Errorf("%s %s of %s was answered with %d, want %d", method, path, p.name, got, want)
	}
}

func (g *gateway) logged(method, uri string) (status []int) {
	for line := range strings.Lines(g.process.Log()) {
		var entry struct {
			Status  int
			Request struct{ Method, URI string }
		}
		if err := json.Unmarshal([]byte(line), &entry); err == nil && entry.Request.Method == method && entry.Request.URI == uri {
			status = append(status, entry.Status)
		}
	}
	return status
}
