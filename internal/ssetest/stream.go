package ssetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// rawKept is how much of a stream Raw returns.
	rawKept = 1 << 20

	// eventsShown is how many of the events taken before a failed test prints.
	eventsShown = 20
)

// Stream is a response that is being read. Its goroutine takes bytes off the connection as fast as they come, so that the
// client is never the slow one, and queues events without limit: none is dropped.
//
// Next, NextOf, NextAfterCursors, SkipCursor and Messages end the test on failure and belong to its own goroutine. The other
// methods may be called by any.
type Stream struct {
	t      testing.TB
	name   string
	header http.Header
	wait   time.Duration
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	parser  *Parser
	raw     []byte
	queue   []Event       // not yet taken
	taken   []Event       // the last ones taken, for messages
	changed chan struct{} // closed and replaced when the queue grows
	err     error
}

// Open performs the request of an EventSource and reads the response. It ends the test unless that is a 200 of type
// text/event-stream, with headers within 20 s. The stream ends with the test.
func Open(t testing.TB, client *http.Client, url string, opts ...Option) *Stream {
	t.Helper()
	response, cancel := do(t, client, url, opts)
	name := response.Request.Method + " " + url
	if err := streamError(response); err != nil {
		cancel()
		_ = response.Body.Close()
		t.Fatalf("%s: %v", name, err)
	}
	s := &Stream{
		t: t, name: name, header: response.Header, wait: deadline, cancel: cancel,
		ended: make(chan struct{}), parser: NewParser(), changed: make(chan struct{}),
	}
	// An EventSource keeps the id it came with until its first dispatch.
	s.parser.LastEventID = response.Request.Header.Get("Last-Event-ID")
	go s.read(response.Body)
	t.Cleanup(s.Close)
	return s
}

// Close cancels the request and returns when nothing is read any more. Events read before can still be taken. Closing again
// does nothing.
func (s *Stream) Close() {
	s.cancel()
	<-s.ended
}

// Header is the header of the response.
func (s *Stream) Header() http.Header { return s.header }

// Ended is closed when the stream has ended and everything it brought is queued.
func (s *Stream) Ended() <-chan struct{} { return s.ended }

// Err tells why the stream ended: nil if the server ended it properly, context.Canceled after Close. It is nil before the end.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// LastEventID is what a browser would come back with: the last id that arrived and was completed by a blank line, whether or
// not its event has been taken; before the first blank line, the one of WithLastEventID.
func (s *Stream) LastEventID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parser.LastEventID
}

// Retry is the reconnection time the stream asked for last, -1 if it did not.
func (s *Stream) Retry() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parser.Retry
}

// Comments returns what followed the colon of each comment line so far, a leading space included.
func (s *Stream) Comments() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.parser.Comments)
}

// Raw returns the first MiB of the body so far, decompressed where net/http has done so.
func (s *Stream) Raw() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.raw)
}

// Next takes the next event. It ends the test if there is none within 20 s, or the stream ends.
func (s *Stream) Next() Event {
	s.t.Helper()
	return s.next(time.Now().Add(s.wait), "an event")
}

// NextOf takes events until one is of the given type, and returns that. It ends the test if that takes over 20 s, or the
// stream ends. The events before are lost: where they matter, use Next.
func (s *Stream) NextOf(eventType string) Event {
	s.t.Helper()
	what := fmt.Sprintf("an event of type %q", eventType)
	for end := time.Now().Add(s.wait); ; {
		if event := s.next(end, what); event.Type == eventType {
			return event
		}
	}
}

// NextAfterCursors takes the next event that is not a cursor, in the sense of this project: the first event of a stream, and
// its heartbeats. It ends the test as Next does.
func (s *Stream) NextAfterCursors() Event {
	s.t.Helper()
	for end := time.Now().Add(s.wait); ; {
		if event := s.next(end, "an event that is not a cursor"); event.Type != "cursor" {
			return event
		}
	}
}

// SkipCursor takes the next event, and ends the test if that is not a cursor.
func (s *Stream) SkipCursor() Event {
	s.t.Helper()
	event := s.Next()
	if event.Type != "cursor" {
		s.t.Fatalf("%s: got %+q, want a cursor%s", s.name, event, s.seen())
	}
	return event
}

// Messages takes n events of type message, and cursors between them, and returns the data of the messages. Any other event
// ends the test, as does a wait of over 20 s for one.
func (s *Stream) Messages(n int) []string {
	s.t.Helper()
	data := make([]string, 0, n)
	for len(data) < n {
		event := s.NextAfterCursors()
		if event.Type != "message" {
			s.t.Fatalf("%s: got %+q after %d messages, want %d messages%s", s.name, event, len(data), n, s.seen())
		}
		data = append(data, event.Data)
	}
	return data
}

// TryNext takes the next event, waiting for it at most d; 0 takes what is there. It is false also if the stream ends.
func (s *Stream) TryNext(d time.Duration) (Event, bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		ended := isClosed(s.ended) // looked at before the queue, which does not grow after
		event, changed, ok := s.take()
		if ok || ended || d <= 0 {
			return event, ok
		}
		select {
		case <-changed:
		case <-s.ended:
		case <-timer.C:
			d = 0 // one last look
		}
	}
}

func (s *Stream) next(end time.Time, what string) Event {
	s.t.Helper()
	event, ok := s.TryNext(time.Until(end))
	if ok {
		return event
	}
	how := fmt.Sprintf("nothing came within %v", s.wait)
	if isClosed(s.ended) {
		how = "the stream ended"
		if err := s.Err(); err != nil {
			how += " with " + err.Error()
		}
	}
	s.t.Fatalf("%s: waiting for %s: %s%s", s.name, what, how, s.seen())
	return Event{}
}

// take removes the first event from the queue, or returns the channel that tells of another.
func (s *Stream) take() (Event, <-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return Event{}, s.changed, false
	}
	event := s.queue[0]
	s.queue[0] = Event{} // its data is not to be kept alive by a queue that is never empty
	s.queue = s.queue[1:]
	if len(s.taken) == eventsShown {
		s.taken = slices.Delete(s.taken, 0, 1)
	}
	s.taken = append(s.taken, event)
	return event, nil, true
}

// read feeds the parser until the body ends.
func (s *Stream) read(body io.ReadCloser) {
	defer close(s.ended)
	defer body.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		s.received(buf[:n], err)
		if err != nil {
			return
		}
	}
}

func (s *Stream) received(b []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, b[:min(len(b), rawKept-len(s.raw))]...)
	if events := s.parser.Push(b); len(events) > 0 {
		s.queue = append(s.queue, events...)
		close(s.changed)
		s.changed = make(chan struct{})
	}
	if !errors.Is(err, io.EOF) {
		s.err = err
	}
}

// seen is what a failed test needs to know of the stream.
func (s *Stream) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text strings.Builder
	fmt.Fprintf(&text, "\nthe last %d events taken:\n", len(s.taken))
	for _, event := range s.taken {
		fmt.Fprintf(&text, "  %s\n", shorten(fmt.Sprintf("%+q", event)))
	}
	fmt.Fprintf(&text, "%d more queued; last event id %q; retry %v; comments %s\n", len(s.queue), s.parser.LastEventID,
		s.parser.Retry, shorten(fmt.Sprintf("%q", s.parser.Comments)))
	fmt.Fprintf(&text, "last bytes kept: %q", s.raw[max(0, len(s.raw)-bodyShown):])
	return text.String()
}

// shorten keeps a line of a message readable.
func shorten(line string) string {
	const most = 300
	if len(line) <= most {
		return line
	}
	return fmt.Sprintf("%s ... (%d bytes)", line[:most], len(line))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
