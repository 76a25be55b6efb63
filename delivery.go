package redissse

import (
	"errors"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis-sse/caddy-redis-sse/internal/hub"
)

// terms are what a handler's streams have in common.
type terms struct {
	claim        *sharedClaim
	heartbeat    time.Duration // how long a stream is without a cursor, at most
	retry        time.Duration // what a client is told to wait before it comes back
	stallTimeout time.Duration // for how long a client may take no writeChunk
	quiet        *Quiet        // nil: a stream may get nothing for as long as it likes
	turns        turns         // of streams that are behind
	metrics      *routeMetrics
	left         *leftPayloads
}

// delivery writes a stream's events to its client. There are thousands that do nothing: what is needed only until a stream is live
// is not kept here.
type delivery struct {
	*terms
	hub       *redisHub
	format    *hub.Format
	wake      *hub.Waiter
	forget    func() bool // has wake not be signalled any more when the client goes
	admission admission   // to the limits on streams
	present   present     // the keys that say that it is there
	stream    *hub.Stream // nil unless there was room for it
	beat      alarm       // of the next heartbeat; nil until the first write has ended
	silence   *silence    // nil unless that may end it
	sink      sink
	conn      connHold
	ending    *ending    // nil until the response has begun
	log       *streamLog // nil unless its level is debug
	trace     *streamTrace
	opened    time.Time
	plan      *leanPlan        // nil before the response has begun, and once it is not the request's any more
	leanGauge prometheus.Gauge // that counts it; nil until it is live
	sent      int64            // bytes, before they are encrypted
	work      *scratch         // of a write that has stopped where the sink was full
	outlet    bool             // an outlet or the crew writes it, which must not wait for turns
	bodyCut   bool             // the request's body has not been read to its end
	begun     bool             // something has been written
	behind    bool             // the last write left something for the next stream
	cut       bool             // the client has not taken all that was written
	lags      bool             // more is there to be read than the last batch took
	finished  bool             // the last event that was written ends the stream
	failed    bool             // by a panic
	noticed   bool             // that it is to be disconnected, while it wrote
	broken    bool             // a write has failed, or the client has gone: an HTTP/1 connection is of no more use
}

// alarm is what a heartbeat is waited for with.
type alarm interface {
	Reset(time.Duration) bool
	Stop() bool
}

// release gives up what open took.
func (d *delivery) release() {
	d.forgetWork()
	if d.sink != nil {
		d.sink.giveUp()
	}
	if d.stream != nil {
		d.hub.memory.Close(d.stream)
	}
	if d.forget != nil {
		d.forget()
	}
	if d.beat != nil {
		d.beat.Stop()
	}
	d.silence.stop()
	d.present.leave()
	d.conn.release(d.broken)
	d.admission.leave()
	if d.ending != nil {
		d.ending.stop()
		d.lag(false)
		d.hub.streams.Add(-1)
		if d.leanGauge != nil {
			d.leanGauge.Dec()
		}
		d.metrics.streams.Dec() // not before there is room for another one
	}
	d.claim.leave()
}

// begin writes what there is when the stream opens. It reports whether that was all, and
// why. A stream that is not over goes on with run, or as a lean one.
func (d *delivery) begin() (reason endReason, over bool) {
	if err := d.write(hub.AppendRetry(nil, d.retry.Milliseconds()), true); err != nil || d.finished {
		return d.endOf(err), true
	}
	d.silence = d.quiet.watch(d.stream, d.wake, &d.hub.subscriber.pauses)
	return "", false
}

// firstBeat is when the first heartbeat is due. It comes early, by chance, so that streams that came back
// together do not beat together for ever.
func (d *delivery) firstBeat() time.Duration { return jitter(d.heartbeat/2, d.heartbeat) }

// startBeat has the stream signalled when a heartbeat is due.
func (d *delivery) startBeat() {
	d.beat = time.AfterFunc(d.firstBeat(), func() { d.wake.Signal(signalBeat) })
}

// run writes a stream that has begun until the client goes away or stalls, or its ending
// is due, and returns which of it was. The goroutine that net/http runs the
// request in is all there is.
func (d *delivery) run() endReason {
	d.startBeat()
	for {
		if reason, over := d.step(d.wake.Await()); over {
			return reason
		}
	}
}

// heed has the stream's end be when it has been signalled that it should be.
func (d *delivery) heed(got hub.Signals) {
	if got&(signalDrain|signalExit) != 0 {
		d.ending.notice()
	}
	if got&signalAsked != 0 {
		d.disconnected()
	}
}

// step does what the stream has been signalled to do. It reports whether the
// stream is over, and why.
func (d *delivery) step(got hub.Signals) (reason endReason, over bool) {
	if got&signalGone != 0 {
		d.broken = true
		return endClient, true
	}
	d.heed(got)
	if got&signalEnd != 0 {
		return d.close(d.ending.reason), true
	}
	if got&signalBeat != 0 {
		d.beat.Reset(d.heartbeat)
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

// lane is what the stream shares a lane of its outlet or crew with.
func (d *delivery) lane() string {
	for name := range d.stream.Reads() {
		return name
	}
	return ""
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

// isUnfinished reports whether the stream has an end to come to and has ended before, and its client was not told so. Its response is then
// cut: to a client that reads to the end, one that ends properly is all of an answer.
func (d *delivery) isUnfinished(end endReason) bool {
	told := end == endFinished || end == endClient || end == endQuiet && d.quiet.says()
	return d.format.HasEnd() && !told
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
