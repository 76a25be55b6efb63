package ssetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// defaultRetry is Chromium's; the standard leaves it open.
const defaultRetry = 3 * time.Second

// Moment is what a [Record] tells of.
type Moment int

const (
	Asked    Moment = iota // a request was sent; Record.LastEventID is what it came with
	Opened                 // the headers of a 200 of type text/event-stream have come
	Received               // an event was dispatched: Record.Event
	Ended                  // the response ended, properly if Record.Err is nil; or the request failed before there was one
	Stopped                // an answer stops the client for ever: Record.Status, and Record.Err, which has the body's beginning
)

func (m Moment) String() string {
	return [...]string{"asked", "opened", "received", "ended", "stopped"}[m]
}

// Record is a line of an [EventSource]'s log.
type Record struct {
	At          time.Time // for an event, when it was parsed
	What        Moment
	LastEventID string // of Asked; "" if it came with none
	Event       Event  // of Received
	Status      int    // of Opened and Stopped
	Err         error  // of Ended and Stopped
}

// EventSource is a client as the standard's: when its response has ended, it comes back after the retry that it was told, with
// the last event id it has. Any answer but a 200 of type text/event-stream stops it for ever. It writes a log of all that, which
// is never cut.
//
// All methods but AwaitOpened, which ends the test on failure, may be called by any goroutine.
type EventSource struct {
	t       testing.TB
	client  *http.Client
	request *http.Request // what each one is a copy of
	ctx     context.Context
	cancel  context.CancelFunc
	opened  chan struct{} // closed with the first Opened
	done    chan struct{} // closed when the goroutine has ended

	// The goroutine's own.
	lastID string
	retry  time.Duration

	mu    sync.Mutex
	log   []Record
	cut   context.CancelFunc // of the request that is under way, nil if there is none
	back  time.Time          // when to come back from it, if Leave has cut it
	until time.Time          // between two requests: when the next one is due
	gate  chan struct{}      // nil, or closed when reading goes on
}

// StartEventSource begins at once, and goes on until Close, the end of the test at the latest. The options are those of every
// request, but for the id of WithLastEventID, with which only the first comes; a body is not for an EventSource.
func StartEventSource(t testing.TB, client *http.Client, url string, opts ...Option) *EventSource {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := newRequest(opts).build(ctx, url)
	if err != nil {
		cancel()
		t.Fatalf("building a request for %q: %v", url, err)
	}
	s := &EventSource{
		t: t, client: client, request: request, ctx: ctx, cancel: cancel,
		opened: make(chan struct{}), done: make(chan struct{}),
		lastID: request.Header.Get("Last-Event-ID"), retry: defaultRetry,
	}
	go s.run()
	t.Cleanup(s.Close)
	return s
}

// AwaitOpened returns when a first response has opened, and ends the test if that takes over 20 s or will not be.
func (s *EventSource) AwaitOpened() {
	s.t.Helper()
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case <-s.opened:
		return
	case <-s.done:
	case <-timer.C:
	}
	if !isClosed(s.opened) {
		s.t.Fatalf("waiting for a stream of %s for at most %v: the log is %+v", s.request.URL, deadline, s.Log())
	}
}

// Log is what has happened so far. It is not written to any more, and outlives Close.
func (s *EventSource) Log() []Record { return s.LogFrom(0) }

// LogFrom is Log without its first n records. Nothing is copied, so it may be polled.
func (s *EventSource) LogFrom(n int) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.log[min(n, len(s.log)):])
}

// Leave cuts the connection, or the request that is still without an answer, and has the client come back d from now, this
// once. What has been read of the connection still counts. Between two requests it only prolongs the pause, to d from now.
func (s *EventSource) Leave(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	back := time.Now().Add(d)
	if s.cut != nil {
		s.back = back
		s.cut()
		return
	}
	if back.After(s.until) {
		s.until = back
	}
}

// Hold has the client stop reading, from its connection and from later ones, or go on. What is under way may still be taken off
// the connection (32 KiB at most), but no event is dispatched before it goes on, or Leave or Close ends the connection.
func (s *EventSource) Hold(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !on && s.gate != nil {
		close(s.gate)
		s.gate = nil
	}
	if on && s.gate == nil {
		s.gate = make(chan struct{})
	}
}

// Close ends the client for good. It returns when nothing is written to the log any more; closing again does nothing.
func (s *EventSource) Close() {
	s.cancel()
	<-s.done
}

func (s *EventSource) run() {
	defer close(s.done)
	for {
		ctx := s.awaitTurn()
		if ctx == nil {
			return
		}
		goOn := s.ask(ctx)
		s.rest()
		if !goOn {
			return
		}
	}
}

// awaitTurn returns when a request is due, with its context; nil if there will be none. The pause may have become longer while
// it waited.
func (s *EventSource) awaitTurn() context.Context {
	for s.ctx.Err() == nil {
		ctx, wait := s.turn()
		if ctx != nil {
			return ctx
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// turn ends the pause if that is over: from then on it is the request that Leave cuts.
func (s *EventSource) turn() (context.Context, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait := time.Until(s.until); wait > 0 {
		return nil, wait
	}
	var ctx context.Context
	ctx, s.cut = context.WithCancel(s.ctx)
	s.back = time.Time{}
	return ctx, 0
}

// rest begins the pause.
func (s *EventSource) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut()
	s.cut = nil
	s.until = s.back
	if s.back.IsZero() {
		s.until = time.Now().Add(s.retry)
	}
}

// ask sends a request and reads the response to its end. It is false if that stops the client.
func (s *EventSource) ask(ctx context.Context) bool {
	request := s.request.Clone(ctx)
	request.Header.Del("Last-Event-ID")
	if s.lastID != "" {
		request.Header.Set("Last-Event-ID", s.lastID)
	}
	s.note(Record{What: Asked, LastEventID: s.lastID})
	response, err := s.client.Do(request)
	if err != nil {
		s.note(Record{What: Ended, Err: err})
		return true
	}
	defer response.Body.Close()
	if err := streamError(response); err != nil {
		s.note(Record{What: Stopped, Status: response.StatusCode, Err: err})
		return false
	}
	s.note(Record{What: Opened, Status: response.StatusCode})
	if !isClosed(s.opened) {
		close(s.opened)
	}
	if err = s.read(ctx, response.Body); errors.Is(err, io.EOF) {
		err = nil
	}
	s.note(Record{What: Ended, Err: err})
	return true
}

// read takes what a stream brings until its end, whose error it returns.
func (s *EventSource) read(ctx context.Context, body io.Reader) error {
	parser := NewParser()
	parser.LastEventID = s.lastID
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		s.awaitGate(ctx) // here, since it may have been closed while there was nothing to read
		s.note(received(parser.Push(buf[:n]))...)
		s.lastID = parser.LastEventID
		if parser.Retry >= 0 {
			s.retry = parser.Retry
		}
		if err != nil {
			return err
		}
	}
}

func (s *EventSource) awaitGate(ctx context.Context) {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate == nil {
		return
	}
	select {
	case <-gate:
	case <-ctx.Done():
	}
}

func (s *EventSource) note(records ...Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, r := range records {
		r.At = now
		s.log = append(s.log, r)
	}
}

func received(events []Event) []Record {
	records := make([]Record, len(events))
	for i, event := range events {
		records[i] = Record{What: Received, Event: event}
	}
	return records
}
