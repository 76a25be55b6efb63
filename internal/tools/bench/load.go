//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// channelPrefix begins the name of each channel of the load, 0 to n-1.
const channelPrefix = "bench:"

// payloadSize is that of each message, in bytes: a job's progress as JSON.
const payloadSize = 200

// spec is the first line that a load process reads: what to open.
type spec struct {
	HTTP2    bool     // HTTP/2 over TLS, a connection for each stream; otherwise HTTP/1.1
	Addr     string   // of the server
	Path     string   // of a channel's stream, its number for %d
	Clients  int      // the i-th reads channel i % Channels
	Channels int      // 1 or more
	Publish  endpoint // where messages go
}

// order is each further line: a run of messages.
type order struct {
	Rate int           // messages a second, over all channels in turn
	For  time.Duration // in nanoseconds; the run goes on until all has arrived, too
}

// opened answers a spec.
type opened struct{ Seconds float64 }

// result answers an order. Latency is from the time at which a message was
// due, so that a publisher that is held up hides nothing.
type result struct {
	Published  int
	Delivered  int // each message once a client, and in order
	Lost       int // what is missing of that
	Disordered int // what came besides: doubled, or after a later one
	Gaps       int
	Seconds    float64 // from the first due time to the last delivery
	P50, P99   float64 // milliseconds
	Max        float64 // milliseconds
	LoadCPU    float64 // seconds, of the load process
}

// drainWait is how long nothing may arrive until what is missing counts as
// lost: long beside any latency, also of a server that is overloaded.
const drainWait = 5 * time.Second

// serveLoad opens streams and runs messages as it is told on in, a JSON value a
// line, and answers each on out. It ends with in.
func serveLoad(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	var s spec
	if err := orders.Decode(&s); err != nil {
		return fmt.Errorf("reading what to open: %w", err)
	}
	l, err := newLoad(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	start := time.Now()
	if err := l.open(ctx); err != nil {
		return err
	}
	if err := answers.Encode(opened{time.Since(start).Seconds()}); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading an order: %w", err)
		}
		r, err := l.run(ctx, o)
		if err != nil {
			return err
		}
		if err := answers.Encode(r); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

// load is a set of open streams and the publisher that feeds them.
type load struct {
	spec      spec
	tally     tally
	readers   []*reader
	sent      []int         // by channel: how many messages
	patience  time.Duration // drainWait
	publisher *publisher
	poller    *poller // reads the HTTP/1.1 streams
	wg        sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // of the HTTP/2 streams, which have a goroutine each
}

func newLoad(s spec) (*load, error) {
	l := &load{spec: s, sent: make([]int, s.Channels), patience: drainWait}
	l.tally.base = time.Now()
	var err error
	l.poller, err = newPoller()
	return l, err
}

// pendingOpens is how many streams are being opened at a time.
const pendingOpens = 64

func (l *load) open(ctx context.Context) error {
	var err error
	if l.publisher, err = dialPublisher(l.spec.Publish); err != nil {
		return err
	}
	slots := make(chan struct{}, pendingOpens)
	failed := make(chan error, 1)
	var opening sync.WaitGroup
	for i := range l.spec.Clients {
		r := &reader{channel: i % l.spec.Channels, tally: &l.tally}
		l.readers = append(l.readers, r)
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			if err := l.openOne(ctx, r); err != nil {
				select {
				case failed <- fmt.Errorf("opening stream %d: %w", i, err):
				default:
				}
			}
		})
	}
	opening.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (l *load) openOne(ctx context.Context, r *reader) error {
	path := fmt.Sprintf(l.spec.Path, r.channel)
	if !l.spec.HTTP2 {
		return openHTTP1(ctx, l.spec.Addr, path, l.poller, r)
	}
	conn, body, err := openHTTP2(ctx, l.spec.Addr, path)
	if err != nil {
		return err
	}
	l.keep(conn)
	l.wg.Go(func() {
		err := readLines(bufio.NewReaderSize(body, readSize), r.line)
		r.ended.Store(&err)
	})
	return nil
}

// keep has a connection closed with the load.
func (l *load) keep(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
}

func readLines(body *bufio.Reader, line func([]byte) error) error {
	for {
		p, err := body.ReadSlice('\n')
		if err != nil {
			return err
		}
		if err := line(p); err != nil {
			return err
		}
	}
}

// readSize is what one read of a stream takes at most: much, so that the load
// process is not what limits the rate.
const readSize = 16 << 10

func (l *load) close() error {
	for _, c := range l.conns {
		c.Close()
	}
	if l.publisher != nil {
		l.publisher.close()
	}
	l.wg.Wait()
	return l.poller.close()
}

// run publishes at the order's rate and waits until everything has arrived, or
// nothing has for its patience.
func (l *load) run(ctx context.Context, o order) (result, error) {
	l.tally.reset()
	cpu := ownCPU()
	first := time.Now().Add(10 * time.Millisecond)
	published := int(float64(o.Rate) * o.For.Seconds())
	want := 0
	perChannel := l.clientsOf()
	for i := range published {
		due := first.Add(time.Duration(i) * time.Second / time.Duration(o.Rate))
		channel := i % l.spec.Channels
		if err := l.publisher.wait(ctx, due); err != nil {
			return result{}, err
		}
		if err := l.publisher.publish(channel, message(channel, l.sent[channel], due.Sub(l.tally.base))); err != nil {
			return result{}, err
		}
		l.sent[channel]++
		want += perChannel[channel]
	}
	if err := l.publisher.flush(); err != nil {
		return result{}, err
	}
	if err := l.drain(ctx, want); err != nil {
		return result{}, err
	}
	r := l.tally.result()
	r.Published, r.Lost = published, want-r.Delivered
	r.Seconds = time.Duration(l.tally.last.Load()).Seconds() - first.Sub(l.tally.base).Seconds()
	r.LoadCPU = ownCPU() - cpu
	return r, l.failure()
}

func (l *load) clientsOf() []int {
	n := make([]int, l.spec.Channels)
	for i := range l.spec.Clients {
		n[i%l.spec.Channels]++
	}
	return n
}

func (l *load) drain(ctx context.Context, want int) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	before, since := int64(0), time.Now()
	for {
		got := l.tally.delivered.Load()
		if int(got) >= want {
			return nil
		}
		if got != before {
			before, since = got, time.Now()
		}
		if time.Since(since) > l.patience {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failure returns an error if a stream or the publisher has ended.
func (l *load) failure() error {
	for i, r := range l.readers {
		if err := r.ended.Load(); err != nil {
			return fmt.Errorf("stream %d has ended: %w", i, *err)
		}
	}
	return l.publisher.failure()
}
