package redissse

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// delivery writes a stream's events to its client.
type delivery struct {
	hub       *hub
	tenancy   *tenancy
	wake      *waiter
	forget    func() bool // has wake not be signalled any more when the client goes
	admission admission   // to the limits on streams
	stream    *stream     // nil unless there was room for it
	format    *format
	sink      *sink
	ending    *ending // nil until the response has begun
	metrics   *routeMetrics
	behind    bool // the last write left something for the next stream
	cut       bool // the client has not taken all that was written
}

// scratch is what one write needs. It is pooled: thousands of idle streams
// must not hold a buffer each.
type scratch struct {
	batch batch
	out   []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxScratch is what a scratch may keep for the next stream. More is left to
// the collector: one large replay must not stay for ever.
const maxScratch = 4 * batchBytes

func (s *scratch) release() {
	clear(s.batch.items) // messages must not live on in the pool
	s.out = s.out[:0]
	if cap(s.out) <= maxScratch && cap(s.batch.items) <= 4*batchMessages {
		scratches.Put(s)
	}
}

// write writes all that has come since, in one write and one flush a batch.
// prefix goes first; with mark the last thing written is a cursor event, so
// that a quiet stream resumes exactly, too. A stream's first write has its
// cursor at the beginning instead, which is where the client will resume from
// if it is cut in the replay.
func (d *delivery) write(prefix []byte, mark bool) error {
	work := scratches.Get().(*scratch)
	defer work.release()
	work.out = append(work.out, prefix...)
	if !d.sink.begun {
		d.sink.begun, mark = true, false
		work.out = d.format.appendCursor(work.out, d.stream.cursor)
	}
	for {
		b := &work.batch
		d.stream.read(b)
		if err := d.encode(work); err != nil {
			return err
		}
		last := !b.more || d.ending.passed(0)
		if mark && last {
			work.out = d.format.appendCursor(work.out, b.end)
		}
		if len(work.out) > 0 || len(b.items) > 0 {
			if err := d.send(work.out); err != nil {
				return err
			}
			if err := d.sink.flush(); err != nil {
				return err
			}
			d.metrics.count(b, d.stream.opened, d.hub.clock.monotonic())
		}
		work.out = work.out[:0]
		d.stream.wrote(b)
		if last {
			d.behind = b.more
			return nil
		}
	}
}

// close writes the last of a stream: prefix and a cursor. A client that is
// behind gets no more messages; it has its next stream for them.
func (d *delivery) close(prefix []byte) error {
	if !d.behind {
		return d.write(prefix, true)
	}
	if err := d.send(d.format.appendCursor(prefix, d.stream.cursor)); err != nil {
		return err
	}
	return d.sink.flush()
}

// encode appends the batch's events to out. Large bodies are written past it:
// copying them would only make out large.
func (d *delivery) encode(work *scratch) error {
	for i := range work.batch.items {
		it := &work.batch.items[i]
		if it.msg == nil {
			work.out = d.format.appendGap(work.out, it.id, it.gap())
			continue
		}
		body, made := it.msg.home.body(it.msg, d.format, d.hub.settings.Load().limits)
		d.count(made)
		if made.size > 0 {
			d.hub.enforce()
		}
		work.out = appendIDLine(work.out, it.id)
		if len(body) <= writeChunk {
			work.out = append(work.out, body...)
			continue
		}
		if err := d.send(work.out); err != nil {
			return err
		}
		work.out = work.out[:0]
		if err := d.send(body); err != nil {
			return err
		}
	}
	return nil
}

// count counts what could not be sent as it was.
func (d *delivery) count(m made) {
	if m.nameLeft {
		d.hub.metrics.unnamed.Inc()
	}
	if m.badUTF8 {
		d.hub.metrics.badUTF8.Inc()
	}
}

// errOverdue ends a stream in the middle of an event, which its client has to
// leave out and will get from the next stream.
var errOverdue = errors.New("the stream's ending has been due for the stall timeout")

// send writes in chunks, so that a client that takes its time, and never
// enough to count as stalled, cannot hold up an ending: it has the stall
// timeout for all of its last batch.
func (d *delivery) send(p []byte) error {
	for len(p) > writeChunk {
		if err := d.sink.write(p[:writeChunk]); err != nil {
			return err
		}
		if d.ending.passed(d.sink.stall) {
			return errOverdue
		}
		p = p[writeChunk:]
	}
	return d.sink.write(p)
}

// gap returns the data of the item's gap event.
func (it *item) gap() gap {
	g := gap{Reason: it.reason}
	if line := it.src.line; line.pattern {
		g.Pattern = line.name
	} else {
		g.Channel = line.name
	}
	if it.after != (cursor{}) {
		after := it.after.String()
		g.After = &after
	}
	if it.missed >= 0 {
		missed := uint64(it.missed)
		g.Missed = &missed
	}
	return g
}

// writeChunk is what a client must take within stall_timeout. It is what one
// TLS record holds, little enough for any link that works.
const writeChunk = 16 << 10

// sink is the client's connection.
type sink struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	watched bool // Caddy's own writer watches for stalls
	begun   bool // something has been written
}

// newSink makes the sink of a request. A client that takes no writeChunk for
// stall is disconnected. The override of Caddy's own timeout is not taken back
// when the stream ends: what net/http writes then, the end of the body, may
// meet a client that takes nothing, too.
func newSink(w http.ResponseWriter, r *http.Request, stall time.Duration) *sink {
	s := &sink{w: w, control: http.NewResponseController(w), stall: stall}
	if _, idle := caddyhttp.IdleTimeoutsFromContext(r.Context()); idle != nil {
		idle.Override(stall, 0, writeChunk)
		s.watched = true
	}
	return s
}

// write writes at most one chunk.
func (s *sink) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	return s.deadline(func() error { _, err := s.w.Write(p); return err })
}

func (s *sink) flush() error { return s.deadline(s.control.Flush) }

// deadline runs one write under the stall timeout. The deadline is cleared
// afterwards: on HTTP/2 it is a timer that ends even an idle stream.
func (s *sink) deadline(write func() error) error {
	if s.watched {
		return write()
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(s.stall)); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	return s.control.SetWriteDeadline(time.Time{})
}
