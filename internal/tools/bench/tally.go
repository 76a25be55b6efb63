//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// message makes a payload: whose it is, its number, when it was due.
func message(channel, n int, due time.Duration) []byte {
	m := make([]byte, 0, payloadSize)
	m = append(m, '@')
	m = strconv.AppendInt(m, int64(channel), 10)
	m = append(m, ' ')
	m = strconv.AppendInt(m, int64(n), 10)
	m = append(m, ' ')
	m = strconv.AppendInt(m, int64(due), 10)
	m = append(m, ' ')
	for len(m) < payloadSize {
		m = append(m, 'x')
	}
	return m
}

// reader checks the order of what arrives on one stream.
type reader struct {
	channel int
	tally   *tally
	skims   bool // what comes is counted, and not looked at
	next    int
	ended   atomic.Pointer[error]
}

var (
	dataLine = []byte("data: @")
	gapLine  = []byte("event: gap")
)

// line takes a line of the stream, with or without its end.
func (r *reader) line(line []byte) error {
	if bytes.HasPrefix(line, dataLine) {
		return r.message(line[len(dataLine):])
	}
	if bytes.HasPrefix(line, gapLine) {
		r.tally.gaps.Add(1)
	}
	return nil
}

var errForeign = errors.New("a message of another channel arrived")

func (r *reader) message(line []byte) error {
	channel, line := number(line)
	n, line := number(line)
	due, line := number(line)
	if len(line) < 1 {
		return fmt.Errorf("reading a message: %w", io.ErrUnexpectedEOF)
	}
	if channel != r.channel {
		return errForeign
	}
	if n < r.next {
		r.tally.disordered.Add(1)
		return nil
	}
	r.next = n + 1
	r.tally.count(time.Duration(due))
	return nil
}

// number reads decimal digits and the space after them.
func number(p []byte) (int, []byte) {
	n := 0
	for i, c := range p {
		if c == ' ' {
			return n, p[i+1:]
		}
		n = n*10 + int(c-'0')
	}
	return n, nil
}

// tally counts what all streams of a load get. Safe for concurrent use.
type tally struct {
	base       time.Time // due times count from here
	delivered  atomic.Int64
	disordered atomic.Int64
	gaps       atomic.Int64
	last       atomic.Int64 // when the newest delivery was, nanoseconds since base
	bytes      atomic.Int64 // that nobody looked at
	buckets    [64 * steps]atomic.Uint32
}

// steps is how many buckets of latency there are to each power of two, so
// that a bucket is about 3 % wide.
const steps = 32

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0)) + steps // the first power of two has no smaller steps
	shift := bits.Len64(n) - bits.Len64(steps)
	return shift*steps + int(n>>shift) - steps
}

// upTo returns the largest latency of a bucket.
func upTo(bucket int) time.Duration {
	shift := bucket / steps
	return time.Duration((uint64(bucket%steps+steps)+1)<<shift - steps - 1)
}

func (t *tally) count(due time.Duration) {
	now := time.Since(t.base)
	t.delivered.Add(1)
	t.buckets[bucketOf(now-due)].Add(1)
	if int64(now) > t.last.Load() {
		t.last.Store(int64(now)) // two may race: a matter of microseconds
	}
}

// skimmed returns for how many messages there was room in what nobody looked at:
// an upper limit, which tells that clients were served, not that none was lost.
func (t *tally) skimmed() int { return int(t.bytes.Load() / payloadSize) }

func (t *tally) reset() {
	t.bytes.Store(0)
	t.delivered.Store(0)
	t.disordered.Store(0)
	t.gaps.Store(0)
	for i := range t.buckets {
		t.buckets[i].Store(0)
	}
}

func (t *tally) result() result {
	return result{
		Delivered: int(t.delivered.Load()), Disordered: int(t.disordered.Load()), Gaps: int(t.gaps.Load()),
		P50: t.quantile(0.5), P99: t.quantile(0.99), Max: t.quantile(1),
	}
}

// quantile returns a latency in milliseconds.
func (t *tally) quantile(q float64) float64 {
	rest := int64(q * float64(t.delivered.Load()))
	for i := range t.buckets {
		rest -= int64(t.buckets[i].Load())
		if rest <= 0 && t.buckets[i].Load() > 0 {
			return float64(upTo(i)) / float64(time.Millisecond)
		}
	}
	return 0
}

// ownCPU returns the CPU time that this process has used, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
}
