//go:build clients && linux

package clientstest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// report is what the code of a client did: apply, refetch, read, or that it stopped.
type report struct{ Kind, Data string }

// answer is what a front does with a request for the stream. Its zero value passes it on.
type answer struct {
	status int           // is the answer, if not 0
	route  string        // of the gateway, if not "streams"
	after  chan struct{} // answered when this is closed, if not nil
}

// visit is one request for the stream.
type visit struct {
	cursor        string // header or query
	authorization string
	came          time.Time
	wait          time.Duration // the answer's retry or Retry-After
	status        int
	route         string   // of the gateway that it was passed on to; "" if it was not
	events        []string // types
	ids           []string // of all events
	ended         bool     // properly
	over          bool
}

// front stands before the gateway, as a proxy of the site. It serves a page with the client's code, and collects what that reports.
// It passes the streams on, loses them, or answers in the gateway's place.
type front struct {
	t       *testing.T
	server  *httptest.Server
	gateway string
	channel string
	code    string   // of the page
	answers []answer // for the first requests

	mu       sync.Mutex
	visits   []*visit
	reports  []report
	changed  chan struct{} // closed and replaced when there is more
	lose     chan struct{} // closed and replaced to lose the streams
	within   bool          // to lose the next stream that has a message after the line with its id
	evidence bool          // and only once the client has reported that it has read it
	command  string        // what the page is to do next: "reload", "hide"
}

func newFront(t *testing.T, g *gateway, channel string, answers ...answer) *front {
	f := &front{
		t: t, gateway: g.url, channel: channel, answers: answers,
		changed: make(chan struct{}), lose: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "harness/page.html") })
	mux.HandleFunc("GET /code.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		f.mu.Lock()
		defer f.mu.Unlock()
		_, _ = io.WriteString(w, f.code)
	})
	mux.HandleFunc("GET /harness/{file...}", func(w http.ResponseWriter, r *http.Request) {
		serveScript(w, r, filepath.Join("harness", r.PathValue("file")))
	})
	mux.HandleFunc("GET /modules/{file...}", func(w http.ResponseWriter, r *http.Request) {
		serveScript(w, r, filepath.Join("node_modules", r.PathValue("file")))
	})
	mux.HandleFunc("GET /"+clientModule, func(w http.ResponseWriter, r *http.Request) {
		serveScript(w, r, filepath.Join(clientDir, clientModule))
	})
	mux.HandleFunc("POST /report", f.report)
	mux.HandleFunc("GET /events", f.stream)
	mux.HandleFunc("HEAD /events", f.asked)
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Sign in</title>")
	})
	f.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		f.loseStreams() // Close waits for them
		f.server.CloseClientConnections()
		f.server.Close()
		if t.Failed() {
			t.Log(f.told())
		}
	})
	return f
}

// serveScript serves a module, also one that is imported without its extension, which is left to bundlers.
func serveScript(w http.ResponseWriter, r *http.Request, path string) {
	if filepath.Ext(path) == "" {
		path += ".js"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/javascript")
	_, _ = w.Write(text)
}

func (f *front) report(w http.ResponseWriter, r *http.Request) {
	var reports []report
	if err := json.NewDecoder(r.Body).Decode(&reports); err != nil {
		f.t.Errorf("decoding a report: %v", err)
		return
	}
	f.change(func() {
		f.reports = append(f.reports, reports...)
		_, _ = io.WriteString(w, f.command)
		f.command = ""
	})
}

// stream answers a request for the stream.
func (f *front) stream(w http.ResponseWriter, r *http.Request) {
	v := &visit{
		cursor: r.Header.Get("Last-Event-ID"), authorization: r.Header.Get("Authorization"), came: time.Now(),
	}
	if v.cursor == "" {
		v.cursor = r.URL.Query().Get("last_event_id")
	}
	var a answer
	var lose chan struct{}
	f.change(func() {
		if n := len(f.visits); n < len(f.answers) {
			a = f.answers[n]
		}
		f.visits = append(f.visits, v)
		lose = f.lose
	})
	defer f.change(func() { v.over = true })
	if a.after != nil {
		select {
		case <-a.after:
		case <-lose:
			return
		}
	}
	if a.status != 0 {
		f.change(func() { v.status = a.status })
		refuse(w, a.status)
		return
	}
	f.pass(w, r, v, a, lose)
}

// asked answers what is no request for the stream, but wants to know how one is answered: as the last one was, by the front or by the
// gateway.
func (f *front) asked(w http.ResponseWriter, r *http.Request) {
	var last visit
	f.change(func() { last = *f.visits[len(f.visits)-1] })
	if last.route == "" {
		refuse(w, cmp.Or(last.status, http.StatusOK)) // it has not been answered yet
		return
	}
	response, err := f.toGateway(r, last.route)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = response.Body.Close()
	w.WriteHeader(response.StatusCode)
}

// toGateway passes a request on.
func (f *front) toGateway(r *http.Request, route string) (*http.Response, error) {
	request := r.Clone(r.Context())
	request.RequestURI = ""
	request.URL, _ = request.URL.Parse(f.gateway + "/" + route + "/" + f.channel + "?" + r.URL.RawQuery)
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
}

// refuse answers with a status. A redirect is to a login page.
func refuse(w http.ResponseWriter, status int) {
	if status == http.StatusFound {
		w.Header().Set("Location", "/login")
	}
	http.Error(w, "from the front", status)
}

// pass passes a stream on until it ends, which it does as it did, or is lost.
func (f *front) pass(w http.ResponseWriter, r *http.Request, v *visit, a answer, lose <-chan struct{}) {
	route := cmp.Or(a.route, "streams")
	f.change(func() { v.route = route })
	response, err := f.toGateway(r, route)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-lose:
			_ = response.Body.Close()
		case <-done:
		}
	}()
	f.change(func() {
		v.status = response.StatusCode
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
			v.wait = time.Duration(seconds) * time.Second
		}
	})
	for key, values := range response.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(response.StatusCode)
	if err := f.copyLines(w, response.Body, v); err != nil {
		panic(http.ErrAbortHandler) // the client sees that the response is not whole
	}
	f.change(func() { v.ended = true })
}

// copyLines copies line by line, and notes what passes once it has.
func (f *front) copyLines(w http.ResponseWriter, body io.Reader, v *visit) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	blank := true // the line before
	for {
		line, err := lines.ReadString('\n')
		_, _ = io.WriteString(w, line)
		if lines.Buffered() == 0 {
			_ = http.NewResponseController(w).Flush()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if blank && name == "id" && f.losesWithin(w, value) { // only a message begins with its id
			return fmt.Errorf("losing the stream after id %s", value)
		}
		f.note(v, name, value, blank)
		blank = line == "\n"
	}
}

func (f *front) note(v *visit, name, value string, first bool) {
	f.change(func() {
		switch name {
		case "event":
			v.events = append(v.events, value)
		case "id":
			v.ids = append(v.ids, value)
			if first {
				v.events = append(v.events, "message")
			}
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				v.wait = time.Duration(ms) * time.Millisecond
			}
		}
	})
}

// losesWithin tells whether the stream is to be lost here, and lets the client have all up to here.
func (f *front) losesWithin(w http.ResponseWriter, id string) bool {
	yes, evidence := false, false
	f.change(func() {
		yes, evidence = f.within, f.evidence
		f.within = false
	})
	if !yes {
		return false
	}
	_ = http.NewResponseController(w).Flush()
	if evidence {
		f.wait("the client to read the id of an event", func() bool {
			return slices.ContainsFunc(f.reported("read"), func(text string) bool { return strings.Contains(text, id) })
		})
	}
	return true
}

// loseStreams breaks the connections of all streams.
func (f *front) loseStreams() {
	f.change(func() {
		close(f.lose)
		f.lose = make(chan struct{})
	})
}

func (f *front) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait returns whether what is told of became true in time.
func (f *front) wait(what string, done func() bool) bool {
	f.t.Helper()
	ok := f.becomes(proctest.Patience, done)
	if !ok {
		f.t.Errorf("waiting for %s: not after %v", what, proctest.Patience)
	}
	return ok
}

// becomes returns whether something became true within a time.
func (f *front) becomes(most time.Duration, done func() bool) bool {
	timeout := time.After(most)
	for {
		f.mu.Lock()
		ok, changed := done(), f.changed
		f.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timeout:
			return false
		}
	}
}

// await is wait for the goroutine of the test, which it ends.
func (f *front) await(what string, done func() bool) {
	f.t.Helper()
	if !f.wait(what, done) {
		f.t.FailNow()
	}
}

// reported returns the data of the reports of a kind. The caller holds the lock.
func (f *front) reported(kind string) (data []string) {
	for _, r := range f.reports {
		if r.Kind == kind {
			data = append(data, r.Data)
		}
	}
	return data
}

// told is what is known, for the message of a test that failed.
func (f *front) told() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for i, v := range f.visits {
		fmt.Fprintf(&b, "  request %d: %+v\n", i+1, *v)
	}
	for _, r := range f.reports {
		if r.Kind != "read" {
			fmt.Fprintf(&b, "  %s %s\n", r.Kind, r.Data)
		}
	}
	return b.String()
}
