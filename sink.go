package redissse

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// setHeaders sets those of a stream.
func setHeaders(header http.Header) {
	header.Set("Content-Type", "text/event-stream")
	// no-transform keeps "encode" away: a compressor takes 1 to 3 MB a stream.
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // for an nginx in front
}

// noSniff has a browser not take an answer for anything but what it says it is:
// what somebody else published could look like a page.
func noSniff(header http.Header) { header.Set("X-Content-Type-Options", "nosniff") }

// writeChunk is what a client must take within stall_timeout. It is what one
// TLS record holds, little enough for any link that works.
const writeChunk = 16 << 10

// sink is the client's connection. It is one goroutine's at a time.
type sink interface {
	// write writes p, of a chunk at most, which it does not keep.
	write(p []byte) error

	// flush has the client get what has been written.
	flush() error

	// full reports that the stream should write nothing more for now, which is never so where write waits for the
	// client instead. What is written all the same is kept for the client.
	full() bool

	// giveUp is called once, behind the last write, before the handler returns.
	giveUp()
}

// responseSink is the response to the request.
type responseSink struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	stall    time.Duration
	deadline deadline                     // of what is written; nil if Caddy's own writer sets it
	late     *lateDeadline                // nil unless it is HTTP/2
	caddys   *caddyhttp.IdleTimeoutWriter // nil if there is none
}

type deadline interface{ SetWriteDeadline(time.Time) error }

// newResponseSink makes the sink of a request. A client that takes no writeChunk for
// stall is disconnected. The override of Caddy's own timeout is not taken back
// when the stream ends, but goes with the request, whose own it is: what net/http
// writes until then, the end of the body, may meet a client that takes nothing,
// too.
func newResponseSink(w http.ResponseWriter, r *http.Request, stall time.Duration) *responseSink {
	s := &responseSink{w: w, control: http.NewResponseController(w), stall: stall}
	s.deadline = s.control
	if _, s.caddys = caddyhttp.IdleTimeoutsFromContext(r.Context()); s.caddys != nil {
		s.caddys.Override(stall, 0, writeChunk)
		s.deadline = nil
	}
	if r.ProtoMajor == 2 {
		s.setLate()
	}
	return s
}

// setLate has the deadlines that are set before each write and taken back behind it be late ones. What
// they are is said by whoever has said it before, and so are the server's own limits.
func (s *responseSink) setLate() {
	if s.caddys == nil {
		s.late = newLateDeadline(s.w, s.control)
		s.deadline = s.late
		return
	}
	s.late = newLateDeadline(s.w, s.caddys.Ctrl)
	s.caddys.Ctrl = http.NewResponseController(s.late)
}

// giveUp gives Caddy's writer back what it sets deadlines by: it may set one for what net/http writes behind the handler.
func (s *responseSink) giveUp() {
	if s.late == nil {
		return
	}
	if s.caddys != nil {
		s.caddys.Ctrl = s.late.real
	}
	s.late.end()
}

// write writes at most one chunk.
func (s *responseSink) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return s.inTime(func() error { _, err := s.w.Write(p); return err })
}

func (*responseSink) full() bool { return false }

func (s *responseSink) flush() error { return s.inTime(s.control.Flush) }

// inTime runs one write under the stall timeout. The deadline is cleared
// afterwards: on HTTP/2 it is a timer that ends even an idle stream.
func (s *responseSink) inTime(write func() error) error {
	if s.deadline == nil {
		return write()
	}
	if err := s.deadline.SetWriteDeadline(time.Now().Add(s.stall)); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	return s.deadline.SetWriteDeadline(time.Time{})
}
