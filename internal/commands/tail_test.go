package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/ssetest"
)

// script is a server that answers one request after another, and at the end that there is nothing more, which ends an EventSource.
type script struct {
	*httptest.Server
	mu      sync.Mutex
	answers []http.HandlerFunc
	got     []*http.Request
}

func startScript(t *testing.T, answers ...http.HandlerFunc) *script {
	s := &script{answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.got)
	s.got = append(s.got, r)
	s.mu.Unlock()
	if n < len(s.answers) {
		s.answers[n](w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// streaming answers with a stream of these bytes.
func streaming(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, text)
	}
}

func saying(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) }
}

// cutting answers with a stream of these bytes, and breaks the connection.
func cutting(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		streaming(text)(w, r)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

var clock = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d\d\d  `)

// tailAll follows a script to its end, and returns what is shown of it, without the times.
func tailAll(t *testing.T, s *script, args ...string) (shown, stderr string) {
	t.Helper()
	stdout, stderr, err := run(t.Context(), append([]string{"tail", s.URL + "/events?token=s3cr3t"}, args...)...)
	if err != nil || !strings.Contains(stdout+stderr, "-- done   the server has nothing more to stream: 204 No Content\n") {
		t.Errorf("did not follow to the end: %v, %s", err, stderr)
	}
	if strings.Contains(stdout+stderr, "s3cr3t") {
		t.Errorf("tells the token:\n%s%s", stdout, stderr)
	}
	return strings.ReplaceAll(clock.ReplaceAllString(stdout, ""), s.URL, "URL"), stderr
}

const firstStream = "retry: 100\nevent: cursor\nid: A1\ndata: {}\n\n" +
	"id: A2\ndata: {\"n\":1}\n\nevent: note\ndata: a\ndata: b\n\n" +
	"event: gap\nid: A2\ndata: {\"channel\":\"jobs\",\"reason\":\"evicted\",\"after\":\"A2\",\"missed\":7}\n\n: busy\n"

func TestTailShowsAStreamAndComesBackAfterItsLastID(t *testing.T) {
	s := startScript(t, streaming(firstStream), cutting("id: A9\ndata: last\n\ndata: no end"))
	shown, _ := tailAll(t, s)
	want := `-- open   HTTP/1.1, URL/events
message   {"n":1}
note      a\nb
gap       jobs: missed 7 (evicted), after A2
:         busy
-- lost   the server ended the stream; back in 100ms
-- open   HTTP/1.1, URL/events, after A2
message   last
-- lost   reading the stream: unexpected EOF; back in 100ms
`
	if !strings.HasPrefix(shown, want) {
		t.Errorf("got:\n%s\nwant:\n%s", shown, want)
	}
	if summary := "-- end    3 events, 1 gap (7 missed), 2 streams in "; !strings.Contains(shown, summary) || !strings.HasSuffix(shown, "; the last id is A9\n") {
		t.Errorf("no %q at the end:\n%s", summary, shown)
	}
	for i, id := range []string{"", "A2", "A9"} {
		if got := s.got[i].Header.Get("Last-Event-ID"); got != id {
			t.Errorf("request %d came with id %q, want %q", i, got, id)
		}
		if got := s.got[i].Header.Get("Accept"); got != "text/event-stream" {
			t.Errorf("request %d accepts %q", i, got)
		}
	}
}

func TestTailSendsWhatItIsTold(t *testing.T) {
	s := startScript(t, streaming("data: x\n\n"))
	tailAll(t, s, "--header", "Cookie: a=b", "-H", "X-Two:1", "-H", "X-Two: 2", "-H", "Host: example.com", "--last-event-id", "A5")
	h := s.got[0].Header
	if h.Get("Cookie") != "a=b" || fmt.Sprint(h["X-Two"]) != "[1 2]" || s.got[0].Host != "example.com" || h.Get("Last-Event-ID") != "A5" {
		t.Errorf("sent %s %v", s.got[0].Host, h)
	}
}

func TestTailRawPrintsTheStreamsLines(t *testing.T) {
	s := startScript(t, streaming(firstStream))
	stdout, stderr, _ := run(t.Context(), "tail", s.URL, "--raw")
	if stdout != firstStream {
		t.Errorf("got:\n%s\nwant:\n%s", stdout, firstStream)
	}
	if !strings.Contains(stderr, "  -- open   HTTP/1.1") || !strings.Contains(stderr, "  -- end    2 events, 1 gap (7 missed), 1 stream in ") {
		t.Errorf("stderr has\n%s", stderr)
	}
}

func TestTailDrivesNoTerminal(t *testing.T) {
	evil := "\x1b]0;x\x07\u009b2J\u202e"
	s := startScript(t,
		streaming("retry: 100\nevent: "+evil+"\nid: 1"+evil+"\ndata: "+evil+"\n\n: "+evil+"\nevent: gap\ndata: "+evil+"\n\n"+
			"event: gap\ndata: {\"channel\":\"\\u001b[2J\\u202e\",\"reason\":\"\\u009b\",\"after\":\"\\u0007\",\"missed\":null}\n\n"),
		saying(503, evil))
	s.answers = append(s.answers, saying(404, evil))
	stdout, stderr, _ := run(t.Context(), "tail", s.URL+"/%1b")
	if bad := strings.IndexAny(stdout+stderr, "\x1b\x07\u009b\u202e"); bad >= 0 {
		t.Errorf("control characters at %d:\n%q", bad, stdout+stderr)
	}
	if !strings.Contains(stderr, `404 Not Found: \x1b]0;x\a\u009b2J\u202e`) {
		t.Errorf("stderr has %q", stderr)
	}
}

func TestTailWaitsForWhatPassesAndGivesUpOtherwise(t *testing.T) {
	retry := streaming("retry: 100\n: turned away\n")
	s := startScript(t, retry, saying(502, "nobody"), saying(503, "busy"), saying(504, ""), streaming("data: x\n\n"))
	shown, _ := tailAll(t, s)
	for _, want := range []string{":         turned away\n", "502 Bad Gateway: nobody; back in 100ms\n", "503 Service Unavailable: busy; back in 100ms\n",
		"504 Gateway Timeout; back in 100ms\n", "message   x\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q:\n%s", want, shown)
		}
	}
	for want, answer := range map[string]http.HandlerFunc{
		"the answer is 401 Unauthorized: sign in": saying(401, "sign in"),
		"the answer is 429 Too Many Requests: ":   saying(429, "too many"),
		"the answer is 500 Internal Server Error": saying(500, ""),
		`the answer is no text/event-stream but "text/html": <html>`: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		},
		"it leads to http://elsewhere.example/b: give that URL": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/b?token=s3cr3t", http.StatusFound)
		},
	} {
		_, stderr, err := run(t.Context(), "tail", startScript(t, answer).URL)
		if err == nil || !strings.Contains(stderr, want) || strings.Contains(stderr, "s3cr3t") {
			t.Errorf("%v: %s, want %q", err, stderr, want)
		}
	}
}

func TestTailFollowsRedirectsOnTheSameHost(t *testing.T) {
	moved := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/moved", http.StatusTemporaryRedirect)
	}
	shown, _ := tailAll(t, startScript(t, moved, streaming("retry: 100\ndata: x\n\n")))
	if !strings.Contains(shown, "URL/moved\nmessage   x\n") {
		t.Errorf("got:\n%s", shown)
	}
	round := startScript(t)
	for range 20 {
		round.answers = append(round.answers, moved)
	}
	if _, stderr, err := run(t.Context(), "tail", round.URL); err == nil || !strings.Contains(stderr, "following redirects: more than 10") {
		t.Errorf("%v: %s", err, stderr)
	}
}

func TestTailTakesNoCertificateThatNobodyKnows(t *testing.T) {
	s := startScript(t, streaming("retry: 100\ndata: x\n\n"))
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would have the refused handshake
	server.StartTLS()
	defer server.Close()
	if _, stderr, err := run(t.Context(), "tail", server.URL); err == nil || !strings.Contains(stderr, "--insecure") {
		t.Errorf("%v: %s", err, stderr)
	}
	s.URL = server.URL
	shown, _ := tailAll(t, s, "--insecure")
	if !strings.HasPrefix(shown, "-- open   HTTP/2.0, URL/events\nmessage   x\n") {
		t.Errorf("got:\n%s", shown)
	}
}

func TestTailGivesUpASilentConnection(t *testing.T) {
	silent := func(w http.ResponseWriter, r *http.Request) {
		streaming("retry: 100\ndata: x\n\n")(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	s := startScript(t, silent)
	tl, err := newTail(s.URL, tailFlags{})
	if err != nil {
		t.Fatal(err)
	}
	defer tl.client.CloseIdleConnections()
	var out strings.Builder
	tl.view, tl.silence = newTailView(&out, &out, tailFlags{}), 50*time.Millisecond
	if err := tl.run(t.Context()); err != nil {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(out.String(), "nothing came, not even a heartbeat") || !strings.Contains(out.String(), "204 No Content") {
		t.Errorf("got:\n%s", out.String())
	}
}

// TestTailEndsWithItsTime asks for no more than a busy machine can do: whether a stream was opened in time is what it says itself.
func TestTailEndsWithItsTime(t *testing.T) {
	s := startScript(t, streaming("retry: 60000\ndata: x\n\n"))
	if stdout, stderr, err := run(t.Context(), "tail", s.URL, "--for", "300ms"); (err == nil) != strings.Contains(stdout, ", 1 stream in ") {
		t.Errorf("%v: %s%s", err, stdout, stderr)
	}
	s.Close()
	if _, stderr, err := run(t.Context(), "tail", s.URL, "--for", "100ms"); err == nil || !strings.Contains(stderr, "there was none: connecting: ") {
		t.Errorf("without a server: %v: %s", err, stderr)
	}
}

// limitedWriter fails after some bytes, as a pipe does whose reader has gone.
type limitedWriter struct{ left int }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("pipe is broken")
	}
	return len(p), nil
}

func TestTailEndsWhenNobodyReads(t *testing.T) {
	s := startScript(t, streaming("retry: 100\n"+strings.Repeat("data: x\n\n", 100)))
	tl, err := newTail(s.URL, tailFlags{})
	if err != nil {
		t.Fatal(err)
	}
	defer tl.client.CloseIdleConnections()
	tl.view = newTailView(&limitedWriter{1000}, io.Discard, tailFlags{})
	if err := tl.run(t.Context()); err == nil || err.Error() != "writing: pipe is broken" || len(s.got) != 1 {
		t.Errorf("ended with %v after %d requests", err, len(s.got))
	}
}

func TestTailShortensWhatFillsATerminal(t *testing.T) {
	var out strings.Builder
	v := newTailView(&out, &out, tailFlags{})
	v.show(item{name: "message", data: strings.Repeat("x", 1<<20)})
	if out.Len() < 1<<20 {
		t.Errorf("a file got %d bytes", out.Len())
	}
	out.Reset()
	v.short = true
	v.show(item{name: "message", data: strings.Repeat("ü", 1<<19)})
	if got := out.String(); len(got) > maxShown+100 || !strings.HasSuffix(got, "ü... (1.0 MiB)\n") {
		t.Errorf("a terminal got %d bytes, %q at the end", len(got), got[len(got)-30:])
	}
}

func TestGapsAreCountedAsFarAsTheySay(t *testing.T) {
	for want, gaps := range map[string][]string{
		"0 events, 0 gaps, ":                                     nil,
		"0 events, 2 gaps (7 missed), ":                          {`{"channel":"a","missed":4}`, `{"pattern":"b*","missed":3}`},
		"0 events, 2 gaps (at least 4 missed), ":                 {`{"channel":"a","missed":4}`, `{"channel":"a","missed":null}`},
		"0 events, 1 gap (how many were missed is unknown), 1 s": {`{"pattern":"b*","missed":null}`},
		"0 events, 1 gap (how many were missed is unknown), 1 ":  {"no JSON"},
	} {
		var out strings.Builder
		v := newTailView(&out, &out, tailFlags{gapName: "gap"})
		for _, data := range gaps {
			v.show(item{name: "gap", data: data})
		}
		v.summary(1, time.Second, "")
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q:\n%s", want, out.String())
		}
	}
}

func TestCursorsAreShownIfAskedFor(t *testing.T) {
	s := startScript(t, streaming("retry: 100\nevent: place\nid: 1\ndata: {}\n\nevent: hole\ndata: {\"channel\":\"a\"}\n\n"))
	shown, _ := tailAll(t, s, "--cursors", "--cursor-event", "place", "--gap-event", "hole")
	if !strings.Contains(shown, "\nplace     {}\nhole      a: missed an unknown number ()\n") || !strings.Contains(shown, " 0 events, 1 gap ") {
		t.Errorf("got:\n%s", shown)
	}
}

// Heartbeats may be comments, which are hidden as others are.
func TestCursorsThatAreCommentsAreShownIfAskedFor(t *testing.T) {
	beat := ssetest.Place{MS: 1, Seq: 2, Epoch: 3, Anchor: 4}.ID()
	end := ssetest.Place{MS: 1, Seq: 2, Epoch: 3, Anchor: 4, Ended: true}.ID()
	stream := "retry: 100\n: " + beat + "\nid: " + end + "\ndata: x\n\n: turned away\n"
	for flag, want := range map[string]string{
		"--cursors=true":  ":         " + beat + "\nmessage   x\n:         turned away\n",
		"--cursors=false": "\nmessage   x\n:         turned away\n",
	} {
		shown, _ := tailAll(t, startScript(t, streaming(stream)), flag)
		if !strings.Contains(shown, want) || strings.Contains(shown, beat+"\n") != (flag == "--cursors=true") || !strings.HasSuffix(shown, "; the last id is "+end+"\n") {
			t.Errorf("%s: got:\n%s", flag, shown)
		}
	}
}

// Where there was never a stream, nothing has been followed.
func TestTailOfNothingIsAnError(t *testing.T) {
	_, stderr, err := run(t.Context(), "tail", startScript(t).URL)
	if err == nil || !strings.Contains(stderr, "Error: opening the stream: the answer is 204 No Content: there is nothing to stream\n") {
		t.Errorf("%v: %s", err, stderr)
	}
}

// stopper ends a context once it has been written a text.
type stopper struct {
	text strings.Builder
	at   string
	stop context.CancelFunc
}

func (s *stopper) Write(p []byte) (int, error) {
	defer func() {
		if strings.Contains(s.text.String(), s.at) {
			s.stop()
		}
	}()
	return s.text.Write(p)
}

func TestTailEndsWithItsContext(t *testing.T) {
	for at, text := range map[string]string{"message": "data: x\n\n", "back in 1m0s": "retry: 60000\ndata: x\n\n"} {
		s := startScript(t, func(w http.ResponseWriter, r *http.Request) {
			streaming(text)(w, r)
			_ = http.NewResponseController(w).Flush()
			if at == "message" {
				<-r.Context().Done()
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tl, err := newTail(s.URL, tailFlags{})
		if err != nil {
			t.Fatal(err)
		}
		defer tl.client.CloseIdleConnections()
		out := &stopper{at: at, stop: cancel}
		tl.view = newTailView(out, out, tailFlags{})
		if err := tl.run(ctx); err != nil || !strings.Contains(out.text.String(), "1 event, 0 gaps, 1 stream in ") {
			t.Errorf("%v: %s", err, out.text.String())
		}
	}
}
