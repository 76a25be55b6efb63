package redissse

import (
	"errors"
	"sync"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// scratch is what one write needs. It is pooled: thousands of idle streams
// must not hold a buffer each. A stream that stalls holds it: out, of a chunk and
// what may stand before it, and a batch, each of some 20 KiB.
type scratch struct {
	batch hub.Batch
	next  int // the first of the batch's items that is not in event yet
	event hub.Encoder
	more  bool // event has more than what is in out
	out   []byte
	mark  bool // a cursor event is to be the last thing
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxScratch is what a scratch may keep for the next stream. More, which only the
// names of very long channels in gaps can make, is left to the collector.
const maxScratch = 2 * writeChunk

func (s *scratch) release() {
	s.batch.Forget() // messages must not live on in the pool
	s.event, s.next, s.more, s.mark = hub.Encoder{}, 0, false, false
	if s.out = s.out[:0]; cap(s.out) <= maxScratch {
		scratches.Put(s)
	}
}

// write writes all that has come since, in one write and one flush a batch.
// prefix goes first; with mark the last thing written is a cursor event, so
// that a quiet stream resumes exactly, too. A stream's first write has its
// cursor at the beginning instead, which is where the client will resume from
// if it is cut in the replay.
//
// A sink that is full ends it: behind a batch, and the rest is for the next write, or in
// the middle of one, and goOn is.
func (d *delivery) write(prefix []byte, mark bool) error {
	work := scratches.Get().(*scratch)
	work.out, work.mark = append(work.out, prefix...), mark
	if !d.begun {
		d.begun, work.mark = true, false
		work.out = d.stream.AppendCursor(work.out, d.format)
	}
	d.work = work
	d.read(work, d.stream.Replays())
	return d.goOn()
}

// goOn goes on with a write that the sink has stopped.
func (d *delivery) goOn() error {
	stopped, err := d.writeOn(d.work)
	if !stopped || err != nil {
		d.forgetWork()
	}
	return err
}

// forgetWork gives up a write that has not ended.
func (d *delivery) forgetWork() {
	if d.work != nil {
		d.work.release()
		d.work = nil
	}
}

// writeOn writes the rest of a batch, and those behind it. It reports whether the
// sink has stopped it in the middle of a batch.
func (d *delivery) writeOn(work *scratch) (stopped bool, err error) {
	for {
		if stopped, err = d.encode(work); stopped || err != nil {
			return stopped, err
		}
		if last, err := d.endBatch(work); last || err != nil {
			return false, err
		}
		d.read(work, true)
	}
}

// read reads the next batch. A stream that is behind takes its turn for that, unless an outlet writes it, which is one of few and
// must not wait behind a crowd of requests.
func (d *delivery) read(work *scratch, behind bool) {
	if behind && !d.outlet {
		d.turns.take(func() { d.stream.Read(&work.batch) })
	} else {
		d.stream.Read(&work.batch)
	}
	work.next = 0
}

// endBatch writes what is left of a batch whose events have been made. It reports whether it is the
// write's last.
func (d *delivery) endBatch(work *scratch) (last bool, err error) {
	b := &work.batch
	last = !b.More || d.finished || d.passed(0)
	if work.mark && last && !d.finished {
		work.out = b.AppendCursor(work.out, d.format)
	}
	if len(work.out) > 0 || len(b.Items) > 0 {
		if err := d.last(work.out); err != nil {
			return true, err
		}
		d.counted(b, d.hub.memory.Clock.Monotonic())
		if !d.finished && d.passed(d.stallTimeout) {
			return true, errOverdue // there is no time left for its last words
		}
	}
	work.out = work.out[:0]
	d.stream.Wrote(b)
	d.lag(b.More)
	if last = last || d.sink.full(); last {
		d.behind = b.More
	}
	return last, nil
}

// lag counts the stream among those that are behind, or no longer.
func (d *delivery) lag(is bool) {
	if is == d.lags {
		return
	}
	d.lags = is
	if is {
		d.metrics.behind.Inc()
	} else {
		d.metrics.behind.Dec()
	}
}

// counted counts a batch that has been written at a time, in the clock's milliseconds.
func (d *delivery) counted(b *hub.Batch, now int64) {
	d.metrics.count(b, d.stream, now)
	d.log.count(b)
	d.trace.count(b)
	if len(b.Items) > 0 {
		d.silence.brokenAt(now)
	}
}

// last writes bytes of which none follow.
func (d *delivery) last(words []byte) error {
	if err := d.send(words); err != nil {
		return err
	}
	return d.sink.flush()
}

// piece is how much of out is a chunk: an event that begins right below it may
// take out over it by its id.
const piece = writeChunk - 128

// encode appends the batch's events to out, and sends out whenever it has a chunk. If one ends the stream, it
// is the batch's last. It reports whether the sink has stopped it.
func (d *delivery) encode(work *scratch) (stopped bool, err error) {
	for work.more || work.next < len(work.batch.Items) {
		if !work.more {
			d.nextEvent(work)
		}
		if work.out, work.more = work.event.Append(work.out, piece); !work.more {
			if work.event.Ends() {
				d.finished = true
				work.batch.CutAfter(work.next - 1)
			}
			continue
		}
		if err := d.sendPiece(work); err != nil || d.sink.full() {
			return true, err
		}
	}
	return false, nil
}

// nextEvent has the next of the batch's items made an event.
func (d *delivery) nextEvent(work *scratch) {
	taken, notes := d.hub.memory.EncodeRun(&work.event, work.batch.Items[work.next:], d.format)
	d.note(notes)
	if taken > 1 {
		d.metrics.merged.Add(float64(taken - 1))
	}
	work.next += taken
}

// note counts what making an event has come upon.
func (d *delivery) note(n hub.Notes) {
	if n.NameLeft {
		d.hub.metrics.unnamed.Inc()
	}
	if n.BadUTF8 {
		d.hub.metrics.badUTF8.Inc()
	}
	if n.DataLeft {
		d.left.note()
	}
}

// sendPiece sends what there is of an event that goes on. A client that takes its
// time, and never enough to count as stalled, cannot hold up an ending: it has the
// stall timeout for all of its last batch.
func (d *delivery) sendPiece(work *scratch) error {
	if err := d.send(work.out); err != nil {
		return err
	}
	work.out = work.out[:0]
	switch {
	case d.passed(d.stallTimeout):
		return errOverdue
	case work.event.Overtaken():
		return errOvertaken
	}
	return nil
}

// errOverdue ends a stream in the middle of an event, which its client has to
// leave out and will get from the next stream.
var errOverdue = errors.New("the stream's ending has been due for the stall timeout")

// errOvertaken does so if the event's message is no longer buffered and too much
// memory is held by such.
var errOvertaken = errors.New("the message has gone from the buffer before the client had it")

// send writes in chunks.
func (d *delivery) send(p []byte) error {
	for len(p) > writeChunk {
		if err := d.sink.write(p[:writeChunk]); err != nil {
			return err
		}
		d.wrote(writeChunk)
		p = p[writeChunk:]
	}
	d.wrote(len(p))
	return d.sink.write(p)
}

// wrote counts bytes that go out.
func (d *delivery) wrote(n int) {
	d.sent += int64(n)
	d.metrics.sentBytes.Add(float64(n))
}
