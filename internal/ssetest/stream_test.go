package ssetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestStreamReadsAsItArrives(t *testing.T) {
	pieces := make(chan string)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Test", "yes")
		stream(w, r, pieces)
	})
	s := Open(t, http.DefaultClient, url)
	if s.Header().Get("X-Test") != "yes" {
		t.Errorf("header %v", s.Header())
	}
	if event, ok := s.TryNext(0); ok {
		t.Errorf("got %+q of a silent stream", event)
	}
	if event, ok := s.TryNext(20 * time.Millisecond); ok {
		t.Errorf("got %+q of a silent stream", event)
	}
	pieces <- "retry: 50\n: hi\nevent: cursor\nid: 1\ndata: {}\n"
	if event, ok := s.TryNext(20 * time.Millisecond); ok {
		t.Errorf("got %+q before its blank line", event)
	}
	if s.LastEventID() != "" {
		t.Errorf("last event id %q before its blank line", s.LastEventID())
	}
	pieces <- "\n"
	if got, want := s.SkipCursor(), (Event{"1", "cursor", "{}"}); got != want {
		t.Errorf("got %+q, want %+q", got, want)
	}
	pieces <- "id: 2\ndata: a\n\nevent: cursor\ndata: {}\n\ndata: b\n\nevent: x\ndata: c\n\nevent: gap\ndata: d\n\n"
	if got := s.Messages(2); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("messages %q", got)
	}
	if got, want := s.NextOf("gap"), (Event{"2", "gap", "d"}); got != want {
		t.Errorf("got %+q, want %+q", got, want)
	}
	if s.Retry() != 50*time.Millisecond || s.LastEventID() != "2" || !reflect.DeepEqual(s.Comments(), []string{" hi"}) {
		t.Errorf("retry %v, last event id %q, comments %q", s.Retry(), s.LastEventID(), s.Comments())
	}
	close(pieces)
	<-s.Ended()
	if s.Err() != nil {
		t.Errorf("a proper end is %v", s.Err())
	}
	if raw := string(s.Raw()); !strings.HasPrefix(raw, "retry: 50\n") || !strings.HasSuffix(raw, "data: d\n\n") {
		t.Errorf("raw %q", raw)
	}
}

func TestStreamKeepsEverythingUntilTaken(t *testing.T) {
	const n = 50_000
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range n {
			fmt.Fprintf(w, "id: %d\ndata: %060d\n\n", i, i)
		}
	})
	s := Open(t, http.DefaultClient, url)
	<-s.Ended()
	if got := len(s.Raw()); got != rawKept {
		t.Errorf("%d bytes kept of a long stream, want %d", got, rawKept)
	}
	for i := range n {
		if got := s.Next(); got.ID != fmt.Sprint(i) {
			t.Fatalf("event %d has id %q", i, got.ID)
		}
	}
	if event, ok := s.TryNext(time.Hour); ok {
		t.Errorf("got %+q after the end", event)
	}
}

func TestStreamNamesABrokenEnd(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: a\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	s := Open(t, http.DefaultClient, url)
	s.Next()
	<-s.Ended()
	if !errors.Is(s.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("an aborted response ended with %v", s.Err())
	}
}

func TestStreamClose(t *testing.T) {
	gone := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: a\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	s := Open(t, http.DefaultClient, url)
	s.Next()
	if s.Err() != nil {
		t.Errorf("open, but ended with %v", s.Err())
	}
	s.Close()
	s.Close()
	if !errors.Is(s.Err(), context.Canceled) {
		t.Errorf("closed with %v", s.Err())
	}
	<-gone
}

func TestStreamEndsWithTheTest(t *testing.T) {
	pieces := make(chan string)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { stream(w, r, pieces) })
	var s *Stream
	t.Run("inner", func(t *testing.T) {
		s = Open(t, http.DefaultClient, url)
		t.Cleanup(func() { // before the stream's own
			pieces <- "data: still there\n\n"
			if got := s.Messages(1); got[0] != "still there" {
				t.Errorf("messages %q", got)
			}
		})
	})
	if !isClosed(s.Ended()) {
		t.Error("the stream outlives its test")
	}
	close(pieces)
}

func TestRequest(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprintf(w, "data: %s %s %q %q\n\n", r.Method, r.Host, body, r.Header.Values("Accept"))
		fmt.Fprintf(w, "data: %q %q %q\n\n", r.Header["X-A"], r.Header["Last-Event-Id"], r.Header["Cache-Control"])
	})
	host := strings.TrimPrefix(url, "http://")
	for _, test := range []struct {
		opts []Option
		want []string
	}{
		{nil, []string{`GET ` + host + ` "" ["text/event-stream"]`, `[] [] ["no-cache"]`}},
		{
			[]Option{
				WithMethod("POST"), WithBody(strings.NewReader("hello")), WithLastEventID("7"), WithHeader("x-a", "b"),
				WithHeader("Host", "other.test"), WithHeader("Accept", "*/*"), WithHeader("Cache-Control", ""),
			},
			[]string{`POST other.test "hello" ["*/*"]`, `["b"] ["7"] []`},
		},
		{[]Option{WithLastEventID("")}, []string{`GET ` + host + ` "" ["text/event-stream"]`, `[] [] ["no-cache"]`}},
	} {
		if got := Open(t, http.DefaultClient, url, test.opts...).Messages(2); !reflect.DeepEqual(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestLastEventIDBeforeTheFirstEvent(t *testing.T) {
	pieces := make(chan string)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { stream(w, r, pieces) })
	s := Open(t, http.DefaultClient, url, WithLastEventID("7"))
	if s.LastEventID() != "7" {
		t.Errorf("last event id %q, want that of the request", s.LastEventID())
	}
	pieces <- "id: 8\ndata: a\n\n"
	s.Next()
	if s.LastEventID() != "8" {
		t.Errorf("last event id %q, want 8", s.LastEventID())
	}
	close(pieces)
}

func TestDoLeavesTheResponseAlone(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "full", http.StatusServiceUnavailable) })
	response := Do(t, http.DefaultClient, url)
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusServiceUnavailable || string(body) != "full\n" || err != nil {
		t.Errorf("status %d, body %q, %v", response.StatusCode, body, err)
	}
}

func TestOpenRefusesWhatABrowserRefuses(t *testing.T) {
	for _, test := range []struct {
		status      int
		contentType string
	}{
		{503, "text/event-stream"}, {204, "text/event-stream"}, {200, "text/plain"}, {200, "text/event-streams"}, {200, ""},
	} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = []string{test.contentType}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, "some reason")
		})
		message := fatal(t, func(tb testing.TB) { Open(tb, http.DefaultClient, url) })
		if !strings.Contains(message, "an EventSource refuses") || !strings.Contains(message, test.contentType) {
			t.Errorf("%+v: %q", test, message)
		}
		if test.status != 204 && !strings.Contains(message, "some reason") {
			t.Errorf("%+v: the body is missing in %q", test, message)
		}
	}
}

func TestOpenOfNobody(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	if message := fatal(t, func(tb testing.TB) { Open(tb, http.DefaultClient, server.URL) }); !strings.Contains(message, "refused") {
		t.Errorf("message %q", message)
	}
}

func TestFailuresShowWhatWasSeen(t *testing.T) {
	pieces := make(chan string)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { stream(w, r, pieces) })
	r := &recorder{TB: t}
	s := Open(r, http.DefaultClient, url)
	s.wait = 50 * time.Millisecond
	pieces <- "data: seen\n\nevent: gap\ndata: {}\n\n: raw"
	for _, test := range []struct {
		name string
		use  func()
		want []string
	}{
		{"a message instead of a cursor", func() { s.SkipCursor() }, []string{`"seen"`, "want a cursor", ": raw"}},
		{"a gap instead of a message", func() { s.Messages(1) }, []string{`"gap"`, `"seen"`}},
		{"nothing", func() { s.Next() }, []string{"nothing came within 50ms", `"seen"`}},
		{"no such type", func() { s.NextOf("x") }, []string{`of type "x"`}},
	} {
		message := r.fatal(test.use)
		for _, want := range test.want {
			if !strings.Contains(message, want) {
				t.Errorf("%s: %q is missing in %q", test.name, want, message)
			}
		}
	}
	close(pieces)
	if message := r.fatal(func() { s.Next() }); !strings.Contains(message, "the stream ended") {
		t.Errorf("at the end: %q", message)
	}
}

// stream sends pieces as they come, until there are no more or the client is gone.
func stream(w http.ResponseWriter, r *http.Request, pieces <-chan string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case piece, more := <-pieces:
			if !more {
				return
			}
			_, _ = io.WriteString(w, piece)
		case <-r.Context().Done():
			return
		}
	}
}

func serve(t *testing.T, handler http.HandlerFunc) (url string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return server.URL
}

// recorder is a test that may fail without failing the real one.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// fatal runs f and returns what it ended its test with.
func (r *recorder) fatal(f func()) string {
	r.message = ""
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
	return r.message
}

func fatal(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	return r.fatal(func() { f(r) })
}
