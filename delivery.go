package redissse

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// delivery writes a stream's events to its client.
type delivery struct {
	hub       *redisHub
	claim     *sharedClaim
	wake      *hub.Waiter
	forget    func() bool // has wake not be signalled any more when the client goes
	admission admission   // to the limits on streams
	present   present     // the keys that say that it is there
	stream    *hub.Stream // nil unless there was room for it
	format    *hub.Format
	turns     turns         // of streams that are behind
	latest    time.Time     // when its age ends it, zero for never
	retry     time.Duration // what the client is told to wait before it comes back
	beatEvery time.Duration // how long at most without a cursor
	beat      *time.Timer   // of the next one
	silence   *silence      // nil unless that may end it
	sink      *sink
	conn      connHold
	quiet     *Quiet  // nil: it may get nothing for as long as it likes
	ending    *ending // nil until the response has begun
	metrics   *routeMetrics
	left      *leftPayloads
	log       *streamLog // nil unless its level is debug
	trace     *streamTrace
	opened    time.Time
	behind    bool // the last write left something for the next stream
	cut       bool // the client has not taken all that was written
	lags      bool // more is there to be read than the last batch took
	finished  bool // the last event that was written ends the stream
	noticed   bool // that it is to be disconnected, while it wrote
	broken    bool // a write has failed, or the client has gone: an HTTP/1 connection is of no more use
}

// scratch is what one write needs. It is pooled: thousands of idle streams
// must not hold a buffer each. A stream that stalls holds it: out, of a chunk and
// what may stand before it, and a batch, each of some 20 KiB.
type scratch struct {
	batch hub.Batch
	event hub.Encoder
	out   []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxScratch is what a scratch may keep for the next stream. More, which only the
// names of very long channels in gaps can make, is left to the collector.
const maxScratch = 2 * writeChunk

func (s *scratch) release() {
	s.batch.Forget() // messages must not live on in the pool
	s.event = hub.Encoder{}
	if s.out = s.out[:0]; cap(s.out) <= maxScratch {
		scratches.Put(s)
	}
}

// release gives up what open took.
func (d *delivery) release() {
	if d.stream != nil {
		d.hub.memory.Close(d.stream)
	}
	if d.forget != nil {
		d.forget()
	}
	d.present.leave()
	d.conn.release(d.broken)
	d.admission.leave()
	if d.ending != nil {
		d.ending.stop()
		d.lag(false)
		d.hub.streams.Add(-1)
		d.metrics.streams.Dec() // not before there is room for another one
	}
	d.claim.leave()
}

// run writes the stream until the client goes away or stalls, or its ending
// is due, and returns which of it was. The goroutine that net/http runs the
// request in is all there is.
func (d *delivery) run() endReason {
	if err := d.write(hub.AppendRetry(nil, d.retry.Milliseconds()), true); err != nil || d.finished {
		return d.endOf(err)
	}
	// The first beat comes early, by chance, so that streams that came back
	// together do not beat together for ever.
	d.beat = time.AfterFunc(jitter(d.beatEvery/2, d.beatEvery), func() { d.wake.Signal(signalBeat) })
	defer d.beat.Stop()
	d.silence = d.quiet.watch(d.stream, d.wake, &d.hub.subscriber.pauses)
	defer d.silence.stop()
	for {
		if reason, over := d.step(d.wake.Await()); over {
			return reason
		}
	}
}

// step does what the stream has been signalled to do. It reports whether the
// stream is over, and why.
func (d *delivery) step(got hub.Signals) (reason endReason, over bool) {
	if got&signalGone != 0 {
		d.broken = true
		return endClient, true
	}
	if got&(signalDrain|signalExit) != 0 {
		d.ending.notice()
	}
	if got&signalAsked != 0 {
		d.disconnected()
	}
	if got&signalEnd != 0 {
		return d.close(d.ending.reason), true
	}
	if got&signalBeat != 0 {
		d.beat.Reset(d.beatEvery)
	}
	if err := d.write(nil, got&signalBeat != 0); err != nil || d.finished {
		return d.endOf(err), true
	}
	if d.silence.tooLong(got&signalQuiet != 0) {
		return d.close(endQuiet), true
	}
	return "", false
}

// isEmpty reports whether the stream, which has begun, has nothing to write, and Redis has confirmed its channels.
func (d *delivery) isEmpty() bool {
	work := scratches.Get().(*scratch)
	defer work.release()
	d.stream.Read(&work.batch)
	return len(work.batch.Items) == 0 && d.stream.Settled()
}

// disconnected has the stream end as was asked for. It has been signalled, or
// its request came at a time since which somebody may have asked.
func (d *delivery) disconnected() {
	d.noticed = true
	now, asked := time.Now(), false
	for _, w := range d.hub.disconnects.of(d.stream) {
		if now.Before(w.ends()) {
			d.ending.spread(w.began, w.over, endAsked)
			asked = true
		}
	}
	if !asked { // it wrote for so long that the window is over
		d.ending.within(0, endAsked)
	}
}

// disconnectedSince is disconnected for a stream that begins, whose request came
// at that time: it may have missed the signal.
func (d *delivery) disconnectedSince(came time.Time) {
	for _, w := range d.hub.disconnects.of(d.stream) {
		if !came.After(w.began) {
			d.ending.spread(w.began, w.over, endAsked)
		}
	}
}

// passed reports whether the stream has been due for some time. One that writes
// does not see its signals; it asks here.
func (d *delivery) passed(since time.Duration) bool {
	if !d.noticed && d.wake.Has(signalAsked) {
		d.disconnected()
	}
	return d.ending.passed(since)
}

// endOf says what a write means that failed, or that was the stream's last.
func (d *delivery) endOf(err error) endReason {
	if err == nil {
		return endFinished
	}
	d.broken = !errors.Is(err, errOverdue) && !errors.Is(err, errOvertaken)
	switch {
	case errors.Is(err, errOverdue):
		d.cut = true
		return d.ending.reason
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errOvertaken):
		d.cut = true
		return endStalled
	}
	return endClient
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
		work.out = d.stream.AppendCursor(work.out, d.format)
	}
	for behind := d.stream.Replays(); ; behind = true {
		b := &work.batch
		if behind {
			d.turns.take(func() { d.stream.Read(b) })
		} else {
			d.stream.Read(b)
		}
		if err := d.encode(work); err != nil {
			return err
		}
		last := !b.More || d.finished || d.passed(0)
		if mark && last && !d.finished {
			work.out = b.AppendCursor(work.out, d.format)
		}
		if len(work.out) > 0 || len(b.Items) > 0 {
			if err := d.send(work.out); err != nil {
				return err
			}
			if err := d.sink.flush(); err != nil {
				return err
			}
			d.counted(b, d.hub.memory.Clock.Monotonic())
			if !d.finished && d.passed(d.sink.stall) {
				return errOverdue // there is no time left for its last words
			}
		}
		work.out = work.out[:0]
		d.stream.Wrote(b)
		d.lag(b.More)
		if last {
			d.behind = b.More
			return nil
		}
	}
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

// close writes the last of a stream that ends for a reason, and returns for which it has.
func (d *delivery) close(reason endReason) endReason {
	// A retry of its own for each: they must not come back together.
	words := hub.AppendRetry(nil, jitter(d.retry/2, 3*d.retry/2).Milliseconds())
	var err error
	if reason == endQuiet && d.quiet.says() {
		err = d.last(d.stream.AppendWords(words, d.format, d.quiet.Data))
	} else {
		err = d.closeWith(words)
	}
	if err != nil || d.finished {
		return d.endOf(err)
	}
	return reason
}

// closeWith writes prefix and a cursor. A client that is behind gets no more messages; it
// has its next stream for them.
func (d *delivery) closeWith(prefix []byte) error {
	if !d.behind {
		return d.write(prefix, true)
	}
	return d.last(d.stream.AppendCursor(prefix, d.format))
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
// is the batch's last.
func (d *delivery) encode(work *scratch) error {
	for at := 0; at < len(work.batch.Items); {
		taken, notes := d.hub.memory.EncodeRun(&work.event, work.batch.Items[at:], d.format)
		d.note(notes)
		if taken > 1 {
			d.metrics.merged.Add(float64(taken - 1))
		}
		if err := d.encodeEvent(work); err != nil {
			return err
		}
		at += taken
		if work.event.Ends() {
			d.finished = true
			work.batch.CutAfter(at - 1)
		}
	}
	return nil
}

func (d *delivery) encodeEvent(work *scratch) (err error) {
	for more := true; more; {
		if work.out, more = work.event.Append(work.out, piece); !more {
			return nil
		}
		if err = d.sendPiece(work); err != nil {
			return err
		}
	}
	return nil
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
	case d.passed(d.sink.stall):
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
	d.metrics.sentBytes.Add(float64(n))
	d.log.wrote(n)
}
