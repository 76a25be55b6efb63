package redissse

import (
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// delivery writes a stream's events to its client.
type delivery struct {
	hub    *hub
	stream *stream
	format *format
	sink   *sink
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
	clear(s.batch.items[:cap(s.batch.items)]) // messages must not live on in the pool
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
		if mark && !b.more {
			work.out = d.format.appendCursor(work.out, b.end)
		}
		if len(work.out) > 0 || len(b.items) > 0 {
			if err := d.sink.write(work.out); err != nil {
				return err
			}
			if err := d.sink.flush(); err != nil {
				return err
			}
		}
		work.out = work.out[:0]
		d.stream.wrote(b)
		if !b.more {
			return nil
		}
	}
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
		body, made := it.src.buf.body(it.msg, d.format, d.hub.settings.Load().limits)
		d.count(made)
		work.out = appendIDLine(work.out, it.id)
		if len(body) <= writeChunk {
			work.out = append(work.out, body...)
			continue
		}
		if err := d.sink.write(work.out); err != nil {
			return err
		}
		work.out = work.out[:0]
		if err := d.sink.write(body); err != nil {
			return err
		}
	}
	return nil
}

// count counts what could not be sent as it was.
func (d *delivery) count(m made) {
	if m.nameLeft {
		d.hub.unnamed.Add(1)
	}
	if m.badUTF8 {
		d.hub.badUTF8.Add(1)
	}
}

// gap returns the data of the item's gap event.
func (it *item) gap() gap {
	g := gap{Channel: it.src.buf.channel, Reason: it.reason}
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
	stall   time.Duration // 0: Caddy's own writer watches
	begun   bool          // something has been written
}

// newSink makes the sink of a request. A client that takes no writeChunk for
// stall is disconnected. restore must be called before the request ends.
func newSink(w http.ResponseWriter, r *http.Request, stall time.Duration) (s *sink, restore func()) {
	s = &sink{w: w, control: http.NewResponseController(w)}
	if _, idle := caddyhttp.IdleTimeoutsFromContext(r.Context()); idle != nil {
		return s, idle.Override(stall, 0, writeChunk)
	}
	s.stall = stall
	return s, func() {}
}

func (s *sink) write(p []byte) error {
	for s.stall > 0 && len(p) > writeChunk {
		if err := s.deadline(func() error { _, err := s.w.Write(p[:writeChunk]); return err }); err != nil {
			return err
		}
		p = p[writeChunk:]
	}
	if len(p) == 0 {
		return nil
	}
	return s.deadline(func() error { _, err := s.w.Write(p); return err })
}

func (s *sink) flush() error { return s.deadline(s.control.Flush) }

// deadline runs one write under the stall timeout. The deadline is cleared
// afterwards: on HTTP/2 it is a timer that ends even an idle stream.
func (s *sink) deadline(write func() error) error {
	if s.stall == 0 {
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
