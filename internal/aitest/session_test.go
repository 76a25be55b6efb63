//go:build ai && linux

package aitest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/redis-sse/caddy-redis-sse/internal/browsers"
	"github.com/redis-sse/caddy-redis-sse/internal/proctest"
)

// session is one device that reads an answer. All that it has told so far is known by its name, which is unique.
type session struct {
	name   string
	answer string

	mu        sync.Mutex
	shown     int      // so many characters of the answer
	gaps      []string // the SDK's words for each gap
	back      []string // who asked again after a lost connection: "app", or "shown" if the SDK did when the page was shown
	notes     []string // all that it told but how much it shows
	refreshed bool
	proto     string        // of a page's HTTP, as the browser names it
	outcome   *outcome      // nil before it is done
	changed   chan struct{} // closed and replaced when there is more
}

// outcome is how a session ended, as an app sees it.
type outcome struct {
	Text   string // see reading for these
	Status string
	Error  string
}

// options say what the device does by itself.
type options struct {
	Joins     bool `json:"joins,omitempty"`     // it looks for an answer that is in the works
	StopAt    int  `json:"stopAt,omitempty"`    // from so many characters on, it has the answer stopped
	RefreshAt int  `json:"refreshAt,omitempty"` // from so many characters on, it is refreshed: the page is loaded again
}

var (
	sessions     sync.Map // by name
	sessionCount atomic.Int64
)

func newSession(client, answer string) *session {
	s := &session{name: fmt.Sprintf("%d %s", sessionCount.Add(1), client), answer: answer, changed: make(chan struct{})}
	sessions.Store(s.name, s)
	return s
}

// told is one line of the driver in Node, or one report of a page.
type told struct {
	Name  string
	Kind  string
	Value json.RawMessage
}

// take keeps what a session has told.
func take(line []byte) error {
	var said told
	if err := json.Unmarshal(line, &said); err != nil {
		return fmt.Errorf("decoding what a session told: %w: %s", err, line)
	}
	found, ok := sessions.Load(said.Name)
	if !ok {
		return fmt.Errorf("there is no session %q", said.Name)
	}
	s := found.(*session)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.keep(said.Kind, said.Value); err != nil {
		return fmt.Errorf("decoding %s: %w", line, err)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *session) keep(kind string, value json.RawMessage) error {
	var text string
	switch kind {
	case "text":
		return json.Unmarshal(value, &s.shown)
	case "done":
		if s.outcome != nil {
			s.outcome = &outcome{Status: statusBroken, Error: "it is done again"}
			return nil
		}
		s.outcome = &outcome{}
		return json.Unmarshal(value, s.outcome)
	case "broken":
		s.outcome = &outcome{Status: statusBroken, Error: string(value)}
		return nil
	case "refreshed":
		s.refreshed, s.shown = true, 0
		s.gaps, s.back = nil, nil
		return nil
	}
	if err := json.Unmarshal(value, &text); err != nil {
		return err
	}
	s.notes = append(s.notes, kind+" "+text)
	switch kind {
	case "gap":
		s.gaps = append(s.gaps, text)
	case "back":
		s.back = append(s.back, text)
	case "proto":
		s.proto = cmp.Or(text, s.proto) // of a page that came from a cache it is none
	}
	return nil
}

// await returns when a session is as asked for, or is done.
func (s *session) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		ok, changed := s.outcome != nil || done(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("session %s: waiting for %s: not after %v\n%s", s.name, what, patience, s)
		}
	}
}

func (s *session) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("it shows %d characters, was refreshed: %t\n%s\n", s.shown, s.refreshed, strings.Join(s.notes, "\n"))
	if s.outcome != nil {
		text += fmt.Sprintf("%+v", *s.outcome)
	}
	return text
}

// gapData is of a gap in an error's words, which differ each time.
var gapData = regexp.MustCompile(`\{"channel":[^}]*\}`)

// reading is what became of an answer on a device that is done.
func (s *session) reading(of *answer) reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.outcome
	return reading{
		published: of.text.String(), lost: of.text.Len() < len(textOf(0, of.tokens)), stopped: of.stopped,
		text: o.Text, status: o.Status, err: gapData.ReplaceAllString(o.Error, "{...}"), gaps: s.gaps, back: s.back,
	}
}

// characters are counted as JavaScript does: no text here has one of more than two bytes of UTF-16.
func characters(text string) int { return utf8.RuneCountInString(text) }

// device runs sessions of one client.
type device interface {
	// open begins a session with a site.
	open(t *testing.T, s *session, site string, o options)
}

// inNode is a client in Node, all of which share one process.
type inNode string

var nodeDriver = sync.OnceValues(startNode)

type node struct {
	mu    sync.Mutex // held while a line is written
	stdin io.WriteCloser
}

func startNode() (*node, error) {
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	cmd := exec.Command(filepath.Join("node_modules", "node-linux-"+arch, "bin", "node"), "sdks/node.mjs")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	lines, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = stdout
	process, err := proctest.Launch(cmd)
	_ = stdout.Close() // the driver's
	if err != nil {
		return nil, errors.Join(err, lines.Close())
	}
	var read sync.WaitGroup
	var failed error
	read.Go(func() { failed = takeLines(lines) })
	proctest.AtEnd(func() error {
		_ = stdin.Close()
		err := process.EndSoon()
		read.Wait()
		return errors.Join(err, failed, lines.Close())
	})
	return &node{stdin: stdin}, nil
}

func takeLines(lines io.Reader) error {
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, 16<<20) // an outcome has the whole text
	for scanner.Scan() {
		if err := take(scanner.Bytes()); err != nil {
			return err
		}
	}
	return scanner.Err()
}

func (client inNode) open(t *testing.T, s *session, site string, o options) {
	t.Helper()
	n, err := nodeDriver()
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(struct {
		Name   string `json:"name"`
		Client inNode `json:"client"`
		Base   string `json:"base"`
		Answer string `json:"answer"`
		options
	}{s.name, client, site, s.answer, o})
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, err := n.stdin.Write(append(line, '\n')); err != nil {
		t.Fatalf("writing to the driver: %v", err)
	}
}

// inBrowser is a client in a page.
type inBrowser struct {
	client  string
	browser func() (browsers.Browser, error)
}

// protoNames are what browsers call the versions of HTTP.
var protoNames = map[string]string{httpOne: "http/1.1", httpTwo: "h2"}

var (
	chromium = func() (browsers.Browser, error) { return browsers.OneChromium() }
	firefox  = func() (browsers.Browser, error) { return browsers.OneFirefox() }
)

func (page inBrowser) open(t *testing.T, s *session, site string, o options) {
	t.Helper()
	b, err := page.browser()
	if err != nil {
		t.Fatal(err)
	}
	query := url.Values{
		"name": {s.name}, "client": {page.client}, "answer": {s.answer}, "collector": {reports().URL},
		"joins": {fmt.Sprint(o.Joins)}, "stopAt": {fmt.Sprint(o.StopAt)}, "refreshAt": {fmt.Sprint(o.RefreshAt)},
	}
	if err := b.Open(s.name, site+"/?"+query.Encode()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(s.name); err != nil {
			t.Error(err)
		}
	})
}

// reports takes what pages report.
var reports = sync.OnceValue(func() *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = take(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	proctest.AtEnd(func() error {
		server.Close()
		return nil
	})
	return server
})
