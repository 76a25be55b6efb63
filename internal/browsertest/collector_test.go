//go:build browser && linux

package browsertest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// collector takes what pages report and, by the gateway's forward_auth, each request for a stream, or to publish, as the browser
// sent it.
type collector struct {
	t      *testing.T
	server *httptest.Server
	denies atomic.Int32  // the status that requests for a stream get instead of one; 0 if they get it
	back   chan struct{} // closed when pages that are away come back

	mu      sync.Mutex
	events  map[string][]event // by page
	visits  map[string][]visit
	held    chan struct{} // closed when pages' requests go on; nil if none waits
	changed chan struct{} // closed and replaced when there is more
}

// visit is one request for a stream, or to publish, as the gateway had it.
type visit struct {
	at          time.Time
	method      string
	lastEventID string      // header or query
	proto       string      // as Caddy names it
	conn        string      // the browser's address, which tells connections apart
	header      http.Header // all of it
}

func newCollector(t *testing.T) *collector {
	c := &collector{t: t, events: map[string][]event{}, visits: map[string][]visit{}, changed: make(chan struct{}), back: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /report", c.report)
	mux.HandleFunc("GET /visit", c.visit)
	mux.HandleFunc("GET /back", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-c.back:
		case <-r.Context().Done():
		}
	})
	c.server = httptest.NewServer(mux)
	t.Cleanup(c.server.Close)
	return c
}

func (c *collector) addr() string { return strings.TrimPrefix(c.server.URL, "http://") }

func (c *collector) report(w http.ResponseWriter, r *http.Request) {
	var events []event
	if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
		c.t.Errorf("decoding a report: %v", err)
		return
	}
	c.add(func() {
		name := r.URL.Query().Get("name")
		c.events[name] = append(c.events[name], events...)
	})
	w.WriteHeader(http.StatusNoContent)
}

// visit is asked by the gateway before it serves a stream.
func (c *collector) visit(w http.ResponseWriter, r *http.Request) {
	asked, err := url.Parse(r.Header.Get("X-Forwarded-Uri"))
	if err != nil {
		c.t.Errorf("parsing what was asked for: %v", err)
		return
	}
	v := visit{
		at: time.Now(), method: r.Header.Get("X-Forwarded-Method"), lastEventID: cmp.Or(r.Header.Get("Last-Event-ID"), asked.Query().Get("last_event_id")),
		proto: r.Header.Get("X-Test-Proto"), conn: r.Header.Get("X-Test-Conn"), header: r.Header.Clone(),
	}
	c.add(func() {
		name := asked.Query().Get("name")
		c.visits[name] = append(c.visits[name], v)
	})
	if status := int(c.denies.Load()); status != 0 {
		w.Header().Set("Location", "/login") // what a redirect leads to
		w.WriteHeader(status)
	}
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if held == nil || !asked.Query().Has("name") {
		return
	}
	select {
	case <-held:
	case <-r.Context().Done():
	}
}

// hold has requests of pages wait, once they are seen, for what is returned to be called.
func (c *collector) hold() (release func()) {
	held := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
	release = sync.OnceFunc(func() {
		close(held)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.held = nil
	})
	c.t.Cleanup(release)
	return release
}

func (c *collector) add(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// look returns what is known of a page, and what is closed when there is more.
func (c *collector) look(name string) ([]event, []visit, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events[name]), slices.Clone(c.visits[name]), c.changed
}

// page is one tab on the test page.
type page struct {
	t         *testing.T
	collector *collector
	name      string
	close     func()
}

// await returns when what the page reported is as asked for.
func (p *page) await(what string, done func(events []event) bool) {
	p.t.Helper()
	timeout := time.After(proctest.Patience)
	for {
		events, visits, changed := p.collector.look(p.name)
		if done(events) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			p.t.Fatalf("%s: waiting for %s: not after %v\n%s", p.name, what, proctest.Patience, told(events, visits))
		}
	}
}

// awaitVisits returns when the gateway has seen n requests of the page.
func (p *page) awaitVisits(n int) {
	p.t.Helper()
	p.await(fmt.Sprintf("request %d", n), func([]event) bool { return len(p.visits()) >= n })
}

// awaitType returns when the page has reported at least n events of a type.
func (p *page) awaitType(kind string, n int) {
	p.t.Helper()
	p.await(fmt.Sprintf("%d of %s", n, kind), func(events []event) bool { return count(events, kind) >= n })
}

// awaitMessage returns when a message has reached the page.
func (p *page) awaitMessage(data string) {
	p.t.Helper()
	p.await("message "+data, func(events []event) bool {
		return slices.ContainsFunc(events, func(e event) bool { return e.Type == "message" && e.Data == data })
	})
}

func (p *page) events() []event {
	events, _, _ := p.collector.look(p.name)
	return events
}

func (p *page) visits() []visit {
	_, visits, _ := p.collector.look(p.name)
	return visits
}

func count(events []event, kind string) (n int) {
	for _, e := range events {
		if e.Type == kind {
			n++
		}
	}
	return n
}

// told is what is known of a page, for the message of a test that failed.
func told(events []event, visits []visit) string {
	var b strings.Builder
	for _, e := range events[max(0, len(events)-40):] {
		fmt.Fprintf(&b, "  %+v\n", e)
	}
	for _, v := range visits {
		fmt.Fprintf(&b, "  asked for: %s %s, last event id %q, %s\n", v.method, v.proto, v.lastEventID, v.at.Format(time.StampMilli))
	}
	return b.String()
}
