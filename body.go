package redissse

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Nothing in the body of a request for a stream is used. It is read all the
// same, of a GET as of a POST: net/http does so itself before it writes the
// header of an HTTP/1.1 response, without any limit of time, and tells of a
// client that went away only once it has all of the body.
const (
	// maxBody is far more than what a client asks for takes. More is refused.
	maxBody = 1 << 20
	// A body that brings no byte for bodySilence, or is not over after
	// bodyTotal, is given up: a link that works takes a second for it.
	bodySilence = 10 * time.Second
	bodyTotal   = 30 * time.Second
	// unreadBody is for how long net/http may look for the end of a body whose
	// request is answered without it. After it, it closes the connection behind
	// that answer.
	unreadBody = time.Second
)

// body is a request's body while it is read.
type body struct {
	source  io.Reader
	control *http.ResponseController
	latest  time.Time                    // of its last byte
	caddys  *caddyhttp.IdleTimeoutReader // reads for us, and has deadlines, too; nil if none does

	mu     sync.Mutex
	ending *ending     // of what it is for, a stream or a message
	check  *time.Timer // looks whether that is due
	cut    bool        // that was due
	over   bool        // no deadline is to be set any more
	ended  bool        // Caddy, which reads for us, has come to the end
}

// hasBody reports whether a request may have one: HTTP/3 does not say that a
// request has none before it ends.
func hasBody(r *http.Request) bool { return r.Body != nil && r.ContentLength != 0 }

// discardBody reads the body of a request that hasBody. Once the ending of the
// stream that it is for is due, which it stops, what has not come is left, so
// that the stream can open and end: the body is cut. It fails with an HTTP error.
func discardBody(w http.ResponseWriter, r *http.Request, of *ending) (cut bool, err error) {
	b := newBody(w, r, bodyTotal, of)
	defer b.stop()
	_, err = io.CopyN(io.Discard, b, maxBody+1)
	switch cut = b.isCut(); {
	case cut, errors.Is(err, io.EOF):
		return cut, nil
	case err == nil:
		return false, errBodyTooLarge
	}
	return false, bodyError(err, bodyTotal)
}

// bodyError is the HTTP error of a body that was not read to its end. total is how long
// it might have taken.
func bodyError(err error, total time.Duration) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return caddyhttp.Error(http.StatusRequestTimeout,
			&inside{fmt.Sprintf("the body did not come in time: no byte for %v, or not all of it within %v", bodySilence, total), err})
	}
	return caddyhttp.Error(http.StatusBadRequest, &inside{"the body could not be read to its end", err})
}

var errBodyTooLarge = bodyTooLarge(maxBody)

// bodyTooLarge is the HTTP error of a body that is larger than most.
func bodyTooLarge(most int64) error {
	return caddyhttp.Error(http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", most))
}

// newBody has the body of a request read within total, and until the ending is due.
// Its stop must be called.
func newBody(w http.ResponseWriter, r *http.Request, total time.Duration, of *ending) *body {
	caddys, _ := caddyhttp.IdleTimeoutsFromContext(r.Context())
	b := &body{
		source: r.Body, control: http.NewResponseController(w), latest: time.Now().Add(total), ending: of, caddys: caddys,
	}
	b.watch()
	return b
}

// Read gives the client bodySilence for its next bytes.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if !b.cut {
		until := time.Now().Add(bodySilence)
		if b.latest.Before(until) {
			until = b.latest
		}
		setReadDeadline(b.control, until)
	}
	b.mu.Unlock()
	n, err := b.source.Read(p)
	if errors.Is(err, io.EOF) && b.caddys != nil {
		b.mu.Lock()
		b.ended = true
		b.mu.Unlock()
	}
	return n, err
}

// watch looks now and then whether the ending is due, and has the read fail
// that waits then: it does not see the ending's signals.
func (b *body) watch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.over:
	case b.check == nil: // the first time: what is there already is read
		b.check = time.AfterFunc(tickInterval, b.watch)
	case b.ending.passed(0):
		b.cut = true
		setReadDeadline(b.control, time.Now())
	default:
		b.check.Reset(tickInterval)
	}
}

func (b *body) isCut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cut
}

// stop ends the watch. The deadline goes, too, unless it has passed: it would
// end what is read after the body, the connection. (At the end of a body Caddy takes back
// its own and ours, but not where another handler, such as reverse_proxy, had come to that
// end before. To have Caddy set none then would put read_body in force, which counts from
// the request's start.)
func (b *body) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.check.Stop()
	b.ending.stop()
	switch {
	case b.cut:
	case b.ended:
		setReadDeadline(b.caddys.Ctrl, time.Time{})
	default:
		setReadDeadline(b.control, time.Time{})
	}
}

// leaveBody bounds what net/http reads of the body of a request whose answer does
// not need it.
func leaveBody(w http.ResponseWriter, r *http.Request) {
	if hasBody(r) {
		setReadDeadline(http.NewResponseController(w), time.Now().Add(unreadBody))
	}
}

// setReadDeadline does without where there are no deadlines, behind another
// module's writer. Caddy's own read_idle bounds the body there.
func setReadDeadline(control *http.ResponseController, until time.Time) {
	_ = control.SetReadDeadline(until)
}
